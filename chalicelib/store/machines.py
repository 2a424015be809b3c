"""Machines by their providers' own names, and how often machines of a kind were launched and taken back, by day.

A provider's event names its machine; the pointer here leads to our instance. The counts are written in one transaction
with the mark on the pointer, so that what is told twice is counted once. Both expire: losing them costs minutes until
reconcile looks, never a machine.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from pynamodb.expressions.update import Action

from chalicelib.domain.errors import ThrottledError
from chalicelib.domain.model import Instance, Offer
from chalicelib.store import calls
from chalicelib.store.columns import epoch
from chalicelib.store.models import MachineRow

KEEP_POINTER: Final = timedelta(days=400)
"""Longer than a machine is rented; an older one is found by reconcile alone."""

KEEP_COUNTS: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which instance a machine was rented for. `kind` is `<region>#<zone>#<type>` of a spot machine, else empty."""

    ref: str
    project: str
    backend: str
    pool: str
    instance_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class SpotCount:
    """What became of the spot machines of one kind that were launched, or taken back, on one day (UTC)."""

    day: str
    region: str
    zone: str
    instance_type: str
    launches: int
    interruptions: int


COUNT_TRIES: Final = 3
"""Launches of one kind meet in one counter; one that loses so often goes uncounted, and is remembered all the same."""


def note(row: Instance, offer: Offer, ref: str, *, now: datetime) -> None:
    """Remember which instance a machine is for, and count its launch. Doing it again changes nothing."""
    kind = "#".join((offer.region, offer.zone, offer.instance_type)) if offer.spot else ""
    account = f"{row.project}/{offer.backend}"
    pointer = MachineRow(
        _machine(ref),
        account,
        pool=row.pool,
        instance_id=row.instance_id,
        kind=kind or None,
        ttl=epoch(now + KEEP_POINTER),
    )
    for _ in range(COUNT_TRIES if kind else 0):
        writes = calls.Transaction()
        writes.put(pointer, MachineRow.entry.does_not_exist())
        _count(writes, account, kind, MachineRow.launches.add(1), now)
        try:
            _once(writes)
        except ThrottledError:
            continue
        return
    calls.put(pointer)


def find(ref: str) -> list[Pointer]:
    """Read whose machine a provider's name is. A name of another provider's, or a stranger's, leads nowhere."""
    return [_pointer(ref, MachineRow.from_raw_data(item)) for item in calls.query_all(MachineRow, _machine(ref))]


def count_interruption(project: str, backend: str, ref: str, *, now: datetime) -> None:
    """Count that a spot machine was taken back, once, however often that is told. Unknown machines do not count.

    Raises `ThrottledError` when others count the same kind: nothing was counted.
    """
    account = f"{project}/{backend}"
    item = calls.get(MachineRow, _machine(ref), account, consistent=True)
    if item is None:
        return
    row = MachineRow.from_raw_data(item)
    if not row.kind or row.counted:
        return
    writes = calls.Transaction()
    writes.update(
        MachineRow, _machine(ref), account, [MachineRow.counted.set(now)], MachineRow.counted.does_not_exist()
    )
    _count(writes, account, row.kind, MachineRow.interruptions.add(1), now)
    _once(writes)


def spot_counts(project: str, backend: str, *, since: date) -> list[SpotCount]:
    """Read the counts of one account's spot machines from a day on, oldest day first."""
    condition = MachineRow.entry >= since.isoformat()
    found = calls.query_all(MachineRow, _counts(f"{project}/{backend}"), range_key_condition=condition)
    return [_spot_count(MachineRow.from_raw_data(item)) for item in found]


def _count(writes: calls.Transaction, account: str, kind: str, one_more: Action, now: datetime) -> None:
    actions = [one_more, MachineRow.ttl.set(epoch(now + KEEP_COUNTS))]
    writes.update(MachineRow, _counts(account), f"{now.date().isoformat()}#{kind}", actions)


def _once(writes: calls.Transaction) -> None:
    """Write, unless the mark says that it was written before."""
    try:
        writes.commit()
    except calls.ConditionFailedError:
        return


def _pointer(ref: str, row: MachineRow) -> Pointer:
    project, _, backend = row.entry.partition("/")
    return Pointer(ref, project, backend, row.pool or "", row.instance_id or "", row.kind or "")


def _spot_count(row: MachineRow) -> SpotCount:
    day, region, zone, instance_type = row.entry.split("#", 3)
    return SpotCount(day, region, zone, instance_type, int(row.launches or 0), int(row.interruptions or 0))


def _machine(ref: str) -> str:
    return f"machine#{ref}"


def _counts(account: str) -> str:
    return f"spot#{account}"

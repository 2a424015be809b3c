"""What the agent of a host says of its machine, and the offer of its row that follows it when that changes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from chalicelib import log
from chalicelib.domain import gpus, networks
from chalicelib.domain.errors import LostRaceError
from chalicelib.domain.host_records import HostRecord
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import BARE_HOST, HOST, Gpu, Instance, Resources
from chalicelib.services import neighbours
from chalicelib.services.deps import Deps
from chalicelib.store import hosts as store
from chalicelib.store import instances as instance_store
from chalicelib.store import journal
from chalicelib.store import pools as pool_store

DISK_MOVES: Final = 0.2
"""Which share of its free disk a host may gain or lose before it counts as another shape."""

TRIES: Final = 5


def take_in(deps: Deps, row: Instance, facts: Mapping[str, Any] | None) -> Instance:
    """Let the row of a host follow its facts; return it as it is then.

    An agent tells them once, so they are taken in although the row is taken or released meanwhile. Those of an agent
    that was faster than the answer of its installation were kept.
    """
    if facts is None and row.state is State.PROVISIONING:
        facts = journal.facts(row.instance_id)
    if facts is None or row.offer is None or row.state not in (State.PROVISIONING, State.IDLE, State.BUSY):
        return row
    record = _noted(row, facts)
    for _ in range(TRIES):
        if row.state not in (State.IDLE, State.BUSY) or row.offer is None:
            return row
        zone = row.offer.zone if record is None else record.zone if record.address else ""
        found = resources(facts, row.offer.resources)
        offer = replace(row.offer, resources=found, zone=zone, instance_type=_type(facts))
        if offer == row.offer:
            return row
        pool_store.note_shape(row.project, row.pool, offer)
        try:
            row = instance_store.renew(row, offer)
        except LostRaceError:
            row = instance_store.get(row.project, row.pool, row.instance_id)
            continue
        log.event("host-changed", instance=row.instance_id, resources=repr(offer.resources), network=offer.zone)
        return row
    log.event("renewal-lost-race", instance=row.instance_id)
    return row


def _type(facts: Mapping[str, Any]) -> str:
    """Whether it can run images, which an agent of before did not tell."""
    return BARE_HOST if facts.get("docker") is False else HOST


def _noted(row: Instance, facts: Mapping[str, Any]) -> HostRecord | None:
    """Let the record follow the addresses: new ones are claimed before they are written, old ones let go after it.

    A crash before the end leaves a claim of a host that has gone on, which is let go at its end.
    """
    for _ in range(TRIES):
        record = store.get(row.project, row.instance_id)
        if record is None:
            return None
        now = replace(neighbours.followed(record, networks.told_addresses(facts.get("addresses"))), refresh=False)
        if now == record:
            return record
        try:
            now = store.change(record, address=now.address, told=now.told, refresh=False)
        except LostRaceError:
            continue
        neighbours.let_go(record, now)
        return now
    log.event("facts-lost-race", instance=row.instance_id)
    return None


def are_asked_for(row: Instance) -> bool:
    """Whether somebody asked for fresh facts of a host."""
    record = store.get(row.project, row.instance_id)
    return record is not None and record.refresh


def resources(facts: Mapping[str, Any], before: Resources) -> Resources:
    """Read the facts of an agent (raw, as `nvidia-smi` says) as resources. What is missing or odd stays as it was."""
    cpus, memory = _whole(facts.get("cpus")) or before.cpus, _whole(facts.get("memory_mib")) or before.memory_mib
    disk = _whole(facts.get("disk_mib")) or before.disk_mib
    if abs(disk - before.disk_mib) <= DISK_MOVES * before.disk_mib:
        disk = before.disk_mib
    counts: dict[tuple[str, int], int] = {}
    for each in _listed(facts.get("gpus")):
        model = (gpus.sold_as(str(each.get("name", ""))), gpus.nominal_mib(_whole(each.get("memory_mib")) or memory))
        counts[model] = counts.get(model, 0) + (_whole(each.get("count")) or 1)
    found = tuple(Gpu(name, memory_mib, count) for (name, memory_mib), count in counts.items())
    return Resources(cpus, memory, disk, found)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _listed(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []

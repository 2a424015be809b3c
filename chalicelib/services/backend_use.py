"""Which instances hold on to a backend: those that have a machine there, or may yet turn out to have one.

And the closing of a backend on which there must be none while its record changes.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import Final

from chalicelib import log
from chalicelib.domain.accounts import BackendEntry, BackendRecord
from chalicelib.domain.errors import BackendInUseError, LostRaceError
from chalicelib.domain.lifecycle import COMING, State
from chalicelib.domain.model import Instance, Offer
from chalicelib.services.deps import Deps
from chalicelib.services.teardown import OPEN_ATTEMPTS
from chalicelib.store import backends as store
from chalicelib.store import instances, journal, pools

PAGE: Final = 200
NAMED: Final = 10
"""How many instances a refusal names."""

MOVING: Final = COMING | {State.TERMINATING}
"""States in which the attempts say where there are machines; afterwards the chosen offer does."""

CLOSED_FOR: Final = timedelta(minutes=5)
"""After which whoever closed a backend is dead: a request ends within half a minute."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What may not be rented while a record changes, and how a refusal says so. Regions in `kept` do not matter."""

    refusal: str
    kept: Collection[str] = ()


def instances_on(project: str, backend: str, kept: Collection[str] = ()) -> list[str]:
    """Name up to `NAMED` live instances of a project that are on a backend in other regions than these, as of now."""
    return [row.name for row in islice(_on(project, backend, kept), NAMED)]


@contextmanager
def closed(
    deps: Deps, seen: BackendEntry, record: BackendRecord, obstacle: Obstacle, *, actor: str
) -> Iterator[BackendEntry]:
    """Close a backend for as long as its record is changed; whatever fails meanwhile opens it again.

    It is closed before anything is looked at: a launch writes its intent before it asks whether the backend is open,
    so either the launch sees that it is not, or this sees the intent and raises `BackendInUseError`.
    """
    shut = _changed(deps, record, closed=True, actor=actor)
    entry = store.put(seen, shut, seen.spare)
    try:
        if used := instances_on(record.project, record.name, obstacle.kept):
            raise BackendInUseError(f"{obstacle.refusal}: {', '.join(used)}", backend=record.name, instances=used)
        yield entry
    except Exception:
        _open_after_failure(deps, shut, actor)
        raise


def open_abandoned(deps: Deps, project: str) -> None:
    """Open what a removal or a replacement that died left closed: nothing came of it, and it can be asked for again."""
    for record in store.list_records(project):
        if record.closed and deps.now() - record.changed_at > CLOSED_FOR:
            with suppress(LostRaceError):  # somebody goes on with it
                _open(deps, record, actor="reconcile")


def _open_after_failure(deps: Deps, shut: BackendRecord, actor: str) -> None:
    """Open a backend again. Where that fails too, the comparison does it later; the first failure is what counts."""
    try:
        _open(deps, shut, actor)
    except Exception as error:  # noqa: BLE001 - whatever it was, the other error is on its way to the caller
        log.error("backend-left-closed", error, project=shut.project, backend=shut.name)


def _open(deps: Deps, shut: BackendRecord, actor: str) -> None:
    """Open a record that is still the one that was closed. Whoever changed it since has decided otherwise, and later.

    The row may have been written since: a replacement enters its secret before it becomes the record.
    """
    now = store.entry(shut.project, shut.name)
    record = now.record
    if record is None or (record.secret, record.version) != (shut.secret, shut.version):
        return
    store.put(now, _changed(deps, record, closed=False, actor=actor), now.spare)
    log.event("backend-reopened", project=shut.project, backend=shut.name, actor=actor)


def _changed(deps: Deps, record: BackendRecord, *, closed: bool, actor: str) -> BackendRecord:
    return replace(record, closed=closed, version=record.version + 1, changed_at=deps.now(), actor=actor)


def _on(project: str, backend: str, kept: Collection[str]) -> Iterator[Instance]:
    for pool in pools.list_pools(project):
        for row in _live(project, pool.name):
            if _uses(row, backend, kept):
                yield row


def _live(project: str, pool: str) -> Iterator[Instance]:
    cursor: str | None = None
    while True:
        rows, cursor = instances.live(project, pool, limit=PAGE, cursor=cursor)
        yield from rows
        if cursor is None:
            return


def _uses(row: Instance, backend: str, kept: Collection[str]) -> bool:
    def matters(offer: Offer | None) -> bool:
        return offer is not None and offer.backend == backend and offer.region not in kept

    if row.state not in MOVING:
        return matters(row.offer)
    return any(
        attempt.state in OPEN_ATTEMPTS and matters(attempt.offer) for attempt in journal.attempts(row.instance_id)
    )

"""The comparison of our rows with the clouds: what bills must have a live row, and a live row must have its machine.

The cloud is listed first and the rows are read after it, so a machine whose row is older than the list is never taken
for a stranger: the intent is written before the launch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from chalicelib import log
from chalicelib.backends.base import Backend, Machine, Phase
from chalicelib.domain.errors import BackendError, LostRaceError, NotFoundError
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import AttemptState, Instance
from chalicelib.services import pools, teardown
from chalicelib.services.deps import Deps
from chalicelib.store import instances as store
from chalicelib.store import journal
from chalicelib.store import pools as pool_store

PAGE: Final = 200
SETTLED: Final = timedelta(seconds=60)
"""How long after a launch a list may still miss the machine."""

CLOSED: Final = frozenset({AttemptState.REFUSED, AttemptState.CLEANED})


@dataclass(frozen=True, slots=True)
class Report:
    """What one comparison found and did for one backend. `failed` says why it could not be made."""

    backend: str
    machines: int = 0
    orphans: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    failed: str = ""


def compare(deps: Deps) -> list[Report]:
    """Compare every configured backend, and go on with the draining of pools. One failing backend stops no other."""
    reports = []
    for name in deps.backend_names():
        try:
            report = _compare(deps, deps.backend(name))
        except BackendError as error:
            report = Report(name, failed=error.detail)
            log.error("reconcile-failed", backend=name, kind=error.kind, detail=error.detail)
        reports.append(report)
    for pool in pool_store.everywhere():
        if pool.deleting:
            pools.drain(deps, pool.project, pool.name, actor="reconcile")
    return reports


def _compare(deps: Deps, backend: Backend) -> Report:
    machines = [machine for machine in backend.owned(deps.settings.owner) if machine.phase is not Phase.GONE]
    orphans = tuple(machine.ref for machine in machines if _is_orphan(deps, machine))
    for ref in orphans:
        log.error("orphan", backend=backend.name, machine=ref)
        backend.terminate(ref)
    known = {machine.ref for machine in machines}
    gone = tuple(row.instance_id for row in _rented(backend.name) if _is_gone(deps, backend, row, known))
    return Report(backend.name, len(machines), orphans, gone)


def _is_orphan(deps: Deps, machine: Machine) -> bool:
    """A machine with our tag that no live row will ever use: its attempt is closed, or nobody ever intended it."""
    instance_id, _, number = machine.attempt_id.rpartition("-")
    attempt = next((a for a in journal.attempts(instance_id) if str(a.number) == number), None) if instance_id else None
    if attempt is None:
        return machine.launched_at is not None and deps.now() - machine.launched_at > deps.settings.ready_within
    return attempt.state in CLOSED


def _rented(backend: str) -> Iterator[Instance]:
    """Every live row that has a machine of one backend."""
    for pool in pool_store.everywhere():
        cursor: str | None = None
        while True:
            rows, cursor = store.live(pool.project, pool.name, limit=PAGE, cursor=cursor)
            for row in rows:
                if row.state in (State.IDLE, State.BUSY) and row.offer is not None and row.offer.backend == backend:
                    yield row
            if cursor is None:
                break


def _is_gone(deps: Deps, backend: Backend, row: Instance, known: set[str]) -> bool:
    """Take a row out whose machine the provider does not know any more; a list may lag, so it is asked by name too."""
    if row.machine_ref in known or row.billed_from is None or deps.now() - row.billed_from < SETTLED:
        return False
    if backend.describe(row.machine_ref).phase is not Phase.GONE:
        return False
    try:
        teardown.begin(deps, row, Event.LOST, reason=Reason.MACHINE_GONE, actor="reconcile")
    except (LostRaceError, NotFoundError):
        return False
    log.event("machine-gone", backend=backend.name, instance=row.instance_id)
    return True

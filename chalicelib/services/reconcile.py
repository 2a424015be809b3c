"""The comparison of our rows with the clouds: what bills must have a live row, and a live row must have its machine.

The cloud is listed first and the rows are read after it, so a machine whose row is older than the list is never taken
for a stranger: the intent is written before the launch.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from chalicelib import log
from chalicelib.backends.base import Backend, Machine, Phase
from chalicelib.domain.errors import LostRaceError, NotFoundError, TidepoolError
from chalicelib.domain.expiry import Limits, lost_run_timers, lost_timers
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import AttemptState, Instance, Pool
from chalicelib.domain.timers import Timer
from chalicelib.services import backend_use, hosts, interruptions, placement, pools
from chalicelib.services.deps import Deps
from chalicelib.store import instances as store
from chalicelib.store import journal, timers
from chalicelib.store import pools as pool_store
from chalicelib.store import runs as run_store

PAGE: Final = 200
LISTED_AT_ONCE: Final = 8
SETTLED: Final = timedelta(seconds=60)
"""How long after a launch a list may still miss the machine."""

CLOSED: Final = frozenset({AttemptState.REFUSED, AttemptState.CLEANED})


@dataclass(frozen=True, slots=True)
class Listing:
    """What one account has, or (`backend` is the error) that it could not be said."""

    project: str
    name: str
    backend: Backend | Exception
    machines: list[Machine] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """What one comparison found and did for one backend of a project. `failed` says why it could not be made."""

    project: str
    backend: str
    machines: int = 0
    orphans: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    failed: str = ""


def compare(deps: Deps) -> list[Report]:
    """Compare every configured backend, file lost timers again, go on with the draining of pools.

    One backend, project or pool that fails stops no other.
    """
    projects = pool_store.projects()
    listings = _list_all(deps, [(project, name) for project in projects for name in _names(deps, project)])
    everywhere = pool_store.everywhere()
    rows = [row for pool in everywhere for row in _live(pool)]
    reports = [_report(deps, listing, rows) for listing in listings]
    for pool in everywhere:
        with _logged(pool=pool.name):
            _file_lost_timers(deps, pool)
            if pool.draining:
                pools.drain(deps, pool.project, pool.name, actor="reconcile")
            elif pool.deleting:
                pools.reopen(deps, pool.project, pool.name)
    for project in projects:
        with _logged(project=project):
            _file_lost_placements(deps, project)
            hosts.sweep(deps, project)
        with _logged(project=project):
            backend_use.open_abandoned(deps, project)
    return reports


@contextmanager
def _logged(**fields: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it was, the rest of the comparison goes on
        log.error("reconcile-failed", error, **fields)


def _names(deps: Deps, project: str) -> tuple[str, ...]:
    """Every backend of a project, those included that are being removed: what they still have must end."""
    try:
        return deps.backend_names(project, closed=True)
    except TidepoolError as error:
        log.error("reconcile-failed", error, project=project)
        return ()


def _list_all(deps: Deps, accounts: list[tuple[str, str]]) -> list[Listing]:
    """List what every account has, several at once: one that hangs until its time limit delays no other."""
    with ThreadPoolExecutor(LISTED_AT_ONCE, thread_name_prefix="owned") as threads:
        asked = [(project, name, _made(deps, project, name)) for project, name in accounts]
        listing = [
            (project, name, made, threads.submit(copy_context().run, _owned, deps, made))
            for project, name, made in asked
        ]
        return [_listing(project, name, made, answer) for project, name, made, answer in listing]


def _made(deps: Deps, project: str, name: str) -> Backend | Exception:
    try:
        return deps.backend(project, name)
    except Exception as error:  # noqa: BLE001 - whatever it was, the other backends are compared
        return error


def _owned(deps: Deps, made: Backend | Exception) -> list[Machine]:
    if isinstance(made, Exception):
        raise made
    return [machine for machine in made.owned(deps.settings.owner) if machine.phase is not Phase.GONE]


def _listing(project: str, name: str, made: Backend | Exception, answer: Future[list[Machine]]) -> Listing:
    try:
        return Listing(project, name, made, answer.result())
    except Exception as error:  # noqa: BLE001 - whatever it was, the other backends are compared
        log.error("reconcile-failed", error, project=project, backend=name)
        return Listing(project, name, error)


def _report(deps: Deps, listing: Listing, rows: list[Instance]) -> Report:
    project, name, backend = listing.project, listing.name, listing.backend
    if isinstance(backend, Exception):
        return Report(project, name, failed=str(backend))
    try:
        return _compare(deps, project, backend, listing.machines, rows)
    except Exception as error:  # noqa: BLE001 - whatever it was, the other backends are compared
        log.error("reconcile-failed", error, project=project, backend=name)
        return Report(project, name, failed=str(error))


def _compare(deps: Deps, project: str, backend: Backend, machines: list[Machine], rows: list[Instance]) -> Report:
    live = {row.instance_id for row in rows}
    orphans = tuple(machine.ref for machine in machines if _is_orphan(deps, backend, machine, live))
    for ref in orphans:
        log.error("orphan", backend=backend.name, machine=ref)
        with _logged(backend=backend.name, machine=ref):
            backend.terminate(ref)
    known = {machine.ref for machine in machines}
    gone = tuple(
        row.instance_id
        for row in rows
        if row.project == project and _is_rented(row, backend.name) and _is_gone(deps, backend, row, known)
    )
    _note_interruptions(deps, machines, [row for row in rows if row.project == project])
    return Report(project, backend.name, len(machines), orphans, gone)


def _is_orphan(deps: Deps, backend: Backend, machine: Machine, live: set[str]) -> bool:
    """A machine with our tag that no live row will ever use.

    Its attempt is closed; or its instance is in no live row, whatever the attempt says: the rows were read after the
    cloud's list, and a row is there before its machine. A stranger's id gets the time that a launch may take.
    """
    instance_id, _, number = machine.attempt_id.rpartition("-")
    attempt = next((a for a in journal.attempts(instance_id) if str(a.number) == number), None) if instance_id else None
    if attempt is None:
        may_take = deps.settings.ready_within or backend.capabilities.ready_within
        return machine.launched_at is not None and deps.now() - machine.launched_at > may_take
    return attempt.state in CLOSED or instance_id not in live


def _live(pool: Pool) -> Iterator[Instance]:
    """Every live row of a pool."""
    cursor: str | None = None
    while True:
        rows, cursor = store.live(pool.project, pool.name, limit=PAGE, cursor=cursor)
        yield from rows
        if cursor is None:
            return


def _is_rented(row: Instance, backend: str) -> bool:
    """Whether a row has a machine of a backend that is in use or could be."""
    return row.state in (State.IDLE, State.BUSY) and row.offer is not None and row.offer.backend == backend


def _is_gone(deps: Deps, backend: Backend, row: Instance, known: set[str]) -> bool:
    """Take a row out whose machine the provider does not know any more; a list may lag, so it is asked by name too."""
    if row.machine_ref in known or row.billed_from is None or deps.now() - row.billed_from < SETTLED:
        return False
    if backend.describe(row.machine_ref).phase is not Phase.GONE:
        return False
    try:
        interruptions.gone(deps, row, source="reconcile")
    except (LostRaceError, NotFoundError):
        return False
    return True


def _note_interruptions(deps: Deps, machines: list[Machine], rows: list[Instance]) -> None:
    """Tell the instances whose machines the provider takes back, where nobody has told them yet."""
    taken = {machine.ref for machine in machines if machine.interrupted}
    for row in rows:
        if row.machine_ref in taken and not row.interrupted:
            with _logged(instance=row.instance_id):
                interruptions.notice(deps, row, None, source="reconcile")


def _file_lost_timers(deps: Deps, pool: Pool) -> None:
    """File again what should have fired long ago: the stream gave its record up, or it was never written."""
    limits = Limits(deps.settings.unreachable_after, deps.settings.lost_after)
    for row in _live(pool):
        _file(lost_timers(row, limits, now=deps.now()))


def _file_lost_placements(deps: Deps, project: str) -> None:
    """The same for runs that wait for a machine."""
    cursor: str | None = None
    while True:
        active, cursor = run_store.page(project, limit=PAGE, cursor=cursor, active=True)
        for run in active:
            _file(lost_run_timers(run, give_up_after=deps.settings.pickup_limit, now=deps.now()))
            placement.end_if_its_instance_did(deps, run)
        if cursor is None:
            return


def _file(lost: list[Timer]) -> None:
    for timer in lost:
        log.error("timer-lost", target=timer.target, kind=timer.kind)
        timers.put(timer)

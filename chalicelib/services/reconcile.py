"""The comparison of our rows with the clouds: what bills must have a live row, and a live row must have its machine.

The cloud is listed first and the rows are read after it, so a machine whose row is older than the list is never taken
for a stranger: the intent is written before the launch.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from chalicelib import log
from chalicelib.backends.base import Backend, Machine, Phase
from chalicelib.domain.errors import LostRaceError, NotFoundError, TidepoolError
from chalicelib.domain.expiry import Limits, lost_run_timers, lost_timers
from chalicelib.domain.host_records import is_host
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import AttemptState, Instance, Pool, Run, RunState
from chalicelib.domain.timers import Timer
from chalicelib.services import backend_use, hosts, interruptions, placement, pools
from chalicelib.services.deps import Deps
from chalicelib.store import instances as store
from chalicelib.store import journal, timers
from chalicelib.store import pools as pool_store
from chalicelib.store import runs as run_store

PAGE: Final = 200
LISTED_AT_ONCE: Final = 4
"""Accounts; each asks its regions at once, and a region in use takes about 1.5 MB."""

SETTLED: Final = timedelta(seconds=60)
"""How long after a launch a list may still miss the machine."""

CLOSED: Final = frozenset({AttemptState.REFUSED, AttemptState.CLEANED})


@dataclass(frozen=True, slots=True)
class Listing:
    """What one account has. `failed` says why there may be more: a part of it, or all, could not be asked."""

    project: str
    name: str
    machines: list[Machine]
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What one comparison found and did for one backend of a project. `failed` says why it is not complete."""

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
            _file_lost_placements(deps, project, {row.instance_id: row for row in rows})
        with _logged(project=project):
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
        asked = [threads.submit(copy_context().run, _listing, deps, project, name) for project, name in accounts]
        return [each.result() for each in asked]


def _listing(deps: Deps, project: str, name: str) -> Listing:
    """List one account. No driver is kept: with its clients for many regions each takes some 25 MB."""
    machines: list[Machine] = []
    try:
        for machine in deps.backend(project, name).owned(deps.settings.owner):
            if machine.phase is not Phase.GONE:
                machines.append(machine)
    except Exception as error:  # noqa: BLE001 - whatever it was, the other backends are compared
        log.error("reconcile-failed", error, project=project, backend=name)
        return Listing(project, name, machines, failed=str(error) or repr(error))
    return Listing(project, name, machines)


def _report(deps: Deps, listing: Listing, rows: list[Instance]) -> Report:
    if listing.failed and not listing.machines:
        return Report(listing.project, listing.name, failed=listing.failed)
    try:
        return _compare(deps, listing, rows)
    except Exception as error:  # noqa: BLE001 - whatever it was, the other backends are compared
        log.error("reconcile-failed", error, project=listing.project, backend=listing.name)
        return Report(listing.project, listing.name, failed=str(error) or repr(error))


def _compare(deps: Deps, listing: Listing, rows: list[Instance]) -> Report:
    """End what nobody wants, and take out what is gone. That something is missing says nothing in a partial list."""
    project, machines = listing.project, listing.machines
    backend = deps.backend(project, listing.name)
    live = {row.instance_id for row in rows}
    orphans = tuple(machine.ref for machine in machines if _is_orphan(deps, backend, machine, live))
    for ref in orphans:
        log.error("orphan", backend=backend.name, machine=ref)
        with _logged(backend=backend.name, machine=ref):
            backend.terminate(ref)
    known = {machine.ref for machine in machines}
    own = [row for row in rows if row.project == project]
    rented = [row for row in own if _is_rented(row, backend.name)] if not listing.failed else []
    gone = tuple(row.instance_id for row in rented if _is_gone(deps, backend, row, known))
    _note_interruptions(deps, machines, own)
    return Report(project, backend.name, len(machines), orphans, gone, listing.failed)


def _is_orphan(deps: Deps, backend: Backend, machine: Machine, live: set[str]) -> bool:
    """A machine with our tag that no live row will ever use.

    Its attempt is closed; or its instance is in no live row, whatever the attempt says: the rows were read after the
    cloud's list, and a row is there before its machine. It is looked for by its id too, before a machine that somebody
    may just have been given is ended. A stranger's id gets the time that a launch may take.
    """
    instance_id, _, number = machine.attempt_id.rpartition("-")
    attempt = next((a for a in journal.attempts(instance_id) if str(a.number) == number), None) if instance_id else None
    if attempt is None:
        may_take = deps.settings.ready_within or backend.capabilities.ready_within
        return machine.launched_at is not None and deps.now() - machine.launched_at > may_take
    return attempt.state in CLOSED or (instance_id not in live and not _is_live(instance_id))


def _is_live(instance_id: str) -> bool:
    """Whether any project has a live row of an instance: several may rent from one account."""
    return any(store.is_live(project, instance_id) for project in pool_store.projects())


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


def _file_lost_placements(deps: Deps, project: str, rows: Mapping[str, Instance]) -> None:
    """The same for runs that wait for a machine, and the end of those that the rows seen here speak against."""
    cursor: str | None = None
    while True:
        active, cursor = run_store.page(project, limit=PAGE, cursor=cursor, active=True)
        for run in active:
            with _logged(run=run.run_id):
                _file(lost_run_timers(run, give_up_after=deps.settings.pickup_limit, now=deps.now()))
                if run.jobs or _may_have_lost(run, rows.get(run.instance_id)):
                    placement.end_if_its_instance_did(deps, run)
        if cursor is None:
            return


def _may_have_lost(run: Run, row: Instance | None) -> bool:
    """Whether a run should be looked at more closely, which costs reads: its instance, as just seen, is not with it.

    Or it is stopped, and its instance unreachable: it may not have to wait for that.
    """
    if run.state is RunState.PROVISIONING:
        return row is None or row.state is State.TERMINATING
    if run.state is RunState.STOPPING and row is not None and row.unreachable:
        return True
    return row is not None and is_host(row) and (row.lease is None or row.lease.lease_id != run.lease_id)


def _file(lost: list[Timer]) -> None:
    for timer in lost:
        log.error("timer-lost", target=timer.target, kind=timer.kind)
        timers.put(timer)

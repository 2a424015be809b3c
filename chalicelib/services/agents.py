"""What agents say and are told: register once, then sync. Level-triggered: any sync may be lost, late or repeated.

The instance's row says which run holds the machine; the run says what is to be executed. Nothing else is kept, so
there is no command that could get lost.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from chalicelib import log
from chalicelib.domain.errors import InvalidInputError, LostRaceError, NotFoundError, UnauthenticatedError
from chalicelib.domain.expiry import Limits
from chalicelib.domain.host_records import SYNC_EVERY, is_host
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import RUN_ENDS, Instance, Role, Run, RunState, Token
from chalicelib.domain.timers import Timer, TimerKind, instance_target
from chalicelib.services import (
    adoption,
    gang_leftovers,
    host_facts,
    host_removal,
    interruptions,
    jobs,
    leases,
    placement,
    run_ends,
    tokens,
)
from chalicelib.services.deps import Deps
from chalicelib.services.jobs import JobReport, LogChunk, WantedJob
from chalicelib.store import instances as store
from chalicelib.store import journal, timers
from chalicelib.store import runs as run_store
from chalicelib.store import tokens as token_store

WAKE_FOR: Final = timedelta(minutes=15)
"""How long a wake-up URL works; at most what the credentials that signed it live."""

EARLY: Final = timedelta(seconds=1)
"""When an agent that is quicker than its launch's answer asks again."""

LIVE_JOBS: Final = frozenset({"starting", "running"})
IDLE_MARGIN: Final = timedelta(minutes=30)
SHORTEST_SECRET: Final = 43
"""Characters of 32 random bytes in base64: what an agent must at least propose."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What an agent was told by the provider of its machine: it is taken back at `at`, for the reason `kind`."""

    at: datetime
    kind: str = ""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """One sync of an agent; `facts` only when they are new.

    `stopping`: the agent was told to end, as when its host shuts down; it may come back. `uninstalled`: nothing is left
    of it on its host, and this is its last word.
    """

    boot_id: str
    facts: dict[str, Any] | None = None
    jobs: tuple[JobReport, ...] = ()
    logs: tuple[LogChunk, ...] = ()
    stopping: bool = False
    interruption: Notice | None = None
    uninstalled: bool = False


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """The wanted state. `acknowledged` are jobs whose end is stored; the limits are the dead-man switch's.

    `interruption`: when the machine is taken back, whoever said so; to its agent it is also the receipt of its notice.
    Of a host: `refresh` asks for its facts, `uninstall` is the script that leaves nothing of the agent there.
    """

    instance_id: str
    interval: timedelta
    wake_url: str = ""
    wake_for: timedelta = WAKE_FOR
    job: WantedJob | None = None
    acknowledged: tuple[str, ...] = ()
    log_offsets: dict[str, int] = field(default_factory=dict)
    idle_limit: timedelta = timedelta()
    leaderless_limit: timedelta = timedelta()
    shutdown: bool = False
    interruption: datetime | None = None
    refresh: bool = False
    uninstall: str = ""


@dataclass(frozen=True, slots=True)
class Registration:
    """The token id that the agent's own secret belongs to from now on."""

    instance_id: str
    token_id: str


def register(deps: Deps, bootstrap: Token, proposed: str) -> Registration:
    """Exchange a bootstrap token for the secret that the agent proposes.

    The same proposal again is answered the same, so a lost answer costs nothing; any other one is refused.
    """
    if len(proposed) < SHORTEST_SECRET:
        raise InvalidInputError("proposed_token", "(hidden)", f"a secret of at least {SHORTEST_SECRET} characters")
    attempt_id = bootstrap.name.removeprefix(tokens.BOOTSTRAP)
    instance_id = bootstrap.instance.rsplit("/", 1)[1]
    own = Token(
        token_id=attempt_id,
        secret_sha256=tokens.hash_secret(proposed),
        role=Role.AGENT,
        project=bootstrap.project,
        name=attempt_id,
        created_at=deps.now(),
        instance=bootstrap.instance,
    )
    stored = token_store.use_bootstrap(bootstrap.token_id, own.secret_sha256, agent=own)
    deps.wake.create(instance_id)
    log.event("agent-registered", instance=instance_id, attempt=attempt_id)
    return Registration(instance_id, stored.token_id)


def sync(deps: Deps, token: Token, report: SyncReport) -> SyncAnswer:
    """Take in what an agent says and answer what it should do.

    Raises `UnauthenticatedError` when its instance has ended or belongs to another machine by now.
    """
    _, project, pool, instance_id = token.instance.split("/")
    leaving = _leaving(deps, token, report)
    if leaving is not None:
        return leaving
    row = _row(project, pool, instance_id)
    number = int(token.name.rsplit("-", 1)[1])
    if row.state is State.PENDING and row.attempt < number:
        _kept(instance_id, report)
        return SyncAnswer(instance_id, EARLY)
    if row.attempt != number or row.state is State.PENDING:
        raise UnauthenticatedError("this machine was replaced by another attempt")
    if row.state is State.TERMINATING:
        return SyncAnswer(instance_id, EARLY, shutdown=_goes_off(row))
    _kept(instance_id, report)
    if is_host(row):
        row = host_facts.take_in(deps, row, report.facts)
        if row.state is State.IDLE and any(job.state in LIVE_JOBS for job in report.jobs):
            return SyncAnswer(instance_id, EARLY)  # what is left over from before its silence ends first
        if row.state is State.PROVISIONING and not adoption.agent_came(row):
            return SyncAnswer(instance_id, EARLY)
    row = _ready(deps, row) if row.state is State.PROVISIONING else _heard(deps, row)
    return _taken_in(deps, row, report)


def _kept(instance_id: str, report: SyncReport) -> None:
    """Keep the facts, whatever is answered: an agent tells them until any answer comes, and not again."""
    if report.facts is not None:
        journal.put_facts(instance_id, report.facts)


def _taken_in(deps: Deps, row: Instance, report: SyncReport) -> SyncAnswer:
    """Take in what an agent says of its machine and its jobs, and answer."""
    if report.interruption is not None:
        row = interruptions.notice(deps, row, report.interruption.at, source="agent", kind=report.interruption.kind)
    run = jobs.held_by(row) if report.jobs or report.logs else None
    offsets = jobs.store_logs(deps, row, run, report.logs)
    acknowledged = tuple(job.run_id for job in report.jobs if jobs.take_in(deps, row, run, job))
    if acknowledged:
        row = _row(row.project, row.pool, row.instance_id)
        if run is not None:
            placement.place_again(deps, row.project, run.run_id)
    if report.stopping:
        return _farewell(deps, row, acknowledged, offsets)
    is_working = any(job.state in LIVE_JOBS for job in report.jobs)
    return _answer(deps, row, acknowledged, offsets, is_working=is_working)


def _leaving(deps: Deps, token: Token, report: SyncReport) -> SyncAnswer | None:
    """What the agent of a host that is removed is told: to uninstall, until it says that it has. None: it stays."""
    _, project, pool, instance_id = token.instance.split("/")
    try:
        row = store.get(project, pool, instance_id)
    except NotFoundError:
        owed = host_removal.after_the_end(deps, token, uninstalled=report.uninstalled)
        if owed is None:
            raise UnauthenticatedError("this instance has ended") from None
        return SyncAnswer(instance_id, EARLY, uninstall=owed)
    if row.state is not State.TERMINATING or not is_host(row):
        return None
    if report.uninstalled:
        host_removal.confirmed(deps, project, instance_id)
        return SyncAnswer(instance_id, EARLY)
    return SyncAnswer(instance_id, EARLY, uninstall=host_removal.script(deps, instance_id))


def _row(project: str, pool: str, instance_id: str) -> Instance:
    try:
        return store.get(project, pool, instance_id)
    except NotFoundError as error:
        raise UnauthenticatedError("this instance has ended") from error


def _ready(deps: Deps, row: Instance) -> Instance:
    """The first sync: the machine is there. One that was bought for a run is born held by it."""
    now = deps.now()
    target = instance_target(row.project, row.pool, row.instance_id)
    limits = Limits(deps.settings.unreachable_after, deps.settings.lost_after).of(row)
    timers.put(Timer(TimerKind.PRESENCE, target, 0, now + limits.unreachable_after))
    run = _reserving(row)
    try:
        if run is None and gang_leftovers.is_kept_for_nothing(row):
            return gang_leftovers.remove_unused(deps, row, actor="agent")
        if run is None:
            deadline = None if row.idle_limit is None else now + row.idle_limit
            row = store.step(
                row,
                Event.READY,
                now=now,
                reason=Reason.AGENT_READY,
                actor="agent",
                deadline=deadline,
                seen_at=now,
                reserved_for="",
            )
        else:
            expires = now + deps.settings.lost_after
            holder = run_ends.holder(run.run_id)
            lease = leases.new_lease(row.pool, row.instance_id, row.fence + 1, holder, now, expires)
            row = store.step(
                row,
                Event.READY_HELD,
                now=now,
                reason=Reason.AGENT_READY,
                actor="agent",
                deadline=expires,
                seen_at=now,
                lease=lease,
            )
    except LostRaceError:
        return _row(row.project, row.pool, row.instance_id)
    log.event("agent-ready", instance=row.instance_id, state=row.state)
    callback = journal.callback(row.instance_id)
    if callback:
        deps.executions.succeed(callback, {"state": row.state.value})
    return row


def _reserving(row: Instance) -> Run | None:
    """The run that a new machine was bought for, if it still wants it."""
    if not row.reserved_for:
        return None
    try:
        run = run_store.get(row.project, row.reserved_for)
    except NotFoundError:
        return None
    if run.jobs:
        return run if run.state is RunState.PROVISIONING and row.instance_id in run.instance_ids else None
    return None if run.state in RUN_ENDS or run.instance_id not in ("", row.instance_id) else run


def _heard(deps: Deps, row: Instance) -> Instance:
    """Note that the agent lives, and with it the lease of the run it executes; seldom enough to cost little."""
    now = deps.now()
    recent = row.seen_at is not None and now - row.seen_at < _interval(deps, row) / 2
    if recent and not row.unreachable:
        return row
    held = row.lease is not None and bool(row.lease.run_id)
    expires = now + deps.settings.lost_after if held else None
    try:
        return store.touch(row, now=now, lease_expires=expires, fence=row.fence if held else None)
    except LostRaceError:
        return _row(row.project, row.pool, row.instance_id)


def _interval(deps: Deps, row: Instance) -> timedelta:
    """How often an agent syncs by itself. Nobody but itself says whether a host is there."""
    return min(deps.settings.sync_every, SYNC_EVERY) if is_host(row) else deps.settings.sync_every


def _goes_off(row: Instance) -> bool:
    """Whether a machine is to switch itself off. A host that is removed is told to uninstall when it asks again."""
    return row.state is State.TERMINATING and not is_host(row)


def _farewell(deps: Deps, row: Instance, acknowledged: tuple[str, ...], offsets: dict[str, int]) -> SyncAnswer:
    """An agent that ends gets no new work: nobody is there to take it. Its next sync, if one comes, changes that."""
    if row.state in (State.IDLE, State.BUSY) and not row.unreachable:
        try:
            row = store.flag(row, unreachable=True, now=deps.now(), actor="agent")
        except LostRaceError:
            log.event("farewell-lost-race", instance=row.instance_id)
    log.event("agent-stopping", instance=row.instance_id)
    return SyncAnswer(row.instance_id, deps.settings.sync_every, acknowledged=acknowledged, log_offsets=offsets)


def _answer(
    deps: Deps, row: Instance, acknowledged: tuple[str, ...], offsets: dict[str, int], *, is_working: bool
) -> SyncAnswer:
    idle = row.idle_limit + IDLE_MARGIN if row.idle_limit is not None else timedelta()
    return SyncAnswer(
        instance_id=row.instance_id,
        interval=_interval(deps, row) if row.state is not State.TERMINATING else EARLY,
        wake_url=deps.wake.listen_url(row.instance_id, expires=WAKE_FOR),
        job=jobs.wanted(deps, row, deps.now(), is_working=is_working),
        acknowledged=acknowledged,
        log_offsets=offsets,
        idle_limit=idle,
        leaderless_limit=deps.settings.lost_after + IDLE_MARGIN,
        shutdown=_goes_off(row),
        interruption=row.ends_at,
        refresh=is_host(row) and host_facts.are_asked_for(row),
    )

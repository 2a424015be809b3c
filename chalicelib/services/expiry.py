"""The clock: the sweep deletes what is due, and each deleted timer is looked at once or more.

A deletion by the sweep and one by DynamoDB's TTL leave the same stream record, so `fire` serves both.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from chalicelib import log
from chalicelib.domain.errors import LostRaceError, NoMatchError, NoOffersError, NotFoundError
from chalicelib.domain.expiry import Action, Limits, Verdict, instance_verdict, run_verdict
from chalicelib.domain.host_records import is_host
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Instance, Run, RunReason, RunState
from chalicelib.domain.timers import Timer, due_partitions, start_of
from chalicelib.services import (
    adoption,
    assembly,
    leases,
    machine_losses,
    placement,
    provisioning,
    run_ends,
    runs,
    teardown,
)
from chalicelib.services.deps import Deps
from chalicelib.store import instances as instance_store
from chalicelib.store import runs as run_store
from chalicelib.store import timers as store

PAGE: Final = 1000
DRIVES: Final = frozenset({Action.DRIVE_PROVISIONING, Action.RESUME_PROVISIONING, Action.DRIVE_TEARDOWN})
FIRST_LOOK: Final = timedelta(hours=1)
"""How far back the very first sweep looks; before it there was no table."""


def sweep(deps: Deps, *, until: datetime) -> int:
    """Delete every timer that is due, oldest first, and return how many. Stops at `until` and goes on the next time.

    The watermark moves only over minutes whose timers were all deleted, so a sweep that dies half way repeats its
    part, and one that finds a long gap behind it gets through it in steps.
    """
    now = deps.now()
    deleted = 0
    for place in due_partitions(watermark=store.watermark() or now - FIRST_LOOK, now=now):
        gone, left = _empty(place, now)
        deleted += gone
        if left or deps.now() >= until:
            reached = start_of(place)
            store.advance(reached)
            log.error("sweep-incomplete", deleted=deleted, reached=reached.isoformat())
            return deleted
    store.advance(now)
    if deleted:
        log.event("swept", deleted=deleted)
    return deleted


def _empty(place: str, now: datetime) -> tuple[int, bool]:
    """Delete what is due in one partition. Returns how many, and whether some were left by a throttled table."""
    deleted = 0
    while due := store.due(place, now=now, limit=PAGE):
        gone = store.delete(due)
        deleted += gone
        if gone < len(due):
            return deleted, True
        if len(due) < PAGE:
            break
    return deleted, False


def fire(deps: Deps, timer: Timer) -> Verdict | None:
    """Act on one timer that came due. Twice, late or out of order is fine. Returns the verdict; None: no such row."""
    kind, project, *rest = timer.target.split("/")
    try:
        row = run_store.get(project, rest[0]) if kind == "run" else instance_store.get(project, rest[0], rest[1])
    except NotFoundError:
        return None
    return _fire_run(deps, timer, row) if isinstance(row, Run) else _fire_instance(deps, timer, row)


def _fire_instance(deps: Deps, timer: Timer, row: Instance) -> Verdict:
    limits = Limits(deps.settings.unreachable_after, deps.settings.lost_after)
    verdict = instance_verdict(timer, row, limits, now=deps.now())
    if verdict.action is Action.NOTHING:
        return verdict
    log.event("timer", kind=timer.kind, instance=row.instance_id, action=verdict.action, why=verdict.why)
    try:
        if verdict.action in DRIVES and verdict.at is not None:
            row = instance_store.postpone(row, deadline=verdict.at, now=deps.now())
        elif verdict.at is not None:
            store.put(Timer(timer.kind, timer.target, timer.fence, verdict.at))
        _act(deps, row, verdict)
    except LostRaceError:
        log.event("timer-lost-race", kind=timer.kind, instance=row.instance_id)
    return verdict


def _act(deps: Deps, row: Instance, verdict: Verdict) -> None:
    if verdict.action is Action.TERMINATE:
        assert verdict.event is not None
        assert verdict.reason is not None
        teardown.begin(
            deps,
            row,
            verdict.event,
            reason=verdict.reason,
            actor="timer",
            detail=verdict.why,
            holding=verdict.holding,
        )
    elif verdict.action is Action.RELEASE:
        assert row.lease is not None
        reason, holding = Reason.LEASE_EXPIRED, verdict.holding
        leases.give_back(deps, row, row.lease.fence, reason=reason, actor="timer", holding=holding)
    elif verdict.action is Action.LOSE_RUN:
        _lose_run(deps, row, holding=verdict.holding)
    elif verdict.action is Action.DRIVE_TEARDOWN:
        overdue = verdict.at is not None
        if overdue:
            log.error("teardown-overdue", instance=row.instance_id, since=row.changed_at.isoformat())
        teardown.drive(deps, row, suffix=f"-{int(deps.now().timestamp()) // 60}" if overdue else "")
    elif verdict.action is Action.DRIVE_PROVISIONING:
        _drive_provisioning(deps, row)
    elif verdict.action is Action.RESUME_PROVISIONING:
        _resume_provisioning(deps, row)
    elif verdict.action is Action.FLAG_UNREACHABLE:
        machine_losses.went_silent(deps, instance_store.flag(row, now=deps.now(), actor="timer", unreachable=True))


def _lose_run(deps: Deps, row: Instance, *, holding: str) -> None:
    """A host was silent for too long: the run that was there ends with that truth, the host is idle and unreachable.

    The row is moved first: a sync in between wins. A crash before the run's end is reconcile's to find.
    """
    assert row.lease is not None
    leases.give_back(deps, row, row.lease.fence, reason=Reason.AGENT_SILENT, actor="timer", holding=holding)
    silent = replace(row, reason=Reason.AGENT_SILENT, detail=f"host {row.name} is unreachable")
    machine_losses.machine_lost(deps, silent)


def _drive_provisioning(deps: Deps, row: Instance) -> None:
    """Start the provision workflow again for a request whose own is gone, and after a long while give it up.

    A workflow that still runs is left to it: it waits for capacity, or for the end of a machine that will not go.
    """
    if not is_host(row) and deps.now() > provisioning.given_up_at(row):
        log.error("provisioning-overdue", instance=row.instance_id, since=row.changed_at.isoformat())
        event, reason = Event.FAILED, Reason.PROVISIONING_DEADLINE
        teardown.begin(deps, row, event, reason=reason, actor="timer", detail="no machine within its time")
        return
    _resume_provisioning(deps, row)


def _resume_provisioning(deps: Deps, row: Instance) -> None:
    """The same without giving up what nobody could go on with while we were away."""
    drive = adoption.drive if is_host(row) else provisioning.drive
    if drive(deps, row):
        log.error("provisioning-overdue", instance=row.instance_id, since=row.changed_at.isoformat())


def _fire_run(deps: Deps, timer: Timer, run: Run) -> Verdict:
    verdict = run_verdict(timer, run, give_up_after=deps.settings.pickup_limit, now=deps.now())
    if verdict.action is Action.NOTHING:
        return verdict
    log.event("timer", kind=timer.kind, run=run.run_id, action=verdict.action, why=verdict.why)
    again = verdict.at or deps.now() + deps.settings.pickup_within
    store.put(Timer(timer.kind, timer.target, timer.fence, again))
    if verdict.action is Action.FILE_AGAIN:
        return verdict
    try:
        if verdict.action is Action.STOP:
            runs.end(deps, run, RunReason.MAX_DURATION, actor="timer")
            return verdict
        if verdict.action is Action.WAKE:
            for instance_id in run.instance_ids:
                deps.wake.send(instance_id)
            return verdict
        if verdict.action is Action.ASSEMBLE:
            assembly.assemble(deps, run)
            return verdict
        if verdict.action is Action.ASSEMBLE_ANEW:
            run = assembly.anew(deps, run)
        if verdict.action is Action.PLACE_ELSEWHERE:
            run = assembly.take_back(deps, run) if run.jobs else _take_back(deps, run)
        placement.place(deps, run)
    except (NoMatchError, NoOffersError, LostRaceError, NotFoundError) as error:
        log.event("not-placed", run=run.run_id, code=error.code, detail=error.detail)
    return verdict


def _take_back(deps: Deps, run: Run) -> Run:
    """Give up the machine whose agent did not take the job: it is flagged, and ends if it was rented.

    The run is moved first: from then on the machine's agent is refused the job.
    """
    now = deps.now()
    free = run_store.step(
        run,
        RunState.SUBMITTED,
        now=now,
        reason=RunReason.NOT_PICKED_UP,
        actor="timer",
        deadline=now + deps.settings.pickup_within,
        instance_id="",
        instance_name="",
        lease_id="",
    )
    pool, instance_id, fence = leases.parse(run.lease_id)
    try:
        row = instance_store.get(run.project, pool, instance_id)
        held = row.lease is not None and row.lease.fence == fence and row.lease.holder == run_ends.holder(run.run_id)
        if held and row.state is State.BUSY:
            leases.distrust(deps, row, fence)
    except (NotFoundError, LostRaceError):
        log.event("taken-back-already", run=run.run_id, instance=instance_id)
    return free

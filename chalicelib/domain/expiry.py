"""What a firing timer means for the row it finds: a verdict, or that the timer is stale.

Nobody cancels timers, and they may fire twice, late or out of order; so each verdict is made from the row as it is.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from chalicelib.domain.host_records import UNREACHABLE_AFTER, is_host
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import RUN_ENDS, Instance, Run, RunState
from chalicelib.domain.timers import DEADLINE_KIND, Timer, TimerKind, instance_target, run_target


class Action(StrEnum):
    """What is to be done."""

    NOTHING = "nothing"
    FILE_AGAIN = "file-again"
    TERMINATE = "terminate"
    RELEASE = "release"
    LOSE_RUN = "lose-run"
    DRIVE_PROVISIONING = "drive-provisioning"
    DRIVE_TEARDOWN = "drive-teardown"
    FLAG_UNREACHABLE = "flag-unreachable"
    WAKE = "wake"
    PLACE = "place"
    ASSEMBLE = "assemble"
    STOP = "stop"
    PLACE_ELSEWHERE = "place-elsewhere"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`at` is when to look again (for `FILE_AGAIN` and what repeats); `why` names the rule."""

    action: Action
    why: str
    at: datetime | None = None
    event: Event | None = None
    reason: Reason | None = None
    holding: str = "deadline"
    """The field that a heartbeat moves, and that must not have moved when the verdict is carried out."""


OVERSTAYED: Final = timedelta(seconds=60)
"""How long after the moment that its provider named a machine is ended whether or not it was taken."""

DRIVE_EVERY: Final = timedelta(minutes=10)
"""How often what should be over by now is driven again."""

COMES_BACK_WITHIN: Final = timedelta(minutes=2)
"""How long after an outage of our own every agent has asked again: it does at least every 30 s."""

STALE: Final = Verdict(Action.NOTHING, "stale")
MAY_COME_BACK: Final = "flagged a moment ago"

NODES_GIVEN_UP: Final = UNREACHABLE_AFTER + timedelta(seconds=30)
"""How long one of several nodes has for taking its job: a blip, and the next sync after it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The silences after which an instance is flagged, and given up."""

    unreachable_after: timedelta
    lost_after: timedelta

    def of(self, row: Instance) -> "Limits":
        """The limits for one instance: a host is flagged sooner, because only its agent tells that it is there."""
        return replace(self, unreachable_after=min(self.unreachable_after, UNREACHABLE_AFTER)) if is_host(row) else self

    @property
    def grace(self) -> timedelta:
        """Between flagging and giving up there is at least this much, however long the silence.

        After an outage of our own (or of the laptop that all of this runs on) every agent looks silent; those that
        live sync within it.
        """
        return min(COMES_BACK_WITHIN, self.lost_after / 4)

    def may_come_back(self, row: Instance, now: datetime) -> datetime | None:
        """Until when a flagged instance is not given up yet, None when that is over.

        Counted from the flag and not from the timer that sets it: a presence timer and a lease's, or one of them
        twice, may come due in the same second.
        """
        until = row.unreachable_since + self.grace if row.unreachable_since else None
        return until if until and now < until else None


def instance_verdict(timer: Timer, row: Instance, limits: Limits, *, now: datetime) -> Verdict:
    """Say what a timer means for an instance as it stands. None removes a host."""
    limits = limits.of(row)
    if timer.kind is TimerKind.PRESENCE:
        return _presence(row, limits, now)
    if timer.kind is TimerKind.INTERRUPTION:
        return _interruption(row, now)
    if row.state is State.TERMINATING and row.fence == timer.fence + 1:
        return Verdict(Action.DRIVE_TEARDOWN, "the transition was made, its workflow may not have been started")
    if row.fence != timer.fence:
        return STALE
    due = row.lease.expires_at if timer.kind is TimerKind.LEASE and row.lease else row.deadline
    if due is None:
        return STALE
    if now < due:
        return Verdict(Action.FILE_AGAIN, "the deadline was moved", at=due)
    return _deadline(timer, row, limits, now)


def _deadline(timer: Timer, row: Instance, limits: Limits, now: datetime) -> Verdict:
    if timer.kind is TimerKind.IDLE and row.state is State.IDLE:
        idle_too_long = Verdict(Action.TERMINATE, "idle limit", event=Event.EXPIRED, reason=Reason.IDLE_TIMEOUT)
        return STALE if is_host(row) else idle_too_long
    if timer.kind is TimerKind.LEASE and row.state is State.BUSY:
        return _lease_over(row, limits, now)
    if timer.kind is TimerKind.PROVISIONING and row.state in (State.PENDING, State.PROVISIONING):
        return Verdict(Action.DRIVE_PROVISIONING, "past its deadline", at=now + DRIVE_EVERY)
    if timer.kind is TimerKind.TEARDOWN and row.state is State.TERMINATING:
        return Verdict(Action.DRIVE_TEARDOWN, "still not gone", at=now + DRIVE_EVERY)
    return STALE


def _lease_over(row: Instance, limits: Limits, now: datetime) -> Verdict:
    """A run's lease lives by its agent: who is silent for so long is flagged first, and then given up."""
    if row.lease is None or not row.lease.run_id:
        return Verdict(Action.RELEASE, "lease expired", reason=Reason.LEASE_EXPIRED)
    if not row.unreachable:
        return Verdict(Action.FLAG_UNREACHABLE, "agent silent", at=now + limits.grace)
    if back_by := limits.may_come_back(row, now):
        return Verdict(Action.FILE_AGAIN, MAY_COME_BACK, at=back_by)
    if is_host(row):
        return Verdict(Action.LOSE_RUN, "agent silent", reason=Reason.AGENT_SILENT)
    return Verdict(Action.TERMINATE, "agent silent", event=Event.LOST, reason=Reason.AGENT_SILENT)


def _presence(row: Instance, limits: Limits, now: datetime) -> Verdict:
    """Silence flags an instance, and after a longer while gives an idle one up; a held one is its lease's business."""
    if row.state not in (State.IDLE, State.BUSY) or row.seen_at is None:
        return STALE
    silent = now - row.seen_at
    if silent < limits.unreachable_after:
        return Verdict(Action.FILE_AGAIN, "was heard of", at=row.seen_at + limits.unreachable_after)
    if not row.unreachable:
        at = max(row.seen_at + limits.lost_after, now + limits.grace)
        return Verdict(Action.FLAG_UNREACHABLE, "agent silent", at=at)
    if is_host(row):
        return Verdict(Action.FILE_AGAIN, "a host may be away", at=now + limits.lost_after)
    if silent < limits.lost_after:
        return Verdict(Action.FILE_AGAIN, "still silent", at=row.seen_at + limits.lost_after)
    if back_by := limits.may_come_back(row, now):
        return Verdict(Action.FILE_AGAIN, MAY_COME_BACK, at=back_by)
    if row.state is State.IDLE:
        reason = Reason.AGENT_SILENT
        return Verdict(Action.TERMINATE, "agent silent", event=Event.LOST, reason=reason, holding="seen_at")
    return Verdict(Action.FILE_AGAIN, "held by a lease", at=now + limits.unreachable_after)


def _interruption(row: Instance, now: datetime) -> Verdict:
    """A machine that its provider takes back is not waited for longer than the provider said."""
    if row.state not in (State.IDLE, State.BUSY) or row.ends_at is None:
        return STALE
    if now < row.ends_at + OVERSTAYED:
        return Verdict(Action.FILE_AGAIN, "its time is not over", at=row.ends_at + OVERSTAYED)
    why, reason = "taken back by its provider", Reason.INTERRUPTED
    return Verdict(Action.TERMINATE, why, event=Event.LOST, reason=reason, holding="ends_at")


def run_verdict(timer: Timer, run: Run, *, give_up_after: timedelta, now: datetime) -> Verdict:
    """Say what a timer means for a run as it stands.

    `max-duration`: its time is up. `placement`: nobody placed it, or its machine's agent did not take the job. A
    wake-up may be lost, and then a healthy agent takes the job at its next regular sync; only one that is silent for
    longer than `give_up_after` is given up. Of several nodes others may have begun: a blip of one host ends no job.
    How long that is counts up to the timer's own moment: one that fires late, after an outage of our own, wakes first.
    """
    if run.state in RUN_ENDS:
        return STALE
    if timer.kind is TimerKind.MAX_DURATION:
        return _used_up(run, now)
    if run.fence != timer.fence:
        return STALE
    if run.state is RunState.SUBMITTED:
        if run.tries.retry_at is not None and now < run.tries.retry_at:
            return Verdict(Action.FILE_AGAIN, "waits for its next try", at=run.tries.retry_at)
        return Verdict(Action.PLACE, "was not placed")
    if run.state is RunState.STARTING:
        limit = max(give_up_after, NODES_GIVEN_UP) if run.jobs else give_up_after
        if min(now, timer.due_at) - run.changed_at < limit:
            return Verdict(Action.WAKE, "was not picked up yet")
        return Verdict(Action.PLACE_ELSEWHERE, "was not picked up")
    gathers = run.state is RunState.PROVISIONING and run.jobs
    return Verdict(Action.ASSEMBLE, "its nodes are not all there") if gathers else STALE


def _used_up(run: Run, now: datetime) -> Verdict:
    """A run that is being stopped already is left to that; its machine's silence is its lease's business."""
    if run.ends_by is None or run.state is RunState.STOPPING:
        return STALE
    if now < run.ends_by:
        return Verdict(Action.FILE_AGAIN, "its time is not over", at=run.ends_by)
    return Verdict(Action.STOP, "its time is over")


OVERDUE: Final = timedelta(minutes=5)
"""How long after its moment a timer counts as lost: three times what the sweep promises."""


def lost_timers(row: Instance, limits: Limits, *, now: datetime) -> list[Timer]:
    """Return the timers that should have fired for an instance long ago, due now. None of them, when all is well.

    A timer is lost when its record could not be delivered for so long that the stream gave it up.
    """
    target = instance_target(row.project, row.pool, row.instance_id)
    limits = limits.of(row)
    lost = []
    if row.deadline is not None and now - row.deadline > OVERDUE:
        lost.append(Timer(DEADLINE_KIND[row.state], target, row.fence, now))
    if row.state in (State.IDLE, State.BUSY) and row.seen_at is not None:
        allowed = limits.lost_after if row.unreachable else limits.unreachable_after
        away = row.unreachable and is_host(row)
        if now - row.seen_at > allowed + OVERDUE and not away:
            lost.append(Timer(TimerKind.PRESENCE, target, 0, now))
    if row.state in (State.IDLE, State.BUSY) and row.ends_at is not None and now - row.ends_at > OVERSTAYED + OVERDUE:
        lost.append(Timer(TimerKind.INTERRUPTION, target, 0, now))
    return lost


def lost_run_timers(run: Run, *, give_up_after: timedelta, now: datetime) -> list[Timer]:
    """Return the timers that should have fired for a run long ago: nobody placed it, or stopped it in time.

    They are due now, but the one that gives up a machine: its agent may be about to come back, as we are.
    """
    target = run_target(run.project, run.run_id)
    lost = []
    waits = run.state in (RunState.SUBMITTED, RunState.STARTING)
    since = max(run.changed_at, run.tries.retry_at or run.changed_at)
    if waits and now - since > give_up_after + OVERDUE:
        at = now if run.state is RunState.SUBMITTED else now + COMES_BACK_WITHIN
        lost.append(Timer(TimerKind.PLACEMENT, target, run.fence, at))
    if run.state not in RUN_ENDS | {RunState.STOPPING} and run.ends_by is not None and now - run.ends_by > OVERDUE:
        lost.append(Timer(TimerKind.MAX_DURATION, target, 0, now))
    return lost

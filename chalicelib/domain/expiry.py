"""What a firing timer means for the row it finds: a verdict, or that the timer is stale.

Nobody cancels timers, and they may fire twice, late or out of order; so each verdict is made from the row as it is.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from chalicelib.domain.host_records import UNREACHABLE_AFTER, is_host
from chalicelib.domain.lifecycle import COMING, Event, Reason, State
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
    RESUME_PROVISIONING = "resume-provisioning"
    DRIVE_TEARDOWN = "drive-teardown"
    FLAG_UNREACHABLE = "flag-unreachable"
    WAKE = "wake"
    PLACE = "place"
    ASSEMBLE = "assemble"
    ASSEMBLE_ANEW = "assemble-anew"
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

PUT_OFF_FOR: Final = timedelta(hours=1)
"""For how long, by the timers' own moments, those that fire late give nothing up. Then they do: where the sweep stands
still every timer is late, by as much as DynamoDB's TTL is. A rented machine that hears nothing ends itself sooner."""

HOST_PUT_OFF_FOR: Final = timedelta(hours=12)
"""The same for a server that somebody owns: it costs nothing, and works on through a night without a word from us."""

STALE: Final = Verdict(Action.NOTHING, "stale")
MAY_COME_BACK: Final = "flagged a moment ago"
WERE_AWAY: Final = "late: we were away ourselves"

TOGETHER_WITHIN: Final = timedelta(minutes=30)
"""How long what a run on several nodes has is held while the rest is on its way. Who waits for capacity longer holds
nothing."""

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


def put_off(
    timer: Timer,
    since: datetime,
    now: datetime,
    *,
    wait: timedelta = COMES_BACK_WITHIN,
    most: timedelta = PUT_OFF_FOR,
) -> Verdict | None:
    """Say until when what is due `since` then is left alone because its timer fires late, None when it is not.

    Who fires late was away, and could not be told anything meanwhile. And it may have been up for seconds only, which
    sufficed to flag what is silent: a laptop wakes so, again and again, and is away for minutes in between.
    """
    is_late = now - timer.due_at > COMES_BACK_WITHIN
    return Verdict(Action.FILE_AGAIN, WERE_AWAY, at=now + wait) if is_late and timer.due_at - since < most else None


def instance_verdict(timer: Timer, row: Instance, limits: Limits, *, now: datetime) -> Verdict:
    """Say what a timer means for an instance as it stands. None removes a host."""
    limits = limits.of(row)
    if timer.kind is TimerKind.PRESENCE:
        return _presence(timer, row, limits, now)
    if timer.kind is TimerKind.INTERRUPTION:
        return _interruption(timer, row, now)
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
        return _lease_over(timer, row, limits, now)
    if timer.kind is TimerKind.PROVISIONING and row.state in COMING:
        if put_off(timer, row.deadline or now, now):
            return Verdict(Action.RESUME_PROVISIONING, WERE_AWAY, at=now + DRIVE_EVERY)
        return Verdict(Action.DRIVE_PROVISIONING, "past its deadline", at=now + DRIVE_EVERY)
    if timer.kind is TimerKind.TEARDOWN and row.state is State.TERMINATING:
        return Verdict(Action.DRIVE_TEARDOWN, "still not gone", at=now + DRIVE_EVERY)
    return STALE


def _lease_over(timer: Timer, row: Instance, limits: Limits, now: datetime) -> Verdict:
    """A run's lease lives by its agent: who is silent for so long is flagged first, and then given up.

    It is not at the very moment that the lease ends, however long ago it was flagged: that look files another, and we
    may have woken for this moment alone. A client's lives by its heartbeats, which nobody took in while we were away.
    """
    if row.lease is None or not row.lease.run_id:
        if late := put_off(timer, row.deadline or now, now, wait=limits.grace):
            return late
        return Verdict(Action.RELEASE, "lease expired", reason=Reason.LEASE_EXPIRED)
    if not row.unreachable:
        return Verdict(Action.FLAG_UNREACHABLE, "agent silent", at=now + limits.grace)
    if row.deadline and timer.due_at < row.deadline + limits.grace:
        return Verdict(Action.FILE_AGAIN, MAY_COME_BACK, at=now + limits.grace)
    if wait := _may_come_back(timer, row, limits, now):
        return wait
    if is_host(row):
        return Verdict(Action.LOSE_RUN, "agent silent", reason=Reason.AGENT_SILENT)
    return Verdict(Action.TERMINATE, "agent silent", event=Event.LOST, reason=Reason.AGENT_SILENT)


def _may_come_back(timer: Timer, row: Instance, limits: Limits, now: datetime) -> Verdict | None:
    """Until when a flagged instance is not given up yet, None when that is over.

    Counted from the flag and not from the timer that sets it: a presence timer and a lease's, or one of them twice, may
    come due in the same second.
    """
    flagged_at = row.unreachable_since or now
    back_by = flagged_at + limits.grace
    if now < back_by:
        return Verdict(Action.FILE_AGAIN, MAY_COME_BACK, at=back_by)
    most = HOST_PUT_OFF_FOR if is_host(row) else PUT_OFF_FOR
    return put_off(timer, flagged_at, now, wait=limits.grace, most=most)


def _presence(timer: Timer, row: Instance, limits: Limits, now: datetime) -> Verdict:
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
    if wait := _may_come_back(timer, row, limits, now):
        return wait
    if row.state is State.IDLE:
        reason = Reason.AGENT_SILENT
        return Verdict(Action.TERMINATE, "agent silent", event=Event.LOST, reason=reason, holding="seen_at")
    return Verdict(Action.FILE_AGAIN, "held by a lease", at=now + limits.unreachable_after)


def _interruption(timer: Timer, row: Instance, now: datetime) -> Verdict:
    """A machine that its provider takes back is not waited for longer than the provider said."""
    if row.state not in (State.IDLE, State.BUSY) or row.ends_at is None:
        return STALE
    if now < row.ends_at + OVERSTAYED:
        return Verdict(Action.FILE_AGAIN, "its time is not over", at=row.ends_at + OVERSTAYED)
    if late := put_off(timer, row.ends_at + OVERSTAYED, now):
        return late
    why, reason = "taken back by its provider", Reason.INTERRUPTED
    return Verdict(Action.TERMINATE, why, event=Event.LOST, reason=reason, holding="ends_at")


def run_verdict(timer: Timer, run: Run, *, give_up_after: timedelta, now: datetime) -> Verdict:
    """Say what a timer means for a run as it stands.

    `max-duration`: its time is up. `placement`: nobody placed it, or its machine's agent did not take the job. A
    wake-up may be lost, and then a healthy agent takes the job at its next regular sync; only one that is silent for
    longer than `give_up_after` is given up. Of several nodes others may have begun: a blip of one host ends no job.
    How long that is counts up to the timer's own moment, and one that fires late wakes whatever that is (`put_off`).
    """
    if run.state in RUN_ENDS:
        return STALE
    if timer.kind is TimerKind.MAX_DURATION:
        return _used_up(timer, run, now)
    if run.fence != timer.fence:
        return STALE
    if run.state is RunState.SUBMITTED:
        if run.tries.retry_at is not None and now < run.tries.retry_at:
            return Verdict(Action.FILE_AGAIN, "waits for its next try", at=run.tries.retry_at)
        return Verdict(Action.PLACE, "was not placed")
    if run.state is RunState.STARTING:
        limit = max(give_up_after, NODES_GIVEN_UP) if run.jobs else give_up_after
        late = put_off(timer, run.changed_at, now)
        if late or min(now, timer.due_at) - run.changed_at < limit:
            return Verdict(Action.WAKE, "was not picked up yet", at=late.at if late else None)
        return Verdict(Action.PLACE_ELSEWHERE, "was not picked up")
    return _gathering(timer, run, now) if gathers(run) else STALE


def _gathering(timer: Timer, run: Run, now: datetime) -> Verdict:
    """What is not together in its time is given up; where that passed while we were away, it is asked for again."""
    if now - run.changed_at > TOGETHER_WITHIN and put_off(timer, run.changed_at, now):
        return Verdict(Action.ASSEMBLE_ANEW, WERE_AWAY)
    return Verdict(Action.ASSEMBLE, "its nodes are not all there")


def gathers(run: Run) -> bool:
    """Whether a run waits until all of its nodes are there."""
    return run.state is RunState.PROVISIONING and bool(run.jobs)


def _used_up(timer: Timer, run: Run, now: datetime) -> Verdict:
    """A run that is being stopped already is left to that; its machine's silence is its lease's business.

    One whose job may have ended in its time, while nobody heard that, is asked first.
    """
    if run.ends_by is None or run.state is RunState.STOPPING:
        return STALE
    if now < run.ends_by:
        return Verdict(Action.FILE_AGAIN, "its time is not over", at=run.ends_by)
    waits = run.state in (RunState.SUBMITTED, RunState.PROVISIONING)
    if not waits and (late := put_off(timer, run.ends_by, now)):
        return late
    return Verdict(Action.STOP, "its time is over")


OVERDUE: Final = timedelta(minutes=5)
"""How long after its moment a timer counts as lost: three times what the sweep promises."""


def lost_timers(row: Instance, limits: Limits, *, now: datetime) -> list[Timer]:
    """Return the timers that should have fired for an instance long ago. None of them, when all is well.

    A timer is lost when its record could not be delivered for so long that the stream gave it up. It is due now, but if
    it may give up a machine or a hold: who has that may be about to come back, as we are.
    """
    target = instance_target(row.project, row.pool, row.instance_id)
    limits = limits.of(row)
    lost, soon = [], now + COMES_BACK_WITHIN
    if row.deadline is not None and now - row.deadline > OVERDUE:
        lost.append(Timer(DEADLINE_KIND[row.state], target, row.fence, soon if row.state is State.BUSY else now))
    if row.state in (State.IDLE, State.BUSY) and row.seen_at is not None:
        allowed = limits.lost_after if row.unreachable else limits.unreachable_after
        away = row.unreachable and is_host(row)
        if now - row.seen_at > allowed + OVERDUE and not away:
            lost.append(Timer(TimerKind.PRESENCE, target, 0, soon if row.unreachable else now))
    if row.state in (State.IDLE, State.BUSY) and row.ends_at is not None and now - row.ends_at > OVERSTAYED + OVERDUE:
        lost.append(Timer(TimerKind.INTERRUPTION, target, 0, soon))
    return lost


def lost_run_timers(run: Run, *, give_up_after: timedelta, now: datetime) -> list[Timer]:
    """Return the timers that should have fired for a run long ago: nobody placed it, or stopped it in time.

    The one that places a run is due now. Of the others agents may be about to come back, as we are.
    """
    target = run_target(run.project, run.run_id)
    lost, soon = [], now + COMES_BACK_WITHIN
    waits = run.state in (RunState.SUBMITTED, RunState.STARTING)
    since = max(run.changed_at, run.tries.retry_at or run.changed_at)
    if waits and now - since > give_up_after + OVERDUE:
        lost.append(Timer(TimerKind.PLACEMENT, target, run.fence, now if run.state is RunState.SUBMITTED else soon))
    if gathers(run) and now - run.changed_at > TOGETHER_WITHIN + OVERDUE:
        lost.append(Timer(TimerKind.PLACEMENT, target, run.fence, soon))
    if run.state not in RUN_ENDS | {RunState.STOPPING} and run.ends_by is not None and now - run.ends_by > OVERDUE:
        lost.append(Timer(TimerKind.MAX_DURATION, target, 0, soon))
    return lost

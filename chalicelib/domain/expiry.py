"""What a firing timer means for the row it finds: a verdict, or that the timer is stale.

Nobody cancels timers, and they may fire twice, late or out of order; so each verdict is made from the row as it is.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import RUN_ENDS, Instance, Run, RunState
from chalicelib.domain.timers import Timer, TimerKind


class Action(StrEnum):
    """What is to be done."""

    NOTHING = "nothing"
    FILE_AGAIN = "file-again"
    TERMINATE = "terminate"
    RELEASE = "release"
    DRIVE_PROVISIONING = "drive-provisioning"
    DRIVE_TEARDOWN = "drive-teardown"
    FLAG_UNREACHABLE = "flag-unreachable"
    WAKE = "wake"
    PLACE = "place"
    PLACE_ELSEWHERE = "place-elsewhere"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`at` is when to look again (for `FILE_AGAIN` and what repeats); `why` names the rule."""

    action: Action
    why: str
    at: datetime | None = None
    event: Event | None = None
    reason: Reason | None = None


STALE = Verdict(Action.NOTHING, "stale")


@dataclass(frozen=True, slots=True)
class Limits:
    """The silences after which an instance is flagged, and given up."""

    unreachable_after: timedelta
    lost_after: timedelta


def instance_verdict(timer: Timer, row: Instance, limits: Limits, *, now: datetime) -> Verdict:
    """Say what a timer means for an instance as it stands."""
    if timer.kind is TimerKind.PRESENCE:
        return _presence(row, limits, now)
    if row.state is State.TERMINATING and row.fence == timer.fence + 1:
        return Verdict(Action.DRIVE_TEARDOWN, "the transition was made, its workflow may not have been started")
    if row.fence != timer.fence:
        return STALE
    if timer.kind is TimerKind.TEARDOWN and row.state is State.TERMINATING:
        return Verdict(Action.DRIVE_TEARDOWN, "still not gone", at=now + timedelta(minutes=10))
    due = row.lease.expires_at if timer.kind is TimerKind.LEASE and row.lease else row.deadline
    if due is None:
        return STALE
    if now < due:
        return Verdict(Action.FILE_AGAIN, "the deadline was moved", at=due)
    return _deadline(timer, row, now)


def _deadline(timer: Timer, row: Instance, now: datetime) -> Verdict:
    if timer.kind is TimerKind.IDLE and row.state is State.IDLE:
        return Verdict(Action.TERMINATE, "idle limit", event=Event.EXPIRED, reason=Reason.IDLE_TIMEOUT)
    if timer.kind is TimerKind.LEASE and row.state is State.BUSY:
        if row.lease is not None and row.lease.holder.startswith("run:"):
            return Verdict(Action.TERMINATE, "agent silent", event=Event.LOST, reason=Reason.AGENT_SILENT)
        return Verdict(Action.RELEASE, "lease expired", reason=Reason.LEASE_EXPIRED)
    if timer.kind is TimerKind.PROVISIONING and row.state in (State.PENDING, State.PROVISIONING):
        return Verdict(Action.DRIVE_PROVISIONING, "past its deadline", at=now + timedelta(minutes=10))
    return STALE


def _presence(row: Instance, limits: Limits, now: datetime) -> Verdict:
    """Silence flags an instance, and after a longer while gives an idle one up; a held one is its lease's business."""
    if row.state not in (State.IDLE, State.BUSY) or row.seen_at is None:
        return STALE
    silent = now - row.seen_at
    if silent < limits.unreachable_after:
        return Verdict(Action.FILE_AGAIN, "was heard of", at=row.seen_at + limits.unreachable_after)
    if not row.unreachable:
        at = max(row.seen_at + limits.lost_after, now + timedelta(seconds=1))
        return Verdict(Action.FLAG_UNREACHABLE, "agent silent", at=at)
    if silent < limits.lost_after:
        return Verdict(Action.FILE_AGAIN, "still silent", at=row.seen_at + limits.lost_after)
    if row.state is State.IDLE:
        return Verdict(Action.TERMINATE, "agent silent", event=Event.LOST, reason=Reason.AGENT_SILENT)
    return Verdict(Action.FILE_AGAIN, "held by a lease", at=now + limits.unreachable_after)


def run_verdict(timer: Timer, run: Run, *, give_up_after: timedelta, now: datetime) -> Verdict:
    """Say what the `placement` timer means for a run: nobody placed it, or its machine's agent did not take the job.

    A wake-up may be lost, and then a healthy agent takes the job at its next regular sync; only one that is silent for
    longer than `give_up_after` is given up.
    """
    if run.state in RUN_ENDS or run.fence != timer.fence:
        return STALE
    if run.state is RunState.SUBMITTED:
        return Verdict(Action.PLACE, "was not placed")
    if run.state is RunState.STARTING:
        if now - run.changed_at < give_up_after:
            return Verdict(Action.WAKE, "was not picked up yet")
        return Verdict(Action.PLACE_ELSEWHERE, "was not picked up")
    return STALE

"""A provider takes a machine back: heard from its agent, from the provider's events, or by reconcile, in any order.

Three verbs, each of which may be called again and late: `notice` (it will be taken), `gone` (it was), and `heard` (an
event of a provider, which names the machine by the provider's own name). The first notice counts; nothing unsays it.
"""

from datetime import date, datetime, timedelta
from typing import Final

from chalicelib import log
from chalicelib.backends.base import MachineEvent, Sign
from chalicelib.domain.errors import LostRaceError, NotFoundError, ThrottledError
from chalicelib.domain.expiry import OVERSTAYED
from chalicelib.domain.host_records import is_host
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Instance
from chalicelib.domain.timers import Timer, TimerKind, instance_target
from chalicelib.services import placement, run_ends, teardown
from chalicelib.services.deps import Deps
from chalicelib.store import instances as store
from chalicelib.store import journal, machines, timers

TRIES: Final = 5

LONGEST_NOTICE: Final = timedelta(hours=1)
"""The longest notice that is believed, for a machine whose clock is wrong. EC2 gives 2 minutes; Azure at least 30 s for
a preemption, and up to 15 minutes for a termination that its owner scheduled."""

GUESSED_NOTICE: Final = timedelta(minutes=2)
"""How long a machine is taken to have left where its provider says only that it is being taken back."""

RENTED: Final = frozenset({State.PROVISIONING, State.IDLE, State.BUSY})


def notice(deps: Deps, row: Instance, ends_at: datetime | None, *, source: str, kind: str = "") -> Instance:
    """Note that a machine is taken back at `ends_at` (None: soon); return the instance as it is then.

    An idle one is removed at once, one that is busy when its job has ended, one whose agent was not heard of yet is
    replaced by the next offer. The timer that ends it in any case is filed before the flag. A server that somebody owns
    is its owner's to remove, whatever its agent hears. Raises `NotFoundError` when the instance has ended meanwhile.
    """
    if is_host(row):
        log.event("interruption-of-a-host", instance=row.instance_id, source=source)
        return row
    for _ in range(TRIES):
        if row.state not in RENTED:
            return row
        if row.interrupted:
            return _act(deps, row, source)
        now = deps.now()
        until = min(max(ends_at or now + GUESSED_NOTICE, now), now + LONGEST_NOTICE)
        _count(deps, row, now)
        target = instance_target(row.project, row.pool, row.instance_id)
        timers.put(Timer(TimerKind.INTERRUPTION, target, 0, until + OVERSTAYED))
        try:
            row = store.flag(row, ends_at=until, now=now, actor=source)
        except LostRaceError:
            row = store.get(row.project, row.pool, row.instance_id)
            continue
        log.event("interruption", instance=row.instance_id, source=source, kind=kind, ends_at=until.isoformat())
        if source != "agent":
            deps.wake.send(row.instance_id)
    return row


def gone(deps: Deps, row: Instance, *, source: str) -> Instance:
    """End an instance whose machine its provider has ended. Of a spot machine nobody else says why, so it was taken.

    Raises `LostRaceError` when the row moved, `NotFoundError` when it is gone.
    """
    taken = row.interrupted or (row.offer is not None and row.offer.spot)
    if row.state is State.PROVISIONING:
        return notice(deps, row, deps.now(), source=source, kind="gone")
    if row.state not in RENTED:
        return row
    if taken:
        _count(deps, row, deps.now())
    reason = Reason.INTERRUPTED if taken else Reason.MACHINE_GONE
    ended = teardown.begin(deps, row, Event.LOST, reason=reason, actor=source)
    log.event("machine-gone", instance=row.instance_id, source=source, reason=reason)
    placement.place_again(deps, row.project, run_ends.run_of(row))
    return ended


def heard(deps: Deps, event: MachineEvent) -> list[str]:
    """Act on a provider's event; return the ids of the instances that it was about.

    A machine that is none of ours, or is not its instance's any more, is nobody's concern. A recommendation to
    rebalance is written to the log alone: it comes without a date, often for a machine that then stays for days.
    """
    about = []
    for pointer in machines.find(event.ref):
        try:
            row = store.get(pointer.project, pointer.pool, pointer.instance_id)
            if row.machine_ref != event.ref or row.offer is None or row.offer.backend != pointer.backend:
                continue
            about.append(row.instance_id)
            _heed(deps, row, event)
        except NotFoundError:
            log.event("machine-event-late", instance=pointer.instance_id, sign=event.sign)
    return about


def statistics(project: str, backend: str, *, since: date) -> list[machines.SpotCount]:
    """Return how many spot machines of each kind were launched and taken back, by day, oldest first."""
    return machines.spot_counts(project, backend, since=since)


def _heed(deps: Deps, row: Instance, event: MachineEvent) -> None:
    """What an event means for the instance that it is about. One that moves meanwhile is looked at again."""
    if event.sign is Sign.REBALANCE:
        log.event("rebalance-recommended", instance=row.instance_id)
        return
    for _ in range(TRIES):
        try:
            if event.sign is Sign.GONE:
                gone(deps, row, source="provider")
            else:
                notice(deps, row, event.at, source="provider")
        except LostRaceError:
            row = store.get(row.project, row.pool, row.instance_id)
            if row.machine_ref != event.ref:
                return
        else:
            return
    raise LostRaceError(f"instance {row.name!r} keeps moving")


def _act(deps: Deps, row: Instance, source: str) -> Instance:
    """What follows from the flag. All of it is done again by whoever hears of it next, and at last by the timer."""
    if row.state is State.IDLE:
        try:
            return teardown.begin(deps, row, Event.LOST, reason=Reason.INTERRUPTED, actor=source)
        except LostRaceError:
            return store.get(row.project, row.pool, row.instance_id)
    if row.state is State.PROVISIONING and (callback := journal.callback(row.instance_id)):
        deps.executions.succeed(callback, {"state": row.state.value})
    return row


def _count(deps: Deps, row: Instance, now: datetime) -> None:
    """Count it among the interruptions of its kind, once. What cannot be counted now holds up nothing."""
    if row.offer is None or not row.offer.spot:
        return
    try:
        machines.count_interruption(row.project, row.offer.backend, row.machine_ref, now=now)
    except ThrottledError as error:
        log.event("interruption-not-counted", instance=row.instance_id, detail=error.detail)

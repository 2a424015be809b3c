"""The guarded write: one live instance row, changed only if it still is what the decision was made on.

`store.instances` builds every change from these parts.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.domain.errors import LostRaceError
from chalicelib.domain.lifecycle import Event, Reason, State, next_state
from chalicelib.domain.model import Instance, Lease
from chalicelib.domain.timers import DEADLINE_KIND, Timer, instance_target
from chalicelib.store import calls, rows, timers
from chalicelib.store.expressions import PRESENT, Guard
from chalicelib.store.models import InstanceRow


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that looked claimable when the index was read; `claim` finds out whether it still is."""

    project: str
    pool: str
    instance_id: str
    fence: int
    seen_at: datetime | None
    name: str


def write(seen: Instance | Candidate, attributes: dict[str, Any], guard: Guard, *, wrote: str) -> Instance:
    """Change one live row and return it as stored; attributes that are None are removed. Raises `LostRaceError`.

    A guard that does not hold may be the repeat of a request that worked: then the row carries our own token.
    """
    token = calls.fresh_write()
    part, attributes = rows.part(seen.project, seen.pool), attributes | {"wrote": wrote, "write": token}
    count = "flips" if wrote == "flag" else ""
    try:
        item = calls.change(InstanceRow, part, seen.instance_id, attributes, guard, count=count)
    except calls.ConditionFailedError as error:
        if error.item is None or error.item["write"]["S"] != token:
            raise moved(seen) from error
        item = error.item
    return rows.decode(item)


def file_timer(new: Instance, *, now: datetime) -> None:
    """File the timer of a row that is about to be written.

    One that is due already is filed under now: the sweep's watermark may have passed its own minute.
    """
    if new.deadline is not None:
        target = instance_target(new.project, new.pool, new.instance_id)
        timers.put(Timer(DEADLINE_KIND[new.state], target, new.fence, max(new.deadline, now)))


def file_claim(
    candidate: Candidate, *, now: datetime, actor: str, deadline: datetime, lease: Lease, reason: Reason
) -> dict[str, Any]:
    """File the timer of a claim that is about to be written; return the attributes that make it."""
    if lease.fence != candidate.fence + 1:
        raise ValueError("the lease carries the fence that the instance will have")
    state, fence = next_state(State.IDLE, Event.ACQUIRED), candidate.fence + 1
    target = instance_target(candidate.project, candidate.pool, candidate.instance_id)
    timers.put(Timer(DEADLINE_KIND[state], target, fence, max(deadline, now)))
    attributes: dict[str, Any] = {"state": state.value, "fence": fence, "reason": reason.value, "actor": actor}
    attributes |= {"detail": None, "changed_at": now, "deadline": deadline, "claim_shape": None, "claim_order": None}
    return attributes | rows.lease_fields(lease)


def claimable(candidate: Candidate) -> dict[str, Any]:
    """The row is idle with the fence that was seen, and in the index: reachable, not cordoned, not interrupted."""
    return {"state": State.IDLE.value, "fence": candidate.fence, "claim_shape": PRESENT}


def same_fence(seen: Instance) -> dict[str, Any]:
    """The row has the state and the fence that were seen."""
    return {"state": seen.state.value, "fence": seen.fence}


def same_flags(seen: Instance) -> dict[str, Any]:
    """The row has the flags and the idle limit that were seen; they change without a new fence."""
    return same(seen, "unreachable_since", "cordoned", "ends_at", "idle_limit")


def same(seen: Instance, *names: str) -> dict[str, Any]:
    """The row has what was seen in the named fields."""
    return rows.fields(seen, frozenset(names))


def moved(seen: Instance | Candidate) -> LostRaceError:
    """What to raise when the row is not what was seen."""
    return LostRaceError(f"{seen.name!r} has moved on since it was read", instance=seen.name)

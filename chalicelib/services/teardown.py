"""The end of an instance: asked for by one conditional write, over when the provider confirms that nothing is left.

A teardown is level-triggered: `advance` looks at the attempts and does what is still owed, however often, late or
concurrently it is called. Its workflow calls it with growing waits; the `teardown` timer starts the workflow again
for as long as the instance is not gone.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from chalicelib import log
from chalicelib.backends.base import Backend, Machine, Phase
from chalicelib.domain.errors import BackendError, BusyError, ConflictError, LostRaceError, NotFoundError
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Attempt, AttemptState, Instance
from chalicelib.services import run_ends
from chalicelib.services.deps import Deps
from chalicelib.store import instances as store
from chalicelib.store import journal
from chalicelib.store import pools as pool_store
from chalicelib.store import tokens as token_store

REDRIVE: Final = timedelta(minutes=10)
"""How long one teardown workflow may take before its timer starts another."""

BEGINS_WITHIN: Final = timedelta(seconds=10)
"""How long after its attempt was written a launch may begin at the latest."""

LAST_WAIT_S: Final = 60
OPEN_ATTEMPTS: Final = frozenset({AttemptState.INTENT, AttemptState.UNKNOWN, AttemptState.LAUNCHED})


def begin(
    deps: Deps, seen: Instance, event: Event, *, reason: Reason, actor: str, detail: str = "", holding: str = ""
) -> Instance:
    """Move an instance to `terminating` and start the workflow. Raises `LostRaceError` when it has moved on.

    A crash between the two leaves a terminating row whose timer starts the workflow.
    """
    now = deps.now()
    gone = store.step(
        seen, event, now=now, reason=reason, actor=actor, deadline=now + REDRIVE, detail=detail, holding=holding
    )
    log.event("instance-terminating", instance=gone.instance_id, reason=reason, actor=actor)
    drive(deps, gone)
    run_ends.machine_lost(deps, gone)
    return gone


def drive(deps: Deps, instance: Instance, suffix: str = "") -> None:
    """Start the teardown workflow; under the same name once only."""
    payload = {"project": instance.project, "pool": instance.pool, "instance_id": instance.instance_id, "round": 0}
    name = f"down-{instance.instance_id}-{instance.fence}{suffix}"
    deps.executions.start(deps.settings.teardown_arn, name, payload)


def remove(deps: Deps, seen: Instance, *, force: bool, reason: Reason, actor: str) -> Instance:
    """Remove one instance; one that is already on its way out is answered as it is.

    Raises `BusyError` for a busy one without `force`. A row that moved meanwhile is read again, a few times.
    """
    for _ in range(5):
        if seen.state in (State.TERMINATING, State.TERMINATED):
            return seen
        if seen.state is State.BUSY and not force:
            holder = seen.lease.holder if seen.lease else "a holder"
            raise BusyError(f"instance {seen.name!r} is busy with {holder}; force ends it", instance=seen.name)
        try:
            return begin(deps, seen, Event.REMOVED, reason=reason, actor=actor)
        except LostRaceError:
            seen = store.get(seen.project, seen.pool, seen.instance_id)
    raise LostRaceError(f"instance {seen.name!r} keeps moving; ask again")


def advance(deps: Deps, project: str, pool: str, instance_id: str, round_: int) -> float | None:
    """Do what a teardown still owes. Returns the seconds to wait before the next look, or None when it is over."""
    try:
        row = store.get(project, pool, instance_id)
    except NotFoundError:
        return None
    if row.state is not State.TERMINATING:
        return None
    attempts = journal.attempts(instance_id)
    failures = [failure for attempt in attempts if (failure := settle(deps, row, attempt)) is not None]
    if failures:
        for failure in filter(None, failures):
            log.error("teardown-failing", instance=instance_id, round=round_, detail=failure)
        return float(min(2**round_, LAST_WAIT_S))
    _bury(deps, row)
    return None


def settle(deps: Deps, row: Instance, attempt: Attempt) -> str | None:
    """Bring one attempt closer to its end. None: nothing of it is left; else why not yet ("" for merely waiting)."""
    if attempt.state not in OPEN_ATTEMPTS:
        return None
    try:
        backend = deps.backend(row.project, attempt.offer.backend)
        machine = locate(deps, backend, attempt)
        if machine is None:
            if deps.now() < settled_at(backend, attempt):
                return ""
        elif machine.phase is not Phase.GONE:
            if machine.phase is not Phase.STOPPING:
                backend.terminate(machine.ref)
            if backend.describe(machine.ref).phase is not Phase.GONE:
                return ""
    except (BackendError, NotFoundError) as error:
        return f"{attempt.offer.backend}: {error}"
    close(deps, row.instance_id, attempt)
    return None


def settled_at(backend: Backend, attempt: Attempt) -> datetime:
    """From when on a look-up that finds nothing proves that an attempt made nothing: its call is over by then."""
    if attempt.state is AttemptState.UNKNOWN and attempt.ended_at is not None:
        return attempt.ended_at + backend.capabilities.settles_within
    return attempt.started_at + BEGINS_WITHIN + backend.capabilities.call_timeout + backend.capabilities.settles_within


def locate(deps: Deps, backend: Backend, attempt: Attempt) -> Machine | None:
    """Find what an attempt made: by its machine when that is known, else by the attempt's own id."""
    if attempt.machine_ref:
        return backend.describe(attempt.machine_ref)
    return backend.find(attempt.attempt_id, deps.settings.owner)


def close(deps: Deps, instance_id: str, attempt: Attempt) -> None:
    """Write down that nothing of an attempt is left. Another worker may have done so already."""
    try:
        journal.end_attempt(instance_id, attempt.number, AttemptState.CLEANED, ended_at=deps.now())
    except LostRaceError:
        log.event("attempt-already-closed", attempt=attempt.attempt_id)


def cost(deps: Deps, attempts: list[Attempt]) -> int:
    """What the machines of an instance cost so far, in micro-dollars, from launch to the confirmed end of each."""
    total = 0.0
    for attempt in attempts:
        if attempt.machine_ref:
            gone_at = attempt.ended_at if attempt.state is AttemptState.CLEANED else None
            hours = ((gone_at or deps.now()) - attempt.started_at) / timedelta(hours=1)
            total += hours * attempt.offer.price
    return round(total)


def _bury(deps: Deps, row: Instance) -> None:
    """Nothing is left: the run that was on it ends with that truth, what belonged to it goes, then the row leaves.

    The row goes last: a crash before that repeats all of it.
    """
    run_ends.machine_lost(deps, row)
    deps.wake.delete(row.instance_id)
    attempts = journal.attempts(row.instance_id)
    for attempt in attempts:
        _revoke(row.project, attempt.attempt_id)
    spent = cost(deps, attempts)
    try:
        ended = replace(row, spent=spent)
        store.bury(ended, now=deps.now(), reason=row.reason, actor=row.actor, detail=row.detail)
    except LostRaceError:
        return
    log.event("instance-terminated", instance=row.instance_id, spent_micros=spent)
    _end_drained(row.project, row.pool)


def _end_drained(project: str, name: str) -> None:
    """Delete a pool that was draining and is empty now. Another teardown, or reconcile, may just have done so."""
    try:
        if pool_store.get(project, name).draining and not store.any_live(project, name):
            pool_store.end_delete(project, name)
    except (ConflictError, NotFoundError):
        log.event("pool-ended-already", pool=name)


def _revoke(project: str, token_id: str) -> None:
    """End the token of an attempt's agent, if one ever registered."""
    try:
        token_store.revoke(project, token_id)
    except NotFoundError:
        return

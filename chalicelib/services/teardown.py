"""The end of an instance: asked for by one conditional write, over when the provider confirms that nothing is left.

A teardown is level-triggered: `advance` looks at the attempts and does what is still owed, however often, late or
concurrently it is called. Its workflow calls it with growing waits; the `teardown` timer starts the workflow again
for as long as the instance is not gone.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from chalicelib import log
from chalicelib.backends.base import Backend, Machine, Phase
from chalicelib.domain.errors import BackendError, BusyError, ConflictError, LostRaceError, NotFoundError
from chalicelib.domain.host_records import is_host
from chalicelib.domain.lifecycle import COMING, Event, Reason, State
from chalicelib.domain.model import Attempt, AttemptState, Instance
from chalicelib.services import host_removal, machine_losses, run_ends
from chalicelib.services.deps import Deps
from chalicelib.services.remarks import remark
from chalicelib.store import instances as store
from chalicelib.store import journal
from chalicelib.store import pools as pool_store
from chalicelib.store import tokens as token_store

REDRIVE: Final = timedelta(minutes=10)
"""How long one teardown workflow may take before its timer starts another."""

BEGINS_WITHIN: Final = timedelta(seconds=10)
"""How long after its attempt was written a launch may begin at the latest."""

NOT_YET: Final = "still billing, it cannot be ended yet: "
"""What the detail of an instance begins with whose provider refuses to end its machine."""

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
    _let_go(deps, gone, machine_losses.machine_lost(deps, gone))
    return gone


def _let_go(deps: Deps, gone: Instance, others: tuple[str, ...]) -> None:
    """End what a run had asked for besides, and wake what it held already: their agents give that back.

    A crash before this leaves machines that come up idle: the run's next placement removes them where their cluster
    was left (`gang_leftovers`), else they end when nobody takes them.
    """
    run_id = run_ends.run_of(gone)
    for instance_id in others:
        try:
            row = store.find(gone.project, instance_id)
            if row.state is State.BUSY:
                deps.wake.send(instance_id)
            else:
                remove_coming(deps, row, run_id, actor=gone.actor)
        except (NotFoundError, LostRaceError):
            log.event("let-go-already", instance=instance_id)


def drive(deps: Deps, instance: Instance, suffix: str = "") -> None:
    """Start the teardown workflow; under the same name once only."""
    payload = {"project": instance.project, "pool": instance.pool, "instance_id": instance.instance_id, "round": 0}
    name = f"down-{instance.instance_id}-{instance.fence}{suffix}"
    deps.executions.start(deps.settings.teardown_arn, name, payload)


def remove(
    deps: Deps,
    seen: Instance,
    *,
    force: bool,
    reason: Reason,
    actor: str,
    still: Callable[[Instance], bool] = lambda _: True,
) -> Instance:
    """Remove one instance; one that is already on its way out is answered as it is.

    Raises `BusyError` for a busy one without `force`. A row that moved meanwhile is read again, a few times, and is
    left as it is then if it is not `still` what was to be removed: another may have it by now, and work on it.
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
            if not still(seen):
                return seen
    raise LostRaceError(f"instance {seen.name!r} keeps moving; ask again")


def remove_coming(deps: Deps, seen: Instance, run_id: str, *, actor: str) -> None:
    """Remove an instance that was bought for a run and is on its way, unless it comes first: then it is let go."""

    def still(row: Instance) -> bool:
        return row.state in COMING and row.reserved_for == run_id

    if still(seen):
        remove(deps, seen, force=True, reason=Reason.RUN_STOPPED, actor=actor, still=still)


def advance(deps: Deps, project: str, pool: str, instance_id: str, round_: int) -> float | None:
    """Do what a teardown still owes. Returns the seconds to wait before the next look, or None when it is over."""
    row = store.peek(project, pool, instance_id)
    if row is None or row.state is not State.TERMINATING:
        return None
    if is_host(row):
        host_removal.forget_key_of(deps, row)
    attempts = journal.attempts(instance_id)
    end = _settle_host if is_host(row) else settle
    failures = [failure for attempt in attempts if (failure := end(deps, row, attempt)) is not None]
    if failures:
        for failure in filter(None, failures):
            log.error("teardown-failing", instance=instance_id, round=round_, detail=failure)
            remark(row, NOT_YET + failure)
        return float(min(2**round_, LAST_WAIT_S))
    _bury(deps, row)
    return None


def _settle_host(deps: Deps, row: Instance, attempt: Attempt) -> str | None:
    """The same for a server that somebody owns: it is not ended, its agent leaves it."""
    if attempt.state not in OPEN_ATTEMPTS:
        return None
    why_not_yet = host_removal.settle(deps, row)
    if why_not_yet is None:
        close(deps, row.instance_id, attempt)
    return why_not_yet


def settle(deps: Deps, row: Instance, attempt: Attempt) -> str | None:
    """Bring one attempt closer to its end. None: nothing of it is left; else why not yet ("" for merely waiting)."""
    if attempt.state not in OPEN_ATTEMPTS:
        return None
    try:
        backend = deps.backend(row.project, attempt.offer.backend)
        if not _is_over(deps, backend, row, attempt):
            return ""
    except (BackendError, NotFoundError) as error:
        return f"{attempt.offer.backend}: {error}"
    close(deps, row.instance_id, attempt)
    return None


def _is_over(deps: Deps, backend: Backend, row: Instance, attempt: Attempt) -> bool:
    """Whether nothing is left at the provider of what an attempt made; what is there is told to end.

    A provider may not know yet what it has just made. So one that does not know the machine is believed when it knew
    it before, or when the launch is long enough ago.
    """
    machine = locate(deps, backend, attempt)
    if machine is None:
        return deps.now() >= settled_at(backend, attempt)
    if machine.phase is Phase.GONE:
        known = bool(machine.attempt_id) or attempt.ended_at is not None
        return known or deps.now() >= attempt.started_at + backend.capabilities.settles_within
    if machine.phase is not Phase.STOPPING:
        backend.terminate(machine.ref)
    if attempt.state is AttemptState.LAUNCHED and attempt.ended_at is None:
        journal.end_attempt(row.instance_id, attempt.number, AttemptState.LAUNCHED, ended_at=deps.now())
    return backend.describe(machine.ref).phase is Phase.GONE


def settled_at(backend: Backend, attempt: Attempt) -> datetime:
    """From when on a look-up that finds nothing proves that an attempt made nothing: its call is over by then."""
    if attempt.state is AttemptState.UNKNOWN and attempt.ended_at is not None:
        return attempt.ended_at + backend.capabilities.settles_within
    return attempt.started_at + BEGINS_WITHIN + backend.capabilities.call_timeout + backend.capabilities.settles_within


def locate(deps: Deps, backend: Backend, attempt: Attempt) -> Machine | None:
    """Find what an attempt made: by its machine when that is known, else by the attempt's own id."""
    if attempt.machine_ref:
        return backend.describe(attempt.machine_ref)
    return backend.find(attempt.attempt_id, deps.settings.owner, attempt.offer.region)


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
    machine_losses.machine_lost(deps, row)
    deps.wake.delete(row.instance_id)
    attempts = journal.attempts(row.instance_id)
    how = host_removal.close(deps, row) if is_host(row) else Reason.CONFIRMED_GONE
    if not host_removal.keeps_token(row):
        for attempt in attempts:
            if attempt.machine_ref:  # nobody else's agent ever had a token
                _revoke(row.project, attempt.attempt_id)
    spent = cost(deps, attempts)
    detail = "" if row.detail.startswith(NOT_YET) else row.detail
    try:
        ended = replace(row, spent=spent, detail=detail)
        store.bury(
            ended,
            now=deps.now(),
            reason=row.reason,
            actor=row.actor,
            detail=detail,
            how=how,
            kept_for=host_removal.kept_for(row),
        )
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

"""Exclusive, fenced, expiring holds on instances.

A lease lives on the instance's row, so taking one is a single conditional write: it cannot be half taken, and no two
holders can have it. The candidates come shape by shape: a request is matched against the few shapes of a pool, not
against its instances, so the cost does not grow with the pool.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from chalicelib import log
from chalicelib.domain import matching
from chalicelib.domain.errors import (
    ConflictError,
    InvalidInputError,
    LeaseLostError,
    LostRaceError,
    NoMatchError,
    NotFoundError,
)
from chalicelib.domain.host_records import is_host
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Instance, Lease
from chalicelib.domain.policies import Policies
from chalicelib.services import shapes, teardown
from chalicelib.services.deps import Deps
from chalicelib.store import instances as store
from chalicelib.store.rows import lease_id

PAGES: Final = (16, 64, 256)
"""Candidates of one shape read at once: about 4 KB of index, and more when all of those were silent or taken."""

TRIES: Final = 5
EXPLAINED: Final = 100
LONGEST: Final = timedelta(days=7)


def acquire(
    deps: Deps,
    project: str,
    pool: str,
    policies: Policies,
    *,
    holder: str,
    instance: str = "",
    duration: timedelta | None = None,
) -> Instance:
    """Take the cheapest, tightest, longest idle instance that matches, and return its row with the lease.

    Raises `NoMatchError` with the reason of each instance when none is free, `NotFoundError` for an unknown pool.
    """
    duration = check_duration(duration) or deps.settings.lease_for
    if instance:
        return _acquire_named(deps, project, pool, policies, instance, holder, duration)
    for fresh in (False, True):
        for accepted in matching.reuse_passes(policies):
            for offer in shapes.matching_offers(deps, project, pool, accepted, fresh=fresh):
                taken = _acquire_shape(deps, project, pool, offer.shape, holder, duration)
                if taken is not None:
                    return taken
    raise no_match(deps, project, pool, accepted)


def no_match(deps: Deps, project: str, pool: str, policies: Policies) -> NoMatchError:
    """Say for each instance of the pool why it is not taken."""
    live, more = store.live(project, pool, limit=EXPLAINED, cursor=None)
    now, fresh_for = deps.now(), deps.settings.unreachable_after
    reasons = {
        row.name: matching.instance_verdict(policies, row, now=now, fresh_for=fresh_for) or "just taken by another"
        for row in live
    }
    text = f"no idle instance of pool {pool!r} matches" if live else f"pool {pool!r} has no instances"
    return NoMatchError(text, reasons=reasons, complete=more is None)


def free(deps: Deps, project: str, pool: str, shape: str) -> Iterator[list[store.Candidate]]:
    """Yield what could be taken of one shape, longest idle first, in pages of which each begins anew and is longer."""
    for limit in PAGES:
        page = store.claimable(project, pool, shape, limit=limit)
        yield [c for c in page if c.seen_at and deps.now() - c.seen_at < deps.settings.unreachable_after]
        if len(page) < limit:
            return


def named(deps: Deps, project: str, pool: str, policies: Policies, name: str) -> tuple[Instance, str | None]:
    """Return the only instance that may be taken, and why it cannot be, if so. Raises `NotFoundError`."""
    row = store.find(project, name)
    if row.pool != pool:
        raise NotFoundError(f"instance {name!r} is in pool {row.pool!r}, not in {pool!r}")
    accepted = matching.reuse_passes(policies)[-1]
    fresh_for = deps.settings.unreachable_after
    return row, matching.instance_verdict(accepted, row, now=deps.now(), fresh_for=fresh_for)


def named_is_not_free(name: str, verdict: str | None) -> NoMatchError:
    """Refuse because of the only instance that may be taken. No verdict: another took it meanwhile."""
    reasons = {name: verdict or "just taken by another"}
    return NoMatchError(f"instance {name!r} is not free or does not match", reasons=reasons, complete=True)


def get(deps: Deps, project: str, lease_id: str) -> Instance:
    """Return the instance of a lease that holds. Raises `LeaseLostError` when it does not any more."""
    pool, instance_id, fence = parse(lease_id)
    row = store.get(project, pool, instance_id)
    if row.lease is None or row.lease.fence != fence or row.state is not State.BUSY:
        raise LeaseLostError(f"lease {lease_id} has ended", state=row.state.value, fence=row.fence)
    return row


def heartbeat(deps: Deps, project: str, lease_id: str, *, duration: timedelta | None = None) -> Instance:
    """Extend a lease to `duration` from now, by default the one it was taken for; it is never shortened.

    Raises `LeaseLostError` when it has ended, `ConflictError` for the lease of a run, which lives by its agent.
    """
    pool, instance_id, fence = parse(lease_id)
    duration = check_duration(duration)
    row = store.get(project, pool, instance_id)
    _require_no_run(row, fence)
    own = row.lease.duration if row.lease is not None else deps.settings.lease_for
    return store.extend(row, lease_expires=deps.now() + (duration or own), fence=fence)


def release(deps: Deps, project: str, lease_id: str, *, actor: str) -> Instance:
    """Give an instance back; its idle time starts now. Releasing what is over is fine, whoever has it now.

    Raises `ConflictError` for the lease of a run: that ends with its job, or by stopping the run.
    """
    pool, instance_id, fence = parse(lease_id)
    row = store.get(project, pool, instance_id)
    _require_no_run(row, fence)
    return give_back(deps, row, fence, reason=Reason.RELEASED, actor=actor)


def _require_no_run(row: Instance, fence: int) -> None:
    if row.lease is not None and row.lease.fence == fence and row.lease.run_id:
        raise ConflictError(f"lease {row.lease.lease_id} belongs to {row.lease.holder}; stop the run instead")


def give_back(deps: Deps, row: Instance, fence: int, *, reason: Reason, actor: str, holding: str = "") -> Instance:
    """End the hold with the given fence, whoever has it; a hold that has ended is left alone.

    A row that changed beside the hold (a flag, a heartbeat) is read again, unless the decision stands on what changed
    (`holding`): then `LostRaceError` is raised.
    """
    for _ in range(TRIES):
        try:
            return _end_hold(deps, row, fence, reason=reason, actor=actor, holding=holding)
        except LostRaceError:
            if holding:
                raise
            row = store.get(row.project, row.pool, row.instance_id)
    raise LostRaceError(f"instance {row.name!r} keeps moving; ask again")


def _end_hold(deps: Deps, row: Instance, fence: int, *, reason: Reason, actor: str, holding: str) -> Instance:
    if row.state is not State.BUSY or row.lease is None or row.lease.fence != fence:
        return row
    if row.interrupted or row.idle_limit == timedelta():
        why = Reason.INTERRUPTED if row.interrupted else Reason.IDLE_OFF
        return teardown.begin(deps, row, Event.RETIRED, reason=why, actor=actor, holding=holding)
    now = deps.now()
    idle = store.step(
        row,
        Event.RELEASED,
        now=now,
        reason=reason,
        actor=actor,
        deadline=None if row.idle_limit is None else now + row.idle_limit,
        holding=holding,
        lease=None,
        reserved_for="",
    )
    log.event("released", instance=row.instance_id, reason=reason)
    return idle


def distrust(deps: Deps, row: Instance, fence: int) -> None:
    """End the hold of a run whose machine's agent did not take the job: a server is flagged, a rented machine ends.

    Raises `LostRaceError` when the row moved, `NotFoundError` when it is gone.
    """
    if is_host(row):
        row = store.flag(row, now=deps.now(), actor="timer", unreachable=True)
        give_back(deps, row, fence, reason=Reason.JOB_NOT_PICKED_UP, actor="timer")
    else:
        teardown.begin(deps, row, Event.LOST, reason=Reason.JOB_NOT_PICKED_UP, actor="timer")


def new_lease(pool: str, instance_id: str, fence: int, holder: str, now: datetime, expires: datetime) -> Lease:
    """Describe the hold that begins with `fence`."""
    return Lease(lease_id(pool, instance_id, fence), holder, fence, now, expires, expires - now)


def parse(lease_id: str) -> tuple[str, str, int]:
    """Take a lease id apart into pool, instance id and fence. Raises `NotFoundError` for anything else."""
    parts = lease_id.split(".")
    if len(parts) != 3 or not parts[2].isdigit() or not all(parts):
        raise NotFoundError(f"lease {lease_id!r} is unknown")
    return parts[0], parts[1], int(parts[2])


def check_duration(duration: timedelta | None) -> timedelta | None:
    """Refuse durations that are no lease: not above zero, or longer than `LONGEST`."""
    if duration is not None and not timedelta() < duration <= LONGEST:
        raise InvalidInputError("duration_s", duration.total_seconds(), "more than 0 and at most 7 days, in seconds")
    return duration


def _acquire_shape(
    deps: Deps, project: str, pool: str, shape: str, holder: str, duration: timedelta
) -> Instance | None:
    """Try the instances of one shape, longest idle first, from a random start so that a crowd spreads out."""
    for page in free(deps, project, pool, shape):
        for candidate in _spread(deps, page):
            taken = _claim(deps, candidate, holder, duration)
            if taken is not None:
                return taken
    return None


def _spread(deps: Deps, candidates: list[store.Candidate]) -> Iterator[store.Candidate]:
    """Yield all candidates, starting at a random one: they are equals."""
    start = deps.rng.randrange(len(candidates)) if candidates else 0
    yield from candidates[start:]
    yield from candidates[:start]


def _claim(deps: Deps, candidate: store.Candidate, holder: str, duration: timedelta) -> Instance | None:
    """One conditional write; None when somebody else was faster."""
    now = deps.now()
    expires = now + duration
    lease = new_lease(candidate.pool, candidate.instance_id, candidate.fence + 1, holder, now, expires)
    try:
        return store.claim(candidate, now=now, actor=holder, deadline=expires, lease=lease)
    except LostRaceError:
        return None


def _acquire_named(
    deps: Deps, project: str, pool: str, policies: Policies, name: str, holder: str, duration: timedelta
) -> Instance:
    row, verdict = named(deps, project, pool, policies, name)
    if verdict is None:
        candidate = store.Candidate(project, pool, row.instance_id, row.fence, row.seen_at, row.name)
        taken = _claim(deps, candidate, holder, duration)
        if taken is not None:
            return taken
    raise named_is_not_free(name, verdict)

"""How a run ends, or goes on to its next try: with the truth, and without holding anything."""

from typing import Final

from chalicelib import log
from chalicelib.domain.errors import LostRaceError, NotFoundError
from chalicelib.domain.lifecycle import Reason
from chalicelib.domain.model import RUN_ENDS, RUN_HOLDER, Instance, Run, RunReason, RunState
from chalicelib.domain.retry import EVENTS
from chalicelib.services import run_retries
from chalicelib.services.deps import Deps
from chalicelib.store import runs as store

ATTEMPTS: Final = 5

REASONS: Final = {
    Reason.USER_REMOVED: RunReason.MACHINE_REMOVED,
    Reason.POOL_DELETED: RunReason.MACHINE_REMOVED,
    Reason.PROVISIONING_FAILED: RunReason.PROVISIONING_FAILED,
    Reason.PROVISIONING_DEADLINE: RunReason.PROVISIONING_FAILED,
    Reason.INTERRUPTED: RunReason.INTERRUPTED,
}


def holder(run_id: str) -> str:
    """Name a run as the holder of a lease."""
    return RUN_HOLDER + run_id


def run_of(instance: Instance) -> str:
    """Return the id of the run that holds an instance or that it was bought for, or ""."""
    if instance.lease is not None:
        return instance.lease.run_id
    return instance.reserved_for


def machine_lost(deps: Deps, instance: Instance) -> None:
    """End the run of an instance that is on its way out, unless the run has ended or is not on it.

    A run that does not name the instance yet, or not any more, is its `placement` timer's. One whose job was never
    handed to a machine that is lost is placed again: nothing of it has begun, so that needs no policy.
    """
    run_id = run_of(instance)
    if not run_id:
        return
    try:
        run = store.get(instance.project, run_id)
    except NotFoundError:
        return
    if run.state in RUN_ENDS or run.instance_id != instance.instance_id:
        return
    actor = f"instance:{instance.name}"
    reason = REASONS.get(instance.reason, RunReason.MACHINE_LOST)
    if run.state is RunState.PROVISIONING and reason in EVENTS:
        _place_again(deps, run, reason, actor, instance.detail)
        return
    stopped = run.state is RunState.STOPPING
    state = RunState.STOPPED if stopped else RunState.FAILED
    finish(deps, run, state, run.reason if stopped else reason, actor=actor, detail=instance.detail)


def _place_again(deps: Deps, run: Run, reason: RunReason, actor: str, detail: str) -> None:
    """Take a run from a machine that was lost before it had the job. Whoever moved the run meanwhile saw more."""
    now = deps.now()
    nowhere = {"instance_id": "", "instance_name": "", "lease_id": ""}
    try:
        store.step(run, RunState.SUBMITTED, now=now, reason=reason, actor=actor, deadline=now, detail=detail, **nowhere)
    except LostRaceError:
        log.event("placed-again-already", run=run.run_id)


def finish(
    deps: Deps,
    run: Run,
    state: RunState,
    reason: RunReason,
    *,
    actor: str,
    detail: str = "",
    exit_code: int | None = None,
) -> Run:
    """Write the end of a run, or of its present try, once, and return the run as it is then.

    A failure that the run's policy covers ends the try alone: the run is `submitted` again, and waits for its next try.

    Whoever comes second leaves the first end as it is. And the decision stands on where the run was: one that has been
    placed, or taken from its machine, since it was read is left alone too, so the answer may be a run that goes on.
    """
    placement = (run.instance_id, run.lease_id)
    for _ in range(ATTEMPTS):
        if run.state in RUN_ENDS or (run.instance_id, run.lease_id) != placement:
            return run
        now = deps.now()
        try:
            again = run_retries.begin(deps, run, reason, actor=actor, detail=detail, exit_code=exit_code)
            if again is not None:
                return again
            ended = store.step(
                run,
                state,
                now=now,
                reason=reason,
                actor=actor,
                deadline=None,
                detail=detail,
                exit_code=exit_code,
                ended_at=now,
            )
        except LostRaceError:
            run = store.get(run.project, run.run_id)
        else:
            log.event("run-ended", run=run.run_id, state=state, reason=reason, exit_code=exit_code)
            return ended
    raise LostRaceError(f"run {run.name!r} keeps moving")

"""How a run ends when its machine does: with the truth, and without holding anything."""

from typing import Final

from chalicelib import log
from chalicelib.domain.errors import LostRaceError, NotFoundError
from chalicelib.domain.lifecycle import Reason
from chalicelib.domain.model import RUN_ENDS, RUN_HOLDER, Instance, Run, RunReason, RunState
from chalicelib.services.deps import Deps
from chalicelib.store import runs as store

ATTEMPTS: Final = 5

REASONS: Final = {
    Reason.USER_REMOVED: RunReason.MACHINE_REMOVED,
    Reason.POOL_DELETED: RunReason.MACHINE_REMOVED,
    Reason.PROVISIONING_FAILED: RunReason.PROVISIONING_FAILED,
    Reason.PROVISIONING_DEADLINE: RunReason.PROVISIONING_FAILED,
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

    A run that does not name the instance yet, or not any more, is its `placement` timer's.
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
    stopped = run.state is RunState.STOPPING
    state = RunState.STOPPED if stopped else RunState.FAILED
    reason = RunReason.USER_STOPPED if stopped else REASONS.get(instance.reason, RunReason.MACHINE_LOST)
    finish(deps, run, state, reason, actor=f"instance:{instance.name}", detail=instance.detail)


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
    """Write the end of a run, once, and return the run as it is then.

    Whoever comes second leaves the first end as it is. And the decision stands on where the run was: one that has been
    placed, or taken from its machine, since it was read is left alone too, so the answer may be a run that goes on.
    """
    placement = (run.instance_id, run.lease_id)
    for _ in range(ATTEMPTS):
        if run.state in RUN_ENDS or (run.instance_id, run.lease_id) != placement:
            return run
        now = deps.now()
        try:
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

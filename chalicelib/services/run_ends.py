"""How a run ends, or goes on to its next try: with the truth, and without holding anything."""

from typing import Final

from chalicelib import log
from chalicelib.domain.errors import LostRaceError, TidepoolError
from chalicelib.domain.model import RUN_ENDS, RUN_HOLDER, Instance, Run, RunReason, RunState
from chalicelib.services import run_retries
from chalicelib.services.deps import Deps
from chalicelib.store import runs as store

ATTEMPTS: Final = 5


def holder(run_id: str) -> str:
    """Name a run as the holder of a lease."""
    return RUN_HOLDER + run_id


def run_of(instance: Instance) -> str:
    """Return the id of the run that holds an instance or that it was bought for, or ""."""
    if instance.lease is not None:
        return instance.lease.run_id
    return instance.reserved_for


def refuse(deps: Deps, run: Run, reason: RunReason, error: TidepoolError) -> Run:
    """End a run with an outcome and raise that, unless the run was placed meanwhile."""
    ended = finish(deps, run, RunState.FAILED, reason, actor="placement", detail=error.detail)
    if ended.state in RUN_ENDS and ended.reason is reason:
        raise error
    return ended


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

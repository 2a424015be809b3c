"""The next try of a run that failed: written down as `submitted` again, with the timer that places it.

A try is a job of its own: its agent knows it by another id, so that what an agent says late of an earlier try is told
from what it says of the present one.
"""

from chalicelib import log
from chalicelib.domain.model import Run, RunReason, RunState
from chalicelib.domain.nodes import blank, unseen
from chalicelib.domain.policies import from_doc
from chalicelib.domain.retry import may_follow, next_try
from chalicelib.services import run_output
from chalicelib.services.deps import Deps
from chalicelib.store import runs as store


def follows(deps: Deps, run: Run, reason: RunReason) -> bool:
    """Whether the run's policy may have another try follow an end of the present one for `reason`."""
    if _is_last(run):
        return False
    return may_follow(from_doc(run.request["policies"]).retry, run, reason, now=deps.now())


def begin(
    deps: Deps, run: Run, reason: RunReason, *, actor: str, detail: str = "", exit_code: int | None = None
) -> Run | None:
    """End the present try and let the run wait for its next one; None when its policy does not cover what happened.

    A run that is being stopped is over, and so is one with a node that was given up. The line about the end is written
    before the row: a crash in between leaves a line that nobody reads yet. Raises `LostRaceError` when the run moved.
    """
    if _is_last(run):
        return None
    now = deps.now()
    failure = _failure(run, reason, detail, exit_code)
    policy = from_doc(run.request["policies"]).retry
    tries = next_try(policy, run, reason, failure=failure, now=now, rng=deps.rng)
    if tries is None or tries.retry_at is None:
        return None
    pause_s = round((tries.retry_at - now).total_seconds())
    follows = f"try {tries.number} follows" + (f" in {pause_s} s" if pause_s else "")
    run_output.close(deps, run, f"{failure}; {follows}")
    waiting = store.step(
        run,
        RunState.SUBMITTED,
        now=now,
        reason=reason,
        actor=actor,
        deadline=tries.retry_at,
        detail=f"{failure}; {follows}",
        instance_id="",
        instance_name="",
        lease_id="",
        tries=tries,
        **({"jobs": blank(run.jobs)} if run.jobs else {}),
    )
    log.event("run-retried", run=run.run_id, reason=reason, tries=tries.number, pause_s=pause_s)
    return waiting


def _is_last(run: Run) -> bool:
    """Whether no try follows the present one whatever it ends for: where a node was given up, its job may still run."""
    return run.state is RunState.STOPPING or "policies" not in run.request or bool(unseen(run.jobs))


def _failure(run: Run, reason: RunReason, detail: str, exit_code: int | None) -> str:
    """What ended a try, for its owner to read."""
    what = f"ended with exit code {exit_code}" if reason is RunReason.EXITED_NON_ZERO else f"ended: {reason.value}"
    return f"try {run.tries.number} {what}" + (f" ({detail})" if detail else "")

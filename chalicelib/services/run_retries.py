"""The next try of a run that failed: written down as `submitted` again, with the timer that places it.

A try is a job of its own: its agent knows it by another id, so that what an agent says late of an earlier try is told
from what it says of the present one.
"""

from chalicelib import log
from chalicelib.domain.model import Run, RunReason, RunState
from chalicelib.domain.nodes import blank
from chalicelib.domain.policies import from_doc
from chalicelib.domain.retry import next_try
from chalicelib.services import run_output
from chalicelib.services.deps import Deps
from chalicelib.store import runs as store


def follows(deps: Deps, run: Run, reason: RunReason) -> bool:
    """Whether the run's policy has another try follow an end of the present one for `reason`."""
    if run.state is RunState.STOPPING or "policies" not in run.request:
        return False
    policy = from_doc(run.request["policies"]).retry
    return next_try(policy, run, reason, failure="", now=deps.now(), rng=deps.rng) is not None


def begin(
    deps: Deps, run: Run, reason: RunReason, *, actor: str, detail: str = "", exit_code: int | None = None
) -> Run | None:
    """End the present try and let the run wait for its next one; None when its policy does not cover what happened.

    A run that is being stopped is over. The line about the end is written before the row: a crash in between
    leaves a line that nobody reads yet. Raises `LostRaceError` when the run moved.
    """
    if run.state is RunState.STOPPING or "policies" not in run.request:
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


def _failure(run: Run, reason: RunReason, detail: str, exit_code: int | None) -> str:
    """What ended a try, for its owner to read."""
    what = f"ended with exit code {exit_code}" if reason is RunReason.EXITED_NON_ZERO else f"ended: {reason.value}"
    return f"try {run.tries.number} {what}" + (f" ({detail})" if detail else "")

"""What the end of a machine means for the run that was on it, or waited for it."""

from typing import Final

from chalicelib import log
from chalicelib.domain import nodes
from chalicelib.domain.errors import LostRaceError, NotFoundError
from chalicelib.domain.lifecycle import Reason
from chalicelib.domain.model import RUN_ENDS, Instance, Run, RunReason, RunState
from chalicelib.domain.retry import EVENTS
from chalicelib.services import gatherings, node_ends, run_ends
from chalicelib.services.deps import Deps
from chalicelib.store import runs as store

REASONS: Final = {
    Reason.USER_REMOVED: RunReason.MACHINE_REMOVED,
    Reason.POOL_DELETED: RunReason.MACHINE_REMOVED,
    Reason.PROVISIONING_FAILED: RunReason.PROVISIONING_FAILED,
    Reason.PROVISIONING_DEADLINE: RunReason.PROVISIONING_FAILED,
    Reason.INTERRUPTED: RunReason.INTERRUPTED,
}


def machine_lost(deps: Deps, instance: Instance) -> tuple[str, ...]:
    """End the run of an instance that is on its way out, unless the run has ended or is not on it.

    A run that does not name the instance yet, or not any more, is its `placement` timer's. One whose job was never
    handed to a machine that is lost is placed again: nothing of it has begun, so that needs no policy.

    Returns the other instances that the run was still waiting for: they are of no use to it any more.
    """
    run_id = run_ends.run_of(instance)
    if not run_id:
        return ()
    try:
        run = store.get(instance.project, run_id)
    except NotFoundError:
        return ()
    if run.state in RUN_ENDS or instance.instance_id not in run.instance_ids:
        return ()
    actor = f"instance:{instance.name}"
    reason = REASONS.get(instance.reason, RunReason.MACHINE_LOST)
    if run.jobs:
        return _node_lost(deps, run, instance, reason, actor)
    if run.state is RunState.PROVISIONING and reason in EVENTS:
        _place_again(deps, run, reason, actor, instance.detail)
        return ()
    stopped = run.state is RunState.STOPPING
    state = RunState.STOPPED if stopped else RunState.FAILED
    run_ends.finish(deps, run, state, run.reason if stopped else reason, actor=actor, detail=instance.detail)
    return ()


def went_silent(deps: Deps, instance: Instance) -> None:
    """A machine that a run holds was flagged unreachable: a run that only waits for its job need not any more."""
    run_id = run_ends.run_of(instance)
    if not run_id:
        return
    try:
        run = store.get(instance.project, run_id)
    except NotFoundError:
        return
    node_ends.stop_unseen(deps, run, actor=f"instance:{instance.name}")


def _place_again(deps: Deps, run: Run, reason: RunReason, actor: str, detail: str) -> None:
    """Take a run from a machine that was lost before it had the job. Whoever moved the run meanwhile saw more."""
    now = deps.now()
    nowhere = {"instance_id": "", "instance_name": "", "lease_id": ""}
    try:
        store.step(run, RunState.SUBMITTED, now=now, reason=reason, actor=actor, deadline=now, detail=detail, **nowhere)
    except LostRaceError:
        log.event("placed-again-already", run=run.run_id)


def _node_lost(deps: Deps, run: Run, instance: Instance, reason: RunReason, actor: str) -> tuple[str, ...]:
    """One of several machines is lost: the job of that node has failed, or the gang does not come together there."""
    if run.state is RunState.PROVISIONING:
        return gatherings.node_lost(deps, run, instance, reason, actor=actor)
    job = nodes.of_instance(run.jobs, instance.instance_id)
    if job is not None:
        node_ends.ended(deps, run, job, reason, actor=actor, detail=instance.detail)
    return ()

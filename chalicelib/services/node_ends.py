"""How the jobs of a run on several nodes begin and end, and when all of them together mean the run's end.

Each verb may be repeated, and reads the run again when another node's agent was faster.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from chalicelib import log
from chalicelib.domain import nodes
from chalicelib.domain.errors import LostRaceError
from chalicelib.domain.model import RUN_ENDS, Run, RunReason, RunState
from chalicelib.domain.nodes import NodeJob, NodeState
from chalicelib.services import run_ends, run_retries
from chalicelib.services.deps import Deps
from chalicelib.store import instances as instance_store
from chalicelib.store import runs as store

ATTEMPTS: Final = 2 * nodes.MAX_NODES
"""How often a note is tried: at worst every other node's agent is faster, with its beginning and with its end."""

ON_MACHINES: Final = frozenset({RunState.STARTING, RunState.RUNNING, RunState.STOPPING})
NOT_BEGUN: Final = frozenset({NodeState.WAITING, NodeState.READY})


def began(deps: Deps, run: Run, job: NodeJob) -> Run:
    """One node's agent has its job. The run runs when all of them have theirs."""
    for _ in range(ATTEMPTS):
        mine = nodes.of_lease(run.jobs, job.lease_id)
        if mine is None or mine.state is not NodeState.READY or run.state not in ON_MACHINES:
            return _running(deps, run)
        try:
            run = store.note(run, nodes.changed(run.jobs, replace(mine, state=NodeState.RUNNING)))
        except LostRaceError:
            run = store.get(run.project, run.run_id)
        else:
            return _running(deps, run)
    raise LostRaceError(f"run {run.name!r} keeps moving")


def ended(
    deps: Deps,
    run: Run,
    job: NodeJob,
    reason: RunReason | None,
    *,
    actor: str,
    exit_code: int | None = None,
    detail: str = "",
) -> Run:
    """One node's job has ended, badly if there is a `reason`. The others are told to end then; the last ends the run.

    A node that has another lease by now, or has ended already, is left as it is.
    """
    for _ in range(ATTEMPTS):
        mine = nodes.of_lease(run.jobs, job.lease_id)
        if mine is None or mine.is_over or run.state not in ON_MACHINES:
            return conclude(deps, run, actor=actor)
        stopping = run.state is RunState.STOPPING
        why = reason.value if reason else ""
        after = nodes.ended(run.jobs, mine, exit_code=exit_code, reason=why, detail=detail, stopping=stopping)
        try:
            run = store.note(run, after)
        except LostRaceError:
            run = store.get(run.project, run.run_id)
            continue
        if nodes.failure(run.jobs) == nodes.of_lease(run.jobs, job.lease_id):
            log.event("node-failed", run=run.run_id, rank=mine.rank, reason=why, exit_code=exit_code)
            wake_others(deps, run)
        return conclude(deps, _running(deps, run), actor=actor)
    raise LostRaceError(f"run {run.name!r} keeps moving")


def conclude(deps: Deps, run: Run, *, actor: str) -> Run:
    """End the present try when every node's job has ended: as the first that failed did, else well.

    Where one has failed, nodes that are unreachable are not waited for, if no further try could meet what may still
    run there; nor are they where the run is being stopped (`stop_unseen`).
    """
    run = _stopped_unseen(deps, _without_unreachable(deps, run))
    if run.state not in ON_MACHINES or not nodes.are_over(run.jobs):
        return run
    failed = nodes.failure(run.jobs)
    if run.state is RunState.STOPPING:
        code = next((job.exit_code for job in run.jobs if job.exit_code), run.jobs[0].exit_code)
        detail = "; ".join([*([nodes.explained(failed)] if failed else []), *nodes.unseen(run.jobs)])
        return run_ends.finish(deps, run, RunState.STOPPED, run.reason, actor=actor, detail=detail, exit_code=code)
    if failed is None:
        return run_ends.finish(deps, run, RunState.DONE, RunReason.EXITED, actor=actor, exit_code=0)
    reason, detail = RunReason(failed.reason), "; ".join([nodes.explained(failed), *nodes.unseen(run.jobs)])
    return run_ends.finish(deps, run, RunState.FAILED, reason, actor=actor, detail=detail, exit_code=failed.exit_code)


def _without_unreachable(deps: Deps, run: Run) -> Run:
    """Note the jobs that need not be waited for as stopped without having been seen to; all of them or none.

    Their machines stay held until their agents say that nothing runs there, or the leases end.
    """

    def is_to_end(run: Run, left: Sequence[NodeJob]) -> bool:
        failed = nodes.failure(run.jobs)
        if failed is None or run.state not in (RunState.STARTING, RunState.RUNNING):
            return False
        are_silent = all(_is_unreachable(run, job) for job in left)
        return are_silent and not run_retries.follows(deps, run, RunReason(failed.reason))

    return _given_up(run, is_to_end)


def stop_unseen(deps: Deps, run: Run, *, actor: str) -> Run:
    """End a run that is being stopped if it only waits for machines that are unreachable, and need not wait.

    It need not where no job is known to have begun there, and where it was stopped by force. The machines may have got
    their jobs all the same: they stay held until their agents say that nothing runs there, or the leases end.
    """
    if run.jobs:
        return conclude(deps, run, actor=actor)
    job = alone(run)
    if run.state is not RunState.STOPPING or not _can_leave(run, [job]):
        return run
    detail = f"{run.instance_name}: {nodes.UNSEEN}"
    return run_ends.finish(deps, run, RunState.STOPPED, run.reason, actor=actor, detail=detail)


def waited_for(run: Run) -> str:
    """Say for a person which machines keep a run that is stopped from ending, or ""."""
    left = [job for job in run.jobs or (alone(run),) if not job.is_over and _is_unreachable(run, job)]
    names = ", ".join(job.instance_name or job.instance_id for job in left)
    return f"waits for {names}, unreachable at present; a stop by force does not" if names else ""


def alone(run: Run) -> NodeJob:
    """The job of a run on one machine as the one node's that it is."""
    state = NodeState.RUNNING if run.tries.began_at else NodeState.READY
    return NodeJob(0, "", run.instance_id, run.instance_name, run.lease_id, state=state)


def _stopped_unseen(deps: Deps, run: Run) -> Run:
    """The same for the nodes of a run: all that have not ended, or none."""
    return _given_up(run, lambda run, left: run.state is RunState.STOPPING and _can_leave(run, left))


def _given_up(run: Run, is_to_end: Callable[[Run, Sequence[NodeJob]], bool]) -> Run:
    """Note the jobs that have not ended as not seen to end, if the run as it stands then is to end without them."""
    for _ in range(ATTEMPTS):
        left = [job for job in run.jobs if not job.is_over]
        if not left or not is_to_end(run, left):
            return run
        try:
            return store.note(run, nodes.given_up(run.jobs))
        except LostRaceError:
            run = store.get(run.project, run.run_id)
    raise LostRaceError(f"run {run.name!r} keeps moving")


def _can_leave(run: Run, left: Sequence[NodeJob]) -> bool:
    """Whether a run that is being stopped can end although these jobs were not seen to."""
    by_force = not run.spec.kill_after
    return all((by_force or job.state in NOT_BEGUN) and _is_unreachable(run, job) for job in left)


def _is_unreachable(run: Run, job: NodeJob) -> bool:
    """Whether the machine of a node was silent for longer than a blip lasts, and is still held for the job."""
    row = instance_store.look_up(run.project, job.instance_id, run.pool)
    return row is not None and row.unreachable and row.lease is not None and row.lease.lease_id == job.lease_id


def wake_others(deps: Deps, run: Run) -> None:
    """Have the agents of the nodes whose jobs have not ended ask what they are to do."""
    for job in run.jobs:
        if job.lease_id and not job.is_over:
            deps.wake.send(job.instance_id)


def _running(deps: Deps, run: Run) -> Run:
    """From here on the leases are what bounds a silence. Whoever notes the last beginning writes it."""
    if run.state is not RunState.STARTING or any(job.state in NOT_BEGUN for job in run.jobs):
        return run
    now = deps.now()
    try:
        return store.step(
            run,
            RunState.RUNNING,
            now=now,
            reason=RunReason.PICKED_UP,
            actor="agent",
            deadline=None,
            started_at=run.started_at or now,
            tries=replace(run.tries, began_at=now),
            jobs=run.jobs,
        )
    except LostRaceError:
        found = store.get(run.project, run.run_id)
        return found if found.state in RUN_ENDS or found.state is not RunState.STARTING else _running(deps, found)

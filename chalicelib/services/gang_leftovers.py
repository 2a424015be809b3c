"""What was bought for a run on several nodes and never had a job: machines that nobody asked for by themselves.

Those in clusters that the run left are removed, whatever their idle limit: who pays asked for one machine a node. Those
of a run that ended before it began, or was placed again without them, become idle, for the next one, unless no idle
limit would ever end them. What the run took from its pool is not touched, nor what another has taken since.

Every placement of the run looks again before anything else, so one that dies half way is finished by the next, which
the run's `placement` timer brings.
"""

from typing import Final

from chalicelib import log
from chalicelib.domain import nodes, searches
from chalicelib.domain.errors import LostRaceError, NotFoundError
from chalicelib.domain.lifecycle import COMING, Event, Reason, State
from chalicelib.domain.model import Instance, Run
from chalicelib.services import gangs, leases, node_ends, teardown
from chalicelib.services.deps import Deps
from chalicelib.store import instances as store

LOOKS: Final = 5
"""How often a machine is looked at again that its agent, or another run, has moved meanwhile."""

DETAIL: Final = "bought for a run that did not get all of its nodes there"
UNUSED: Final = "bought for a run that began without it, or not at all"


def clear(deps: Deps, run: Run, *, everywhere: bool, actor: str) -> None:
    """Remove what was bought since the run began its search: in clusters that failed, or `everywhere`.

    To be called with a run to which no job of its present try was handed out.
    """
    for row in store.with_prefix(run.project, run.pool, _stem(run)):
        try:
            _clear(deps, run, row, everywhere=everywhere, actor=actor)
        except NotFoundError:
            log.event("cleared-already", instance=row.instance_id)


def give_back(deps: Deps, run: Run, row: Instance, *, actor: str) -> None:
    """End the hold of a run that does not want a machine any more. One without a use that would never end is removed.

    Raises `LostRaceError` and `NotFoundError` as the moves do.
    """
    assert row.lease is not None
    if is_kept_for_nothing(row) and _had_no_job(run, row):
        remove_unused(deps, row, actor=actor)
    else:
        leases.give_back(deps, row, row.lease.fence, reason=Reason.RELEASED, actor=actor)


def is_kept_for_nothing(row: Instance) -> bool:
    """Whether a machine would stay for ever although only a run wanted it, which has no use for it."""
    return bool(row.reserved_for) and row.idle_limit is None


def remove_unused(deps: Deps, row: Instance, *, actor: str) -> Instance:
    """Remove a machine that was bought for a run that has no use for it."""
    return teardown.begin(deps, row, Event.REMOVED, reason=Reason.RUN_STOPPED, actor=actor, detail=UNUSED)


def _had_no_job(run: Run, row: Instance) -> bool:
    """Whether a machine that was bought for a run never got a job of it.

    One that is none of its nodes any more is of an earlier placement. Those of the present try handed out no job.
    """
    if row.reserved_for != run.run_id:
        return False
    job = nodes.of_instance(run.jobs, row.instance_id)
    if job is not None:
        return job.state in node_ends.NOT_BEGUN
    search = run.tries.search
    return _placement(run, row) > run.tries.placements or (search is not None and row.created_at >= search.since)


def _clear(deps: Deps, run: Run, row: Instance, *, everywhere: bool, actor: str) -> None:
    for _ in range(LOOKS):
        if not _is_left_over(deps, run, row, everywhere=everywhere):
            return
        try:
            teardown.begin(deps, row, Event.REMOVED, reason=Reason.RUN_STOPPED, actor=actor, detail=DETAIL)
        except LostRaceError:
            row = store.get(row.project, row.pool, row.instance_id)
        else:
            return
    raise LostRaceError(f"instance {row.name!r} keeps moving")


def _is_left_over(deps: Deps, run: Run, row: Instance, *, everywhere: bool) -> bool:
    """Whether a machine of an earlier placement of this search is free, still on its way, or held for nothing.

    A placement that another process has begun meanwhile has a higher number than the run that was read.
    """
    search = searches.begun(run.tries.search, run.changed_at)
    if _placement(run, row) > run.placements or row.created_at < search.since:
        return False
    if row.state in COMING:
        return True
    if row.state is not State.IDLE and not _is_held_for_nothing(run, row):
        return False
    return everywhere or search.excludes(gangs.cluster_key(deps, row))


def _is_held_for_nothing(run: Run, row: Instance) -> bool:
    """Whether the run holds a machine since it was born, or since an earlier placement: its agent would give it back.

    One that was idle and was taken since belongs to a placement that goes on.
    """
    if row.state is not State.BUSY or row.lease is None or row.lease.run_id != run.run_id:
        return False
    return row.reserved_for == run.run_id or not gangs.is_of_placement(run, row)


def _placement(run: Run, row: Instance) -> int:
    """In which placement of a run a machine was bought."""
    return int(row.instance_id.removeprefix(_stem(run)).partition("-")[0])


def _stem(run: Run) -> str:
    """What the ids of all instances begin with that were bought for a run."""
    return f"i-{run.run_id.removeprefix('run-')}-"

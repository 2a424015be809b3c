"""What was bought for a run on several nodes in clusters that it left: machines that nobody asked for by themselves.

They never had a job, so they are removed, whatever their idle limit: who pays asked for one machine a node. What the
run took from its pool is not touched, nor what another has taken since.

Every placement of the run looks again before anything else, so one that dies half way is finished by the next, which
the run's `placement` timer brings.
"""

from typing import Final

from chalicelib import log
from chalicelib.domain import searches
from chalicelib.domain.errors import LostRaceError, NotFoundError
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Instance, Run
from chalicelib.services import gangs, teardown
from chalicelib.services.deps import Deps
from chalicelib.store import instances as store

LOOKS: Final = 5
"""How often a machine is looked at again that its agent, or another run, has moved meanwhile."""

COMING: Final = frozenset({State.PENDING, State.PROVISIONING})
DETAIL: Final = "bought for a run that did not get all of its nodes there"


def clear(deps: Deps, run: Run, *, everywhere: bool, actor: str) -> None:
    """Remove what was bought since the run began its search: in clusters that failed, or `everywhere`.

    To be called with a run to which no job of its present try was handed out.
    """
    for row in store.with_prefix(run.project, run.pool, _stem(run)):
        try:
            _clear(deps, run, row, everywhere=everywhere, actor=actor)
        except NotFoundError:
            log.event("cleared-already", instance=row.instance_id)


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
    number = int(row.instance_id.removeprefix(_stem(run)).partition("-")[0])
    if number > run.placements or row.created_at < search.since:
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


def _stem(run: Run) -> str:
    """What the ids of all instances begin with that were bought for a run."""
    return f"i-{run.run_id.removeprefix('run-')}-"

"""What becomes of a run that gathers its nodes in one cluster when a machine does not come, or goes again.

One that is sold out, over its quota or out of credentials is left for the next cluster: what was bought in it is
removed (`gang_leftovers`). What a provider took back is asked for again. Anything else ends the run.
"""

from dataclasses import replace
from typing import Any

from chalicelib import log
from chalicelib.domain import attempts as rules
from chalicelib.domain import nodes, searches
from chalicelib.domain.errors import LostRaceError
from chalicelib.domain.model import Instance, Run, RunReason, RunState
from chalicelib.domain.nodes import NodeJob
from chalicelib.domain.retry import EVENTS
from chalicelib.domain.searches import Search
from chalicelib.services import node_ends, run_ends
from chalicelib.services.deps import Deps
from chalicelib.store import journal
from chalicelib.store import runs as store


def node_lost(deps: Deps, run: Run, row: Instance, reason: RunReason, *, actor: str) -> tuple[str, ...]:
    """Move on from a machine that is lost before all are there. Returns the instances that the run has no use for.

    An agent that joins meanwhile changes the run; the loss stands nevertheless.
    """
    for _ in range(node_ends.ATTEMPTS):
        job = nodes.of_instance(run.jobs, row.instance_id)
        if run.state is not RunState.PROVISIONING or job is None:
            return ()
        others = tuple(each for each in run.instance_ids if each != row.instance_id)
        detail = f"{job.title}: {row.detail or row.reason.value}"
        search = _next_search(run, job, detail) if reason is RunReason.PROVISIONING_FAILED else None
        try:
            if reason in EVENTS:
                again(deps, run, reason, actor=actor, detail=detail)
            elif search is not None:
                log.event("cluster-failed", run=run.run_id, cluster=job.cluster, detail=detail)
                said = f"{detail}; looking for another cluster"
                again(deps, run, reason, actor=actor, detail=said, search=search)
            else:
                run_ends.finish(deps, run, RunState.FAILED, reason, actor=actor, detail=detail)
        except LostRaceError:
            run = store.get(run.project, run.run_id)
        else:
            return others
    raise LostRaceError(f"run {run.name!r} keeps moving")


def again(deps: Deps, run: Run, reason: RunReason, *, actor: str, detail: str, search: Search | None = None) -> Run:
    """Have a run placed again from the start, at once. A `search` goes on, and none of its placements counts.

    Raises `LostRaceError` when the run moved.
    """
    now = deps.now()
    changes: dict[str, Any] = {"jobs": nodes.blank(run.jobs)}
    if search is not None:
        changes["tries"] = replace(run.tries, search=search, placements=run.tries.placements + 1)
    return store.step(
        run,
        RunState.SUBMITTED,
        now=now,
        reason=reason,
        actor=actor,
        deadline=now,
        detail=detail,
        instance_id="",
        instance_name="",
        lease_id="",
        **changes,
    )


def _next_search(run: Run, job: NodeJob, detail: str) -> Search | None:
    """The search without the cluster of a node that could not be bought; None when it is over.

    Machines that come and whose agents never report are a fault that other regions would show too, at a price.
    """
    search = searches.begun(run.tries.search, run.changed_at)
    tried = journal.attempts(job.instance_id)
    silent = sum(attempt.kind == rules.SILENT for attempt in tried)
    if search.silent + silent >= rules.SILENT_LIMIT:
        return None
    is_account = any(attempt.kind in rules.BACKEND_OUT for attempt in tried)
    key = searches.account_of(job.cluster) if is_account else job.cluster
    return search.without(key, detail, kind=rules.telling(tried), silent=silent)

"""Runs: reuse an idle instance at once, else provision one that is born reserved; stop, show, logs."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from chalicelib.domain.errors import AlreadyExistsError, InvalidInputError, LostRaceError, NoMatchError
from chalicelib.domain.model import RUN_ENDS, Attempt, JobSpec, Run, RunReason, RunState
from chalicelib.domain.names import new_id, pleasant_name, require_name
from chalicelib.domain.nodes import NodeJob
from chalicelib.domain.policies import Policies, to_doc
from chalicelib.services import instances, node_ends, placement, pools, run_ends, run_output
from chalicelib.services.deps import Deps
from chalicelib.store import instances as instance_store
from chalicelib.store import journal
from chalicelib.store import runs as store

LOG_PAGE: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class RunSubmission:
    """What a user submits. `instance` names the only one that may be taken; `reuse` forbids provisioning.

    `nodes`: how many machines of one cluster it runs on at once.
    """

    name: str
    pool: str | None
    spec: JobSpec
    policies: Policies
    reuse: bool = False
    instance: str = ""
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Logs:
    """Part of a run's output: bytes `offset` to `next`; `complete` when the run ended and none are left."""

    run: Run
    offset: int
    data: bytes
    next: int
    complete: bool


def submit(deps: Deps, project: str, wanted: RunSubmission, *, actor: str, api_url: str, request_id: str = "") -> Run:
    """Store a run and place it.

    Raises `NoMatchError` (nothing free and no leave to provision), `NoOffersError`, or `NotFoundError` for its pool or
    the instance that it names.
    The run is stored first, with its deadline: a crash before the placement is repaired by the `placement` timer.
    The same `request_id` again (its process died before it answered) gets the run that was made then.
    """
    pool = pools.require_open(pools.resolve(deps, project, wanted.pool))
    if wanted.instance and wanted.nodes > 1:
        raise InvalidInputError("instance", wanted.instance, "none, where there are several nodes")
    if wanted.instance:
        instance_store.find(project, wanted.instance)
    now = deps.now()
    name = require_name(wanted.name, "name") if wanted.name else pleasant_name(deps.rng)
    run = Run(
        project=project,
        run_id=new_id("run", now, deps.rng),
        name=name,
        pool=pool.name,
        state=RunState.SUBMITTED,
        fence=1,
        reason=RunReason.SUBMITTED,
        actor=actor,
        created_at=now,
        changed_at=now,
        spec=wanted.spec,
        request={
            "policies": to_doc(replace(wanted.policies, containers=bool(wanted.spec.image))),
            "reuse": wanted.reuse,
            "instance": wanted.instance,
            "api_url": api_url,
        },
        jobs=tuple(NodeJob(rank) for rank in range(wanted.nodes)) if wanted.nodes > 1 else (),
    )
    stored = _store(deps, run, named=bool(wanted.name), request_id=request_id)
    if stored.state is RunState.FAILED and stored.reason is RunReason.NO_IDLE_INSTANCE:
        raise NoMatchError(f"{stored.detail} (run {stored.name!r}; a new request needs a new key)", reasons={})
    return placement.place(deps, stored)


def _store(deps: Deps, run: Run, *, named: bool, request_id: str) -> Run:
    """Store a new run; a pleasant name that is taken is changed. Raises `AlreadyExistsError` for a given one."""
    for attempt in range(instances.NAME_TRIES):
        try:
            return store.create(run, deps.now() + deps.settings.pickup_within, request_id=request_id)
        except AlreadyExistsError as error:
            if "made" in error.context:
                return store.get(run.project, error.context["made"])
            if named or attempt == instances.NAME_TRIES - 1:
                raise
            run = replace(run, name=pleasant_name(deps.rng))
    return run


def stop(deps: Deps, project: str, name: str, *, force: bool, actor: str) -> Run:
    """Stop a run: its job gets SIGTERM, and SIGKILL after its grace; with `force` at once. Ended runs stay as they are.

    A run that has no machine, or waits for its next try, ends now, and the instance that was bought for it goes too.
    One whose machine is unreachable ends now with `force`, or if its job is not known to have begun there; the machine
    stays held then, and `detail` names it.
    """
    return end(deps, store.find(project, name), RunReason.USER_STOPPED, force=force, actor=actor)


def end(deps: Deps, run: Run, reason: RunReason, *, force: bool = False, actor: str) -> Run:
    """Stop a run for a reason. One that is being stopped keeps its reason; with `force` its job gets no more time."""
    for _ in range(5):
        if run.state in RUN_ENDS:
            return run
        if run.state in (RunState.SUBMITTED, RunState.PROVISIONING):
            ended = run_ends.finish(deps, run, RunState.STOPPED, reason, actor=actor)
            if ended.state not in RUN_ENDS:
                run = store.get(run.project, run.run_id)
                continue
            if run.instance_ids or run.tries.search is not None:
                placement.drop_reserved(deps, run, actor)
            return ended
        grace = timedelta() if force else run.spec.kill_after
        if run.state is RunState.STOPPING and grace == run.spec.kill_after:
            return node_ends.stop_unseen(deps, run, actor=actor)
        try:
            stopping = store.step(
                run,
                RunState.STOPPING,
                now=deps.now(),
                reason=run.reason if run.state is RunState.STOPPING else reason,
                actor=actor,
                deadline=None,
                detail=node_ends.waited_for(run),
                spec=replace(run.spec, kill_after=grace),
            )
        except LostRaceError:
            run = store.get(run.project, run.run_id)
            continue
        for instance_id in stopping.instance_ids:
            deps.wake.send(instance_id)
        return node_ends.stop_unseen(deps, stopping, actor=actor)
    raise LostRaceError(f"run {run.name!r} keeps moving; ask again")


def show(deps: Deps, project: str, name: str) -> tuple[Run, list[Attempt]]:
    """Return a run by name or id, and the attempts of its instance while that is being provisioned or failed to be."""
    run = store.find(project, name)
    if run.started_at is None or run.state is RunState.PROVISIONING:
        return run, [attempt for each in run.instance_ids for attempt in journal.attempts(each)]
    return run, []


def page(
    deps: Deps,
    project: str,
    *,
    limit: int,
    cursor: str | None,
    active: bool,
) -> tuple[list[Run], str | None]:
    """List runs, newest first; with `active` only those that have not ended."""
    return store.page(project, limit=limit, cursor=cursor, active=active)


def logs(deps: Deps, project: str, name: str, *, after: int, limit: int, node: int = 0) -> Logs:
    """Return output from byte `after` on, or from the next byte that there is: tries leave gaps between them.

    The run is read first: its end implies its log. Of several nodes each has a stream of its own. Raises
    `InvalidInputError` for a node that there is not.
    """
    run = store.find(project, name)
    if node >= max(1, len(run.jobs)):
        raise InvalidInputError("node", node, f"0 to {max(1, len(run.jobs)) - 1}, a rank of the run's nodes")
    rank = node if run.jobs else None
    begins, data = run_output.read(deps, run, after, min(limit, LOG_PAGE), rank=rank)
    return Logs(run, begins, data, begins + len(data), run.state in RUN_ENDS and not data)


def code_key(project: str, sha256: str) -> str:
    """Where an archive is stored: under what it contains, so the same folder is uploaded once."""
    return f"code/{project}/{sha256}"

"""Giving a run on several nodes its machines: all of one cluster, and the jobs go out only when all of them are there.

What is idle is taken together; what is missing is bought in the same cluster, by ids that follow from the run, and each
machine is born held by it. The run's row is written before anything is bought, so whoever comes next (an agent, the
`placement` timer, reconcile) finds what is still to be done there. Where a cluster cannot give all of them, the next
cheapest is tried (`gatherings`). A gang that is not complete within its time is released.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from chalicelib import log
from chalicelib.domain import nodes
from chalicelib.domain.clusters import Completion
from chalicelib.domain.errors import AlreadyExistsError, LostRaceError, NoMatchError, NotFoundError
from chalicelib.domain.expiry import TOGETHER_WITHIN, gathers
from chalicelib.domain.lifecycle import COMING, Reason, State
from chalicelib.domain.model import RUN_ENDS, Instance, Run, RunReason, RunState
from chalicelib.domain.nodes import Jobs, NodeJob, NodeState
from chalicelib.domain.policies import Policies, from_doc
from chalicelib.services import (
    cluster_choice,
    gang_leftovers,
    gangs,
    gatherings,
    instances,
    leases,
    machine_losses,
    node_ends,
    provisioning,
    purchases,
    run_ends,
    teardown,
)
from chalicelib.services import nodes as node_service
from chalicelib.services.deps import Deps
from chalicelib.store import instances as instance_store
from chalicelib.store import runs as store

OVER: Final = frozenset({State.TERMINATING, State.TERMINATED})
TAKEN: Final = "it was taken away before the others were there"


def place(deps: Deps, run: Run, policies: Policies) -> Run:
    """Give a submitted run its nodes, or have what is missing bought. Raises as `placement.place` does."""
    taken = _held(deps, run)
    if len(taken) < len(run.jobs):  # what is left of a dead placement is no gang: what else is idle counts as well
        _give_back(deps, run, taken)
        try:
            taken = gangs.acquire(
                deps,
                run.project,
                run.pool,
                policies,
                nodes=len(run.jobs),
                holder=run_ends.holder(run.run_id),
                duration=deps.settings.lost_after,
            )
        except NoMatchError as none_free:
            if run.request["reuse"]:
                return run_ends.refuse(deps, run, RunReason.NO_IDLE_INSTANCE, none_free)
            return _complete(deps, run, policies)
        except LostRaceError:
            return run  # its timer places it, when the crowd has what it wants
    return _start(deps, run, taken)


def assemble(deps: Deps, run: Run, *, in_time: bool = False) -> Run:
    """Bring a run that waits for its machines closer to its start, or end what cannot come together.

    `in_time`: whether all are there in their time is another's business.
    """
    if not gathers(run):
        return run
    policies = from_doc(run.request["policies"])
    if not in_time and deps.now() - run.changed_at > TOGETHER_WITHIN:
        return _give_up(deps, run)
    names: dict[str, str] = {}
    for job in run.jobs:
        row = _asked_for(deps, run, job, policies)
        if row is not None and row.state is State.PENDING and (further := _gone_on(deps, run)) is not None:
            return further
        if row is None:
            return _fail(deps, run, f"{job.title}: {'its instance is gone' if job.lease_id else 'its pool is gone'}")
        names[row.instance_id] = row.name
        lost = _as_lost(run, row)
        if lost is not None:
            return _without(deps, run, lost)
        if row.lease is not None:
            run = node_service.join(deps, row, run)
        if run.state is not RunState.PROVISIONING:
            return run
    return _named(run, names)


def anew(deps: Deps, run: Run) -> Run:
    """Have a run placed again whose nodes' time passed while we were away: what is there is let go, and taken again.

    Raises `LostRaceError` when the run moved.
    """
    detail = "its nodes did not come together while the control plane was away"
    again = gatherings.again(deps, run, RunReason.MACHINE_LOST, actor="timer", detail=detail)
    let_go(deps, run, "timer")
    return again


def _gone_on(deps: Deps, run: Run) -> Run | None:
    """The run as it is now, if it does not gather these very instances any more; None: it does.

    To ask for many takes a while. A run that has ended meanwhile, or looks elsewhere, has no use for them: they are let
    go. One that has started has work on them: what was read before that says nothing about its machines.
    """
    found = store.get(run.project, run.run_id)
    if found.state in RUN_ENDS:
        let_go(deps, run, "placement")
    elif found.instance_ids != run.instance_ids:
        kept = found.instance_ids  # an idle one of them may be a node of the next placement
        let_go(deps, replace(run, jobs=tuple(job for job in run.jobs if job.instance_id not in kept)), "placement")
    elif found.state is RunState.PROVISIONING:
        return None
    return found


def _named(run: Run, names: Mapping[str, str]) -> Run:
    """Note what the instances are called that are on their way: people know them by that. Whoever is faster may be."""
    jobs = nodes.named(run.jobs, names)
    if jobs == run.jobs:
        return run
    try:
        return store.note(run, jobs)
    except LostRaceError:
        return store.get(run.project, run.run_id)


def _as_lost(run: Run, row: Instance) -> Instance | None:
    """An instance that the run has no use for any more, with the reason; None: it is there, or on its way."""
    if row.state in OVER:
        return row
    if row.interrupted and row.state is State.BUSY:
        return replace(row, reason=Reason.INTERRUPTED, detail="its machine is taken back")
    is_held = row.lease is not None and run_ends.run_of(row) == run.run_id
    return None if is_held or row.state in COMING else replace(row, reason=Reason.MACHINE_GONE, detail=TAKEN)


def _without(deps: Deps, run: Run, row: Instance) -> Run:
    """A machine is lost that the others waited for, and whoever took it died before saying so."""
    reason = machine_losses.REASONS.get(row.reason, RunReason.MACHINE_LOST)
    if gatherings.node_lost(deps, run, row, reason, actor="placement"):
        let_go(deps, run, "placement")
    return store.get(run.project, run.run_id)


def let_go(deps: Deps, run: Run, actor: str) -> None:
    """Release what a run holds or waits for: machines that are there become idle, those on their way are removed."""
    for job in run.jobs:
        row = _find(run, job)
        if row is None or run_ends.run_of(row) != run.run_id:
            continue
        if job.lease_id and row.lease is not None and row.lease.lease_id != job.lease_id:
            continue  # the run has it again, in a later placement
        try:
            if row.state in COMING:
                teardown.remove_coming(deps, row, run.run_id, actor=actor)
            elif row.lease is not None:
                gang_leftovers.give_back(deps, run, row, actor=actor)
        except (LostRaceError, NotFoundError):
            log.event("let-go-already", instance=row.instance_id)


def take_back(deps: Deps, run: Run) -> Run:
    """Give up the machines whose agents did not take their jobs: those are flagged, and end if they were rented.

    Where no node has begun the run is placed again; else the first of them is the node that failed.
    """
    idle = [job for job in run.jobs if job.state is NodeState.READY]
    if len(idle) < len(run.jobs):
        for job in idle:
            detail = "its agent did not take the job"
            run = node_ends.ended(deps, run, job, RunReason.MACHINE_LOST, actor="timer", detail=detail)
    else:
        now = deps.now()
        run = store.step(
            run,
            RunState.SUBMITTED,
            now=now,
            reason=RunReason.NOT_PICKED_UP,
            actor="timer",
            deadline=now + deps.settings.pickup_within,
            instance_id="",
            instance_name="",
            lease_id="",
            jobs=nodes.blank(run.jobs),
        )
    for job in idle:
        _distrust(deps, run, job)
    return run


def check(deps: Deps, run: Run) -> Run:
    """Find out whether a node is lost without anybody having said so: whoever took its machine died before that."""
    if run.state is RunState.PROVISIONING:
        return assemble(deps, run, in_time=True)  # its timer knows how late it is
    for job in run.jobs:
        if run.state not in node_ends.ON_MACHINES or job.is_over:
            continue
        row = _find(run, job)
        if row is None or row.lease is None or row.lease.lease_id != job.lease_id:
            detail = f"{row.name} is not held any more" if row else "its instance is gone"
            run = node_ends.ended(deps, run, job, RunReason.MACHINE_LOST, actor="placement", detail=detail)
    return node_ends.conclude(deps, run, actor="placement")


def _start(deps: Deps, run: Run, taken: list[Instance]) -> Run:
    """All nodes were idle. A run that moved on meanwhile gives them back."""
    jobs = _with(deps, run, taken)
    try:
        started = node_service.start(
            deps, run, jobs, reason=RunReason.REUSED, actor="placement", placements=run.placements + 1
        )
    except LostRaceError:
        return _moved_on(deps, run, taken)
    if started.state in RUN_ENDS:
        _give_back(deps, run, taken)
    return started


def _complete(deps: Deps, run: Run, policies: Policies) -> Run:
    """Choose where the missing machines come from, take what is idle there, write that down, and have them bought."""
    accepts, market = purchases.preferred(deps, run, policies)
    cheap = cluster_choice.cheapest(deps, run, accepts, market)
    if cheap is None:
        return cluster_choice.none_left(deps, run, policies, market)
    taken = _take_idle(deps, run, policies, cheap)
    jobs = _with(deps, run, taken)
    number = run.placements + 1
    stem = f"i-{run.run_id.removeprefix('run-')}-{number}"
    jobs = tuple(
        job if job.instance_id else replace(job, cluster=cheap.cluster.key, instance_id=f"{stem}-{job.rank}")
        for job in jobs
    )
    now = deps.now()
    try:
        waiting = store.step(
            run,
            RunState.PROVISIONING,
            now=now,
            reason=RunReason.NO_IDLE_INSTANCE,
            actor="placement",
            deadline=now + deps.settings.pickup_within,
            instance_id=jobs[0].instance_id,
            instance_name=jobs[0].instance_name,
            placements=number,
            jobs=jobs,
        )
    except LostRaceError:
        return _moved_on(deps, run, taken)
    return assemble(deps, waiting)


def _held(deps: Deps, run: Run) -> list[Instance]:
    """What the run holds for this placement already. What is left in a cluster that failed is given back."""
    held, search = gangs.held(deps, run), run.tries.search
    if search is None or not held or not search.excludes(gangs.cluster_key(deps, held[0])):
        return held[: len(run.jobs)]
    _give_back(deps, run, held)
    return []


def _take_idle(deps: Deps, run: Run, policies: Policies, way: Completion) -> list[Instance]:
    """Hold what is idle in the cluster, all of it that is needed or, when another is faster, none."""
    for each in gangs.free(deps, run.project, run.pool, policies):
        if each.cluster == way.cluster and each.candidates:
            wanted = each.candidates[: len(run.jobs)]
            try:
                return gangs.take(deps, wanted, run_ends.holder(run.run_id), deps.settings.lost_after)
            except LostRaceError:
                log.event("gang-lost-race", cluster=way.cluster.key, nodes=len(wanted))
    return []


def _with(deps: Deps, run: Run, taken: list[Instance]) -> Jobs:
    """The jobs by rank, the first ones with the machines that are held."""
    blank = nodes.blank(run.jobs)
    held = [
        node_service.placed(deps, job, row, gangs.cluster_key(deps, row))
        for job, row in zip(blank, taken, strict=False)
    ]
    return (*held, *blank[len(held) :])


def _moved_on(deps: Deps, run: Run, taken: list[Instance]) -> Run:
    """Another was faster. What it does not count among the run's nodes is given back."""
    found = store.get(run.project, run.run_id)
    known = {job.lease_id for job in found.jobs}
    _give_back(deps, run, [row for row in taken if row.lease and row.lease.lease_id not in known])
    return found


def _give_back(deps: Deps, run: Run, taken: list[Instance]) -> None:
    for row in taken:
        if row.lease is not None:
            leases.give_back(deps, row, row.lease.fence, reason=Reason.RELEASED, actor=run_ends.holder(run.run_id))


def _find(run: Run, job: NodeJob) -> Instance | None:
    return instance_store.look_up(run.project, job.instance_id, run.pool) if job.instance_id else None


def _asked_for(deps: Deps, run: Run, job: NodeJob, policies: Policies) -> Instance | None:
    """The instance of a node, on its way if it was not yet. None: it is gone, or cannot be asked for."""
    row = _find(run, job)
    if row is None:
        return None if job.lease_id else _buy(deps, run, job, policies)
    if row.state is State.PENDING:
        provisioning.drive(deps, row)  # who made the row may have died before its workflow was started
    return row


def _buy(deps: Deps, run: Run, job: NodeJob, policies: Policies) -> Instance | None:
    """Ask for the machine of one node, in the run's cluster. Asking twice buys once. None: its pool is gone.

    It is not waited for capacity there while the other nodes are held: the run itself looks elsewhere, or waits.
    """
    backend, _, region = job.cluster.partition("|")
    accepted = purchases.accepted(deps, run, policies)
    there = replace(accepted, backends=(backend,), regions=(region,), retry=None)
    actor = f"run:{run.name}"
    row = instances.new_instance(
        deps, run.project, run.pool, there, job.instance_id, Reason.RUN, actor, reserved_for=run.run_id
    )
    try:
        return instances.request(deps, row, there, run.request["api_url"], named=False)
    except AlreadyExistsError:
        return _find(run, job)
    except NotFoundError:
        return None


def _give_up(deps: Deps, run: Run) -> Run:
    missing = [job for job in run.jobs if not job.lease_id]
    states = []
    for job in missing:
        row = _find(run, job)
        states.append(f"{job.title} is {row.state.value}" if row else f"{job.title} is gone")
    ready = len(run.jobs) - len(missing)
    return _fail(deps, run, f"{ready} of {len(run.jobs)} nodes were ready in time: {', '.join(states)}")


def _fail(deps: Deps, run: Run, detail: str) -> Run:
    """End a run whose nodes do not come together, and release those that are there."""
    reason = RunReason.PROVISIONING_FAILED
    ended = run_ends.finish(deps, run, RunState.FAILED, reason, actor="placement", detail=detail)
    if ended.state in RUN_ENDS:
        let_go(deps, run, "placement")
    return ended


def _distrust(deps: Deps, run: Run, job: NodeJob) -> None:
    """A machine whose agent did not take its job gets no other."""
    row = _find(run, job)
    if row is None or row.state is not State.BUSY or row.lease is None or row.lease.lease_id != job.lease_id:
        return
    try:
        leases.distrust(deps, row, row.lease.fence)
    except (NotFoundError, LostRaceError):
        log.event("taken-back-already", run=run.run_id, instance=job.instance_id)

"""The nodes of a run between their agents and the run: which job a machine has in it, and what its agent says of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chalicelib.domain import networks, nodes, rendezvous
from chalicelib.domain.errors import LostRaceError
from chalicelib.domain.host_records import is_host
from chalicelib.domain.model import RUN_ENDS, Instance, Run, RunReason, RunState
from chalicelib.domain.nodes import Jobs, NodeJob, NodeState
from chalicelib.services import host_facts, node_ends, run_ends
from chalicelib.services.deps import Deps
from chalicelib.store import hosts as host_store
from chalicelib.store import instances as instance_store
from chalicelib.store import journal
from chalicelib.store import runs as store


def job_on(run: Run, row: Instance) -> NodeJob | None:
    """The job that a machine executes for a run that goes on, or None: it is not one of its nodes, or not any more."""
    if run.state in RUN_ENDS or row.lease is None:
        return None
    job = nodes.of_lease(run.jobs, row.lease.lease_id)
    return None if job is None or job.is_over else job


def join(deps: Deps, row: Instance, run: Run) -> Run:
    """Note that a machine which the run waits for is held by it now; the last one starts the run."""
    for _ in range(node_ends.ATTEMPTS):
        job = nodes.of_instance(run.jobs, row.instance_id)
        if run.state is not RunState.PROVISIONING or job is None or row.lease is None or row.interrupted:
            return run
        try:
            if not job.lease_id:
                run = store.note(run, nodes.changed(run.jobs, placed(deps, job, row, job.cluster)))
            return start_if_complete(deps, run, reason=RunReason.READY, actor="agent")
        except LostRaceError:
            run = store.get(run.project, run.run_id)
    raise LostRaceError(f"run {run.name!r} keeps moving")


def start_if_complete(deps: Deps, run: Run, *, reason: RunReason, actor: str) -> Run:
    """Hand the jobs out when a machine is held for each. Raises `LostRaceError` when the run moved.

    Not on one that its provider takes back: nothing has begun yet, so it is replaced first.
    """
    if not all(job.lease_id for job in run.jobs) or any(_is_leaving(run, job) for job in run.jobs):
        return run
    return start(deps, run, run.jobs, reason=reason, actor=actor, placements=run.placements)


def start(deps: Deps, run: Run, jobs: Jobs, *, reason: RunReason, actor: str, placements: int) -> Run:
    """Write down which machines have the jobs, and wake their agents. Raises `LostRaceError` when the run moved.

    Each must take its job within its time. A run whose nodes cannot reach each other ends instead.
    """
    mute = next((job for job in jobs if not job.address), None)
    if mute is not None:
        detail = f"{mute.title} has told no address at which the other nodes could reach it"
        return run_ends.finish(deps, run, RunState.FAILED, RunReason.PROVISIONING_FAILED, actor=actor, detail=detail)
    now = deps.now()
    started = store.step(
        run,
        RunState.STARTING,
        now=now,
        reason=reason,
        actor=actor,
        deadline=now + deps.settings.pickup_within,
        instance_id=jobs[0].instance_id,
        instance_name=jobs[0].instance_name,
        lease_id=jobs[0].lease_id,
        placements=placements,
        jobs=jobs,
    )
    node_ends.wake_others(deps, started)
    return started


def _is_leaving(run: Run, job: NodeJob) -> bool:
    row = instance_store.look_up(run.project, job.instance_id, run.pool)
    return row is None or row.interrupted


def placed(deps: Deps, blank: NodeJob, row: Instance, cluster: str) -> NodeJob:
    """A job with the machine that is held for it."""
    facts = {} if is_host(row) else journal.facts(row.instance_id) or {}
    return replace(
        blank,
        cluster=cluster,
        instance_id=row.instance_id,
        instance_name=row.name,
        lease_id=row.lease.lease_id if row.lease else "",
        address=_address(deps, row, facts),
        gpus=_gpus(row, facts),
        state=NodeState.READY,
    )


def _address(deps: Deps, row: Instance, facts: Mapping[str, Any]) -> str:
    """Where the other nodes reach a machine: a rented one's is known from its agent, a host's from its record, which
    follows its agent within the network.

    A simulated machine has none of its own: all of them are this computer.
    """
    if is_host(row):
        record = host_store.get(row.project, row.instance_id)
        return record.address if record else ""
    told = networks.private_address(facts.get("addresses"))
    if not told and row.offer and deps.backend(row.project, row.offer.backend).capabilities.simulated:
        return "127.0.0.1"
    return told


def _gpus(row: Instance, facts: Mapping[str, Any]) -> int:
    """How many GPUs this very machine has: as many as its agent sees, which of a host its offer says too.

    An agent that sees none may lack the driver, where the job's image does not: then it is what was sold.
    """
    if row.offer is None:
        return 0
    seen = () if is_host(row) else host_facts.resources(facts, row.offer.resources).gpus
    return sum(gpu.count for gpu in seen or row.offer.resources.gpus)


def alone(row: Instance, said: Mapping[str, str]) -> dict[str, str]:
    """The same variables for a run on one machine, so that what is written for several nodes runs on one, too.

    They are defaults there: it may be part of something that its user has put together.
    """
    job = NodeJob(0, address="127.0.0.1", gpus=sum(gpu.count for gpu in row.offer.resources.gpus) if row.offer else 0)
    return rendezvous.defaults() | rendezvous.environment((job,), job, said)


def environment(run: Run, job: NodeJob) -> dict[str, str]:
    """The variables of one node's job."""
    return rendezvous.environment(run.jobs, job, run.spec.env)

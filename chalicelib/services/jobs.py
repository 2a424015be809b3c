"""The jobs of a machine between its agent and the runs: what an agent says of them, and which one it should execute.

A job is one try of a run. What an agent says of another try than the present one is acknowledged, and changes nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from chalicelib import log
from chalicelib.domain import rendezvous
from chalicelib.domain.errors import LostRaceError, NotFoundError
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import RUN_ENDS, Instance, Run, RunReason, RunState
from chalicelib.domain.nodes import NodeJob, failure, of_lease
from chalicelib.domain.policies import from_doc
from chalicelib.services import gang_leftovers, gangs, leases, node_ends, nodes, run_ends, run_output, runs
from chalicelib.services.deps import Deps
from chalicelib.store import runs as store

CODE_URL_FOR: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class JobReport:
    """What the agent says of a job. `state`: starting, running, exited or failed.

    `run_id` is the `job_id` of a run: the id of its first try is the run's. `interrupted`: the agent stopped it because
    its machine is taken back. `lost`: it failed although it had been started, because its machine was restarted or
    what watched over it was killed.
    """

    run_id: str
    state: str
    exit_code: int | None = None
    detail: str = ""
    log_size: int = 0
    interrupted: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes of a job's output from `offset` on."""

    run_id: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class WantedJob:
    """What should run now, or, with `stop`, what should end."""

    run_id: str
    name: str
    argv: tuple[str, ...]
    image: str
    env: dict[str, str]
    code_url: str | None
    code_sha256: str
    kill_after: timedelta
    shared_memory_mib: int | None
    """For a container; None is Docker's own 64 MB."""
    host_network: bool
    """Whether a container listens at the machine's own addresses, where the other nodes look for it."""
    stop: bool


def held_by(row: Instance) -> Run | None:
    """The run that an instance works for."""
    run_id = run_ends.run_of(row)
    if not run_id:
        return None
    try:
        return store.get(row.project, run_id)
    except NotFoundError:
        return None


def store_logs(deps: Deps, row: Instance, run: Run | None, chunks: tuple[LogChunk, ...]) -> dict[str, int]:
    """Store the chunks of the present try; others are dropped, and acknowledged so that their jobs end."""
    offsets: dict[str, int] = {}
    for chunk in chunks:
        if run is not None and chunk.run_id == run.job_id and _is_on(row, run):
            run_output.keep(deps, run, chunk.offset, chunk.data, rank=_rank(row, run))
        offsets[chunk.run_id] = chunk.offset + len(chunk.data)
    return offsets


def _is_on(row: Instance, run: Run) -> bool:
    """Whether a machine has a stream of the run's output."""
    return not run.jobs or _node(row, run) is not None


def _node(row: Instance, run: Run) -> NodeJob | None:
    return of_lease(run.jobs, row.lease.lease_id) if row.lease is not None else None


def _rank(row: Instance, run: Run) -> int | None:
    node = _node(row, run)
    return node.rank if node is not None else None


def take_in(deps: Deps, row: Instance, run: Run | None, job: JobReport) -> bool:
    """Bring the run up to what the agent says of its job. True when the job's end is stored, or is nobody's concern."""
    over = job.state in ("exited", "failed")
    if run is None or job.run_id != run.job_id:
        return over
    if run.jobs:
        _take_in_node(deps, row, run, job, over=over)
    elif run.state not in RUN_ENDS and row.lease is not None and run.lease_id == row.lease.lease_id:
        if over:
            _finish(deps, row, run, job)
        elif run.state is RunState.STARTING:
            _running(deps, run)
    if over and row.lease is not None:
        leases.give_back(deps, row, row.lease.fence, reason=Reason.RELEASED, actor="agent")
    return over


def _running(deps: Deps, run: Run) -> None:
    """The agent has the job; from here on its lease is what bounds the silence."""
    now = deps.now()
    try:
        store.step(
            run,
            RunState.RUNNING,
            now=now,
            reason=RunReason.PICKED_UP,
            actor="agent",
            deadline=None,
            started_at=run.started_at or now,
            tries=replace(run.tries, began_at=now),
        )
    except LostRaceError:
        log.event("running-lost-race", run=run.run_id)


def _take_in_node(deps: Deps, row: Instance, run: Run, job: JobReport, *, over: bool) -> None:
    """The same where the machine is one of several."""
    node, actor = nodes.job_on(run, row), f"agent:{row.name}"
    if node is None:
        node_ends.conclude(deps, run, actor=actor)
    elif over:
        reason = _bad_end(job)
        node_ends.ended(deps, run, node, reason, actor=actor, exit_code=job.exit_code, detail=job.detail)
    else:
        node_ends.began(deps, run, node)


def _bad_end(job: JobReport) -> RunReason | None:
    """Why a job's end is none that its run can be content with."""
    if job.interrupted:
        return RunReason.INTERRUPTED
    if job.lost:
        return RunReason.MACHINE_LOST
    if job.state == "failed":
        return RunReason.START_FAILED
    return RunReason.EXITED_NON_ZERO if job.exit_code != 0 else None


def _finish(deps: Deps, row: Instance, run: Run, job: JobReport) -> None:
    """Write the end that the agent reports: an exit code, or why there is none."""
    actor = f"agent:{row.name}"
    bad = _bad_end(job)
    if run.state is RunState.STOPPING:
        state, reason = RunState.STOPPED, run.reason
    elif bad is not None:
        state, reason = RunState.FAILED, bad
    else:
        state, reason = RunState.DONE, RunReason.EXITED
    run_ends.finish(deps, run, state, reason, actor=actor, detail=job.detail, exit_code=job.exit_code)


def wanted(deps: Deps, row: Instance, now: datetime, *, is_working: bool = False) -> WantedJob | None:
    """What should run on this machine: the job of the run that holds it, as long as the run has not ended.

    `is_working`: its agent says that a job runs. What is not wanted any more ends before the machine is given back.
    """
    if row.state is not State.BUSY or row.lease is None or not run_ends.run_of(row):
        return None
    run = held_by(row)
    if run is not None and run.jobs:
        return _wanted_of_node(deps, row, run, is_working=is_working)
    if run is not None and run.state in (RunState.SUBMITTED, RunState.PROVISIONING) and not row.interrupted:
        run = _starting(deps, row, run, now)
    if run is None or run.state in RUN_ENDS or run.lease_id != row.lease.lease_id:
        if not is_working:
            leases.give_back(deps, row, row.lease.fence, reason=Reason.RELEASED, actor="agent")
        return None
    defaults = nodes.alone(row, run.spec.env)
    return _described(deps, row, run, defaults, {}, stop=run.state is RunState.STOPPING)


def _wanted_of_node(deps: Deps, row: Instance, run: Run, *, is_working: bool) -> WantedJob | None:
    """The same where the machine is one of several: nothing runs before all of them are held.

    A machine that was taken a moment ago, and that the run does not name yet, is its placement's.
    """
    run = nodes.join(deps, row, run)
    node = nodes.job_on(run, row)
    if node is None:
        is_new = run.state is RunState.SUBMITTED and gangs.is_of_placement(run, row)
        if row.lease is not None and not is_new and not is_working:
            gang_leftovers.give_back(deps, run, row, actor="agent")
        return None
    if run.state not in node_ends.ON_MACHINES:
        return None
    stop = run.state is RunState.STOPPING or failure(run.jobs) is not None
    return _described(deps, row, run, rendezvous.defaults(), nodes.environment(run, node), stop=stop)


def _described(
    deps: Deps, row: Instance, run: Run, defaults: dict[str, str], fixed: dict[str, str], *, stop: bool
) -> WantedJob:
    """A run's job for its agent. The user's variables replace the `defaults` and not what is `fixed`."""
    spec = run.spec
    key = runs.code_key(run.project, spec.code)
    return WantedJob(
        run_id=run.job_id,
        name=run.name,
        argv=spec.argv,
        image=spec.image,
        env={
            "TIDEPOOL_RUN_NAME": run.name,
            "TIDEPOOL_INSTANCE_NAME": row.name,
            **defaults,
            **spec.env,
            **fixed,
            "TIDEPOOL_RUN_ID": run.run_id,
            "TIDEPOOL_TRY": str(run.tries.number),
        },
        code_url=deps.objects.get_url(key, expires=CODE_URL_FOR) if spec.code else None,
        code_sha256=spec.code,
        kill_after=spec.kill_after,
        shared_memory_mib=from_doc(run.request["policies"]).requirements.shared_memory_mib,
        host_network=bool(run.jobs),
        stop=stop,
    )


def _starting(deps: Deps, row: Instance, run: Run, now: datetime) -> Run:
    """The run names the machine before the job is handed to it, so that no other machine can be given the job too.

    From now on it must be taken within its time. A run that names another machine, or that was
    taken back from one, is returned as it is.
    """
    placed = run.placements > run.tries.placements
    if run.instance_id not in ("", row.instance_id) or (run.state is RunState.SUBMITTED and placed):
        return run
    if run.tries.retry_at is not None and now < run.tries.retry_at:
        return run
    try:
        return store.step(
            run,
            RunState.STARTING,
            now=now,
            reason=RunReason.READY if run.instance_id else RunReason.REUSED,
            actor="agent",
            deadline=now + deps.settings.pickup_within,
            instance_id=row.instance_id,
            instance_name=row.name,
            lease_id=row.lease.lease_id if row.lease else "",
            placements=max(run.placements, run.tries.placements + 1),
        )
    except LostRaceError:
        return store.get(run.project, run.run_id)

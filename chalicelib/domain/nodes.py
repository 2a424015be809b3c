"""The jobs of a run on several machines: one a node, and what all of them together mean for the run.

A run on one machine has none of these: its row says it all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

MAX_NODES: Final = 32
"""The most nodes of one run: their rows change in one transaction (DynamoDB allows 100 parts), the run's has 400 KB."""


class NodeState(StrEnum):
    """Where the job of one node stands. `WAITING`: no machine is held for it yet; `READY`: one is.

    `EXITED` is a good end; `FAILED` the one that ended the run's try, whatever its reason, so at most one job of a try
    has it; `STOPPED` is the end of the others then, and of all when the run was stopped.
    """

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    EXITED = "exited"
    FAILED = "failed"
    STOPPED = "stopped"


NODE_ENDS: Final = frozenset({NodeState.EXITED, NodeState.FAILED, NodeState.STOPPED})


@dataclass(frozen=True, slots=True)
class NodeJob:
    """What one node executes of a run. `rank` counts from 0, the master.

    `cluster` is the key of the one that all nodes come from; `address` how the other nodes reach this one; `gpus` how
    many its machine has. `reason` (a `RunReason`) and `detail` say why it failed.
    """

    rank: int
    cluster: str = ""
    instance_id: str = ""
    instance_name: str = ""
    lease_id: str = ""
    address: str = ""
    gpus: int = 0
    state: NodeState = NodeState.WAITING
    exit_code: int | None = None
    reason: str = ""
    detail: str = ""

    @property
    def is_over(self) -> bool:
        """Whether this node's job has ended."""
        return self.state in NODE_ENDS

    @property
    def title(self) -> str:
        """Name the node for a person."""
        return f"node {self.rank}" + (f" ({self.instance_name})" if self.instance_name else "")


Jobs = tuple[NodeJob, ...]


def of_instance(jobs: Sequence[NodeJob], instance_id: str) -> NodeJob | None:
    """The job that an instance is for."""
    return next((job for job in jobs if job.instance_id == instance_id), None)


def of_lease(jobs: Sequence[NodeJob], lease_id: str) -> NodeJob | None:
    """The job that is executed under a lease."""
    return next((job for job in jobs if job.lease_id == lease_id), None)


def failure(jobs: Sequence[NodeJob]) -> NodeJob | None:
    """The job whose failure ended the try, or None."""
    return next((job for job in jobs if job.state is NodeState.FAILED), None)


def are_over(jobs: Sequence[NodeJob]) -> bool:
    """Whether every job has ended."""
    return all(job.is_over for job in jobs)


def changed(jobs: Jobs, new: NodeJob) -> Jobs:
    """The jobs with the one of the same rank replaced."""
    return tuple(new if job.rank == new.rank else job for job in jobs)


def named(jobs: Jobs, names: Mapping[str, str]) -> Jobs:
    """The jobs with the names of their instances, by id; one that is not among them keeps its own."""
    return tuple(replace(job, instance_name=names.get(job.instance_id, job.instance_name)) for job in jobs)


def blank(jobs: Jobs) -> Jobs:
    """The jobs as they are before a placement: without machines."""
    return tuple(NodeJob(job.rank) for job in jobs)


def ended(jobs: Jobs, job: NodeJob, *, exit_code: int | None, reason: str, detail: str, stopping: bool) -> Jobs:
    """The jobs after one has ended. `reason` is empty for a good end.

    Only the first bad end is a failure: what ends badly after it, or while the run is being stopped, was stopped.
    """
    state = NodeState.EXITED
    if reason:
        state = NodeState.STOPPED if stopping or failure(jobs) is not None else NodeState.FAILED
    return changed(jobs, replace(job, state=state, exit_code=exit_code, reason=reason, detail=detail))


UNSEEN: Final = "it is unreachable and was not seen to stop"


def given_up(jobs: Jobs) -> Jobs:
    """The jobs after those that have not ended were given up, because nothing is heard of their machines."""
    return tuple(job if job.is_over else replace(job, state=NodeState.STOPPED, detail=UNSEEN) for job in jobs)


def unseen(jobs: Sequence[NodeJob]) -> list[str]:
    """Say for a person which nodes were given up."""
    return [f"{job.title}: {UNSEEN}" for job in jobs if job.detail == UNSEEN]


def explained(job: NodeJob) -> str:
    """Say for a person how a node failed."""
    how = f"exited with code {job.exit_code}" if job.exit_code is not None else job.reason
    return f"{job.title} {how}" + (f": {job.detail}" if job.detail else "")

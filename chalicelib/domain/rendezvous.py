"""How the nodes of a run find each other: the variables that each node's job gets.

Own names, those that jobs written for dstack read, and those that torchrun takes as the defaults of its options
(`PET_<OPTION>`, torch/distributed/argparse_util.py), so that a bare `torchrun train.py` does the right thing. RANK and
WORLD_SIZE are left to the launcher: they count processes, not nodes. For MPI there is the value of mpirun's `--host`
(`address:slots,…`, mpirun(1) of Open MPI): a slot for each GPU, one where there is none.
"""

from collections.abc import Mapping
from typing import Final

from chalicelib.domain.nodes import Jobs, NodeJob

MASTER_PORT: Final = 29500
"""What torchrun and torch.distributed use when nothing is said. One job has a machine to itself."""


def defaults() -> dict[str, str]:
    """What the user's own variables may replace."""
    return {"MASTER_PORT": str(MASTER_PORT)}


def environment(jobs: Jobs, me: NodeJob, said: Mapping[str, str]) -> dict[str, str]:
    """What tells one node where it stands. `said` are the user's variables.

    Nodes may have different numbers of GPUs: what counts those of a node counts those of this one.
    """
    master, count = jobs[0].address, str(len(jobs))
    port = said.get("MASTER_PORT", str(MASTER_PORT))
    rank, gpus, addresses = str(me.rank), str(me.gpus), "\n".join(job.address for job in jobs)
    variables = {
        "MASTER_ADDR": master,
        "NODE_RANK": rank,
        "NNODES": count,
        "TIDEPOOL_MASTER_ADDR": master,
        "TIDEPOOL_MASTER_PORT": port,
        "TIDEPOOL_NODE_RANK": rank,
        "TIDEPOOL_NODES_NUM": count,
        "TIDEPOOL_GPUS_PER_NODE": gpus,
        "TIDEPOOL_GPUS_NUM": str(sum(job.gpus for job in jobs)),
        "TIDEPOOL_NODES_IPS": addresses,
        "TIDEPOOL_MPI_HOSTS": ",".join(_slots(job) for job in jobs),
        "TIDEPOOL_NODES_GPUS": "\n".join(str(job.gpus) for job in jobs),
        "DSTACK_MASTER_NODE_IP": master,
        "DSTACK_NODE_RANK": rank,
        "DSTACK_NODES_NUM": count,
        "DSTACK_GPUS_PER_NODE": gpus,
        "DSTACK_GPUS_NUM": str(sum(job.gpus for job in jobs)),
        "DSTACK_NODES_IPS": addresses,
        "PET_NNODES": count,
        "PET_NODE_RANK": rank,
        "PET_MASTER_ADDR": master,
        "PET_MASTER_PORT": port,
    }
    return variables | ({"PET_NPROC_PER_NODE": gpus} if me.gpus else {})


def _slots(job: NodeJob) -> str:
    address = f"[{job.address}]" if ":" in job.address else job.address
    return f"{address}:{job.gpus or 1}"

"""The checks of an adoption that concern NVIDIA: driver, CUDA, container toolkit, and the GPUs that were stated.

A host with NVIDIA hardware that does not work is never judged to be a host without GPU.
"""

from collections.abc import Iterator
from typing import Final

from chalicelib.domain import gpu_matching
from chalicelib.domain.gpu_requirements import GpuRequirement
from chalicelib.domain.hosts import HostProbe, resources

OLDEST_CUDA: Final = (12, 1)

NONE: Final = "no NVIDIA GPU"

Found = tuple[str, str] | str


def judge_driver(probe: HostProbe) -> Iterator[Found]:
    """Judge the driver: there when there is hardware, and answering for every GPU."""
    nvidia = probe.nvidia
    said = nvidia.error.casefold()
    if not nvidia.is_present and "mismatch" not in said:
        yield NONE
    elif "mismatch" in said:
        yield "driver-mismatch", nvidia.error
    elif any(words in said for words in ("unable to determine the device handle", "gpu is lost", "unknown error")):
        yield "gpu-lost", nvidia.error
    elif nvidia.gpus and not said:
        yield f"{nvidia.driver}"
    elif not nvidia.has_smi and nvidia.driver:
        yield "smi-missing", f"driver {nvidia.driver}, no nvidia-smi"
    elif nvidia.driver or nvidia.has_smi:
        yield "driver-not-working", nvidia.error or "nvidia-smi lists no GPU"
    else:
        yield "driver-missing", "; ".join(nvidia.cards) or "an NVIDIA system-on-chip"


def judge_cuda(probe: HostProbe) -> Iterator[Found]:
    """Judge the newest CUDA that the driver supports; older containers run on newer drivers, not the other way."""
    nvidia = probe.nvidia
    words = ".".join(str(part) for part in nvidia.cuda)
    if not nvidia.is_present:
        yield NONE
    elif not nvidia.cuda:
        yield "cuda-unknown", f"driver {nvidia.driver or 'unknown'}"
    elif nvidia.cuda < OLDEST_CUDA:
        yield "cuda-too-old", f"{words} with driver {nvidia.driver}"
    else:
        yield words


def judge_toolkit(probe: HostProbe) -> Iterator[Found]:
    """Judge whether containers get the GPUs: only the daemon's own word proves it."""
    nvidia, docker = probe.nvidia, probe.docker
    if not nvidia.is_present:
        yield NONE
    elif docker.knows_nvidia:
        yield f"{nvidia.toolkit or 'installed'}, known to Docker"
    elif not nvidia.toolkit:
        yield "toolkit-missing", f"no container toolkit, Docker's runtimes: {', '.join(docker.runtimes) or 'none'}"
    elif docker.daemon:
        yield "toolkit-not-configured", f"{nvidia.toolkit}, Docker's runtimes: {', '.join(docker.runtimes) or 'none'}"
    else:
        yield "toolkit-unproven", f"{nvidia.toolkit}, no Docker daemon"


def judge_gpus(probe: HostProbe, wanted: GpuRequirement | None) -> Iterator[Found]:
    """Judge the GPUs against what was stated, and name those that are left out."""
    has = resources(probe).gpus
    words = " and ".join(f"{gpu.count}x{gpu.name} {gpu.memory_mib / 1024:g}GB" for gpu in has)
    split = [each for each in probe.nvidia.gpus if each.is_split]
    if split:
        listed = ", ".join(f"{each.index} ({each.name})" for each in split)
        yield ("gpus-split" if has else "gpus-all-split"), f"in MIG mode: {listed}"
    mismatch = gpu_matching.mismatch(wanted, has) if wanted is not None else None
    if mismatch is not None:
        behind = [f"on the bus: {'; '.join(probe.nvidia.cards)}"] if probe.nvidia.cards else []
        behind += [f"nvidia-smi: {probe.nvidia.error}"] if probe.nvidia.error else []
        yield "gpus-missing", "; ".join([mismatch, *behind])
    elif not split:
        yield words or "none"

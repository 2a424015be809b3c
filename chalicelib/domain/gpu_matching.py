"""The GPUs of a machine held against what is wanted of them: why they do not fit, and how far they are from it."""

from collections.abc import Iterable, Sequence

from chalicelib.domain import gpus
from chalicelib.domain.gpu_requirements import GpuRequirement, describe
from chalicelib.domain.model import Gpu
from chalicelib.domain.units import format_measured_size, format_size

Distance = tuple[int, int]
"""How far something is from fitting: in what it fails, the coarsest highest, and by how much."""


def mismatch(wanted: GpuRequirement, has: Sequence[Gpu]) -> str | None:
    """Say why the GPUs of a machine are not what is wanted; None when they are."""
    if not has:
        return None if 0 in wanted.count else f"has no GPU, not {describe(wanted)}"
    if wanted.count.high == 0:
        return f"has {listed(has)}, not 0 GPUs"
    reasons = [_model(wanted, gpu) for gpu in has]
    fitting = [gpu for gpu, reason in zip(has, reasons, strict=True) if reason is None]
    if not fitting:
        return "; ".join(reason for reason in reasons if reason is not None)
    return _amount(wanted, fitting)


def distance(wanted: GpuRequirement, has: Sequence[Gpu]) -> Distance:
    """How far the GPUs of a machine are off: one without any the farthest, then other models, then another number."""
    if not has:
        return 6, 0
    misfits = [_misfit(wanted, gpu) for gpu in has]
    fitting = [gpu for gpu, misfit in zip(has, misfits, strict=True) if misfit is None]
    if not fitting:
        return min(misfit[0] for misfit in misfits if misfit is not None)
    count = sum(gpu.count for gpu in fitting)
    if count not in wanted.count:
        return 1, wanted.count.beside(count)
    return 0, wanted.total_memory_mib.beside(_total_mib(fitting)) if wanted.total_memory_mib else 0


def listed(has: Iterable[Gpu]) -> str:
    """Write GPUs as a machine has them: `8xA100`."""
    return " and ".join(f"{gpu.count}x{gpu.name}" for gpu in has)


def _model(wanted: GpuRequirement, gpu: Gpu) -> str | None:
    """Hold one model against what is wanted of each GPU."""
    found = _misfit(wanted, gpu)
    return found and found[1]


def _misfit(wanted: GpuRequirement, gpu: Gpu) -> tuple[Distance, str] | None:
    """How far one model is from what is wanted of each GPU, and why; None when it is that."""
    memory = gpus.nominal_mib(gpu.memory_mib)
    if wanted.vendor and gpu.vendor.casefold() != wanted.vendor:
        return (5, 0), f"GPU {gpu.name} is from {gpu.vendor}, not {wanted.vendor}"
    if wanted.names and gpus.key(gpu.name) not in {gpus.key(name) for name in wanted.names}:
        return (4, 0), f"GPU {gpu.name} is not {' or '.join(wanted.names)}"
    if wanted.memory_mib is not None and memory not in wanted.memory_mib:
        words = f"GPU {gpu.name} {format_measured_size(memory)} is not {wanted.memory_mib.describe(format_size)}"
        return (3, wanted.memory_mib.beside(memory)), words
    least = wanted.compute_capability
    if least is None:
        return None
    known = gpus.compute_capability(gpu.name)
    if known is None:
        return (2, 1), f"GPU {gpu.name} has no known compute capability"
    words = f"GPU {gpu.name} has compute capability {_dotted(known)}, not {_dotted(least)}.."
    return None if known >= least else ((2, 0), words)


def _amount(wanted: GpuRequirement, fitting: Sequence[Gpu]) -> str | None:
    """Hold the number of GPUs of the right model, and their memory together, against what is wanted."""
    count = sum(gpu.count for gpu in fitting)
    if count not in wanted.count:
        return f"has {listed(fitting)}, not {wanted.count.describe()}"
    total = _total_mib(fitting)
    if wanted.total_memory_mib is not None and total not in wanted.total_memory_mib:
        return f"total GPU memory {format_measured_size(total)} is not {wanted.total_memory_mib.describe(format_size)}"
    return None


def _total_mib(fitting: Sequence[Gpu]) -> int:
    return sum(gpu.count * gpus.nominal_mib(gpu.memory_mib) for gpu in fitting)


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"

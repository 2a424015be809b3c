"""What a request needs of a machine: the grammar people write, and the value that everything else works with.

A single number for cpu, memory and disk means *at least* that many. For a GPU's memory and count it means *exactly*,
because whoever asks for one A100 with 40 GB has written the job for that.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from chalicelib.domain import gpu_requirements, spans, units
from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.gpu_requirements import GpuRequirement, said_keys
from chalicelib.domain.spans import Span, parse_counts, parse_sizes

KEYS: Final = ("cpu", "memory", "gpu", "disk", "shared_memory")

LEAST_CPUS: Final = Span(2)
LEAST_MEMORY: Final = Span(8 * 1024)
"""What holds where a request says nothing: less would not carry a system with Docker, a driver and a job."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a machine must have. None: it does not matter, but `gpu` None leaves GPU machines alone unless allowed."""

    cpus: Span = LEAST_CPUS
    memory_mib: Span = LEAST_MEMORY
    gpu: GpuRequirement | None = None
    disk_mib: Span | None = None
    shared_memory_mib: int | None = None


DEFAULT: Final = Requirements()
"""What a request without requirements asks for."""

ANYTHING: Final = Requirements(cpus=Span(1), memory_mib=Span(0))
"""What any machine meets."""


def parse(mapping: Mapping[str, Any], field: str = "requirements") -> tuple[Requirements, list[str]]:
    """Read `{"cpu", "memory", "gpu", "disk", "shared_memory"}`, each optional, and say what looks like a slip.

    Values are grammar text or JSON numbers; `gpu` may also be an object with `gpu_requirements.KEYS`. Raises
    `InvalidInputError` that names the field (`requirements.gpu`), the part at fault, and the form that would be right.
    """
    said = said_keys(mapping, KEYS, field)
    cpus, memory = _at_least(said, "cpu", field, parse_counts), _at_least(said, "memory", field, parse_sizes)
    requirements = Requirements(
        cpus=cpus or LEAST_CPUS,
        memory_mib=memory or LEAST_MEMORY,
        gpu=gpu_requirements.parse(said["gpu"], f"{field}.gpu") if "gpu" in said else None,
        disk_mib=_at_least(said, "disk", field, parse_sizes),
        shared_memory_mib=_one_size(said, "shared_memory", field),
    )
    most, shared = requirements.memory_mib.high, requirements.shared_memory_mib
    if shared is not None and most is not None and shared > most:
        limit = f"no more than the memory, {units.format_size(most)}"
        raise InvalidInputError(f"{field}.shared_memory", said["shared_memory"], limit)
    return requirements, gpu_requirements.slips(requirements.gpu) if requirements.gpu else []


def describe(requirements: Requirements) -> str:
    """Write requirements in one line: `2..xCPU, 8GB.., 2xA100 (40GB), 100GB.. (disk)`."""
    parts = [f"{requirements.cpus.describe()}xCPU", requirements.memory_mib.describe(units.format_size)]
    if requirements.gpu is not None:
        parts.append(gpu_requirements.describe(requirements.gpu))
    if requirements.disk_mib is not None:
        parts.append(f"{requirements.disk_mib.describe(units.format_size)} (disk)")
    if requirements.shared_memory_mib is not None:
        parts.append(f"{units.format_size(requirements.shared_memory_mib)} (shared memory)")
    return ", ".join(parts)


def to_doc(requirements: Requirements) -> dict[str, Any]:
    """Return a JSON-able copy that `from_doc` reads back to an equal value."""
    return asdict(requirements)


def from_doc(doc: Mapping[str, Any]) -> Requirements:
    """Read what `to_doc` wrote, also after a trip through JSON (which turns tuples into lists)."""
    gpu = doc["gpu"]
    return Requirements(
        cpus=Span(**doc["cpus"]),
        memory_mib=Span(**doc["memory_mib"]),
        gpu=gpu_requirements.from_doc(gpu) if gpu else None,
        disk_mib=spans.from_doc(doc["disk_mib"]),
        shared_memory_mib=doc["shared_memory_mib"],
    )


def _at_least(said: Mapping[str, Any], key: str, field: str, read: Callable[..., Span]) -> Span | None:
    return read(said[key], f"{field}.{key}", exact=False) if key in said else None


def _one_size(said: Mapping[str, Any], key: str, field: str) -> int | None:
    if key not in said:
        return None
    size = units.parse_size_mib(said[key], f"{field}.{key}")
    if not size:
        raise InvalidInputError(f"{field}.{key}", said[key], "more than 0")
    return size

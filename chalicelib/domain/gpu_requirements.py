"""Which GPUs a request needs: the text `A100:80GB:2`, the object form, and the value both become."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from chalicelib.domain import spans
from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.gpus import VENDORS
from chalicelib.domain.spans import COUNT_FORM, Span, parse_counts, parse_sizes, text_of
from chalicelib.domain.units import format_size

MANY_GPUS: Final = 16
"""The most GPUs of any machine that is rented. A larger count is nearly always a size or a model without its unit."""

KEYS: Final = ("name", "vendor", "memory", "count", "total_memory", "compute_capability")

FORM: Final = "names, memory and count, each once, with colons between, such as A100, A100:80GB:2 or 24GB..48GB:2"
NAME_FORM: Final = "GPU names that begin with a letter, with commas between, such as A100 or A10G,L4"
CAPABILITY_FORM: Final = "the least compute capability, such as 8.0"

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}", re.ASCII)
_NAME_WITH_COUNT: Final = re.compile(r"([A-Za-z][A-Za-z0-9]*[0-9])[x*]([0-9]{1,2})", re.ASCII | re.IGNORECASE)
_COUNT_BEFORE_NAME: Final = re.compile(r"([0-9]{1,2})[x*]([A-Za-z][A-Za-z0-9]*)", re.ASCII | re.IGNORECASE)
_NAME_WITH_SIZE: Final = re.compile(r"(.+)[-_]([0-9]+GB)", re.ASCII | re.IGNORECASE)
_CAPABILITY: Final = re.compile(r"([0-9]{1,2})(?:\.([0-9]))?", re.ASCII)

T = TypeVar("T")

ONE: Final = Span(1, 1)


@dataclass(frozen=True, slots=True)
class GpuRequirement:
    """Which GPUs, and how many. No `names`: any model. Memory is nominal and per GPU, `total_memory_mib` of all.

    A count of exactly 0 asks for a machine without GPUs.
    """

    count: Span = ONE
    names: tuple[str, ...] = ()
    vendor: str = ""
    memory_mib: Span | None = None
    total_memory_mib: Span | None = None
    compute_capability: tuple[int, int] | None = None


def parse(value: object, field: str) -> GpuRequirement:
    """Read grammar text, a number (a count), or an object with `KEYS`. Count and memory are exact, totals at least.

    Raises `InvalidInputError` that names the part at fault.
    """
    if isinstance(value, Mapping):
        return _gpu_of(said_keys(value, KEYS, field), value, field, prefix=f"{field}.")
    text = text_of(value, field, FORM)
    parts: dict[str, Any] = {}
    for token in text.split(":"):
        kind = _kind_of(token)
        if match := _COUNT_BEFORE_NAME.fullmatch(token):
            raise InvalidInputError(field, token, f"name and count apart, {match[2]}:{match[1]}")
        if not token or kind in parts:
            raise InvalidInputError(field, token or text, FORM if not token else f"one {kind} only; {FORM}")
        parts[kind] = token
    return _gpu_of(parts, text, field, prefix="")


def describe(gpu: GpuRequirement) -> str:
    """Write a GPU requirement: `2xA100 (40GB)`, `1..xnvidia GPU (24GB.., total 96GB.., capability 8.0..)`, `no GPU`."""
    if gpu.count.high == 0:
        return "no GPU"
    model = ",".join(gpu.names) or "GPU"
    details = []
    if gpu.memory_mib is not None:
        details.append(gpu.memory_mib.describe(format_size))
    if gpu.total_memory_mib is not None:
        details.append(f"total {gpu.total_memory_mib.describe(format_size)}")
    if gpu.compute_capability is not None:
        details.append("capability {}.{}..".format(*gpu.compute_capability))
    vendor = f"{gpu.vendor} " if gpu.vendor else ""
    return f"{gpu.count.describe()}x{vendor}{model}" + (f" ({', '.join(details)})" if details else "")


def slips(gpu: GpuRequirement) -> list[str]:
    """Say what is valid and yet hardly meant."""
    if gpu.count.low <= MANY_GPUS:
        return []
    count = gpu.count.low
    return [
        f"gpu {count} asks for {count} GPUs in one machine; for memory write {count}GB, "
        f"for a model put its letters before the number, such as RTX{count}"
    ]


def from_doc(doc: Mapping[str, Any]) -> GpuRequirement:
    """Read the object that `dataclasses.asdict` makes of a requirement, also after a trip through JSON."""
    capability = doc["compute_capability"]
    return GpuRequirement(
        count=Span(**doc["count"]),
        names=tuple(doc["names"]),
        vendor=doc["vendor"],
        memory_mib=spans.from_doc(doc["memory_mib"]),
        total_memory_mib=spans.from_doc(doc["total_memory_mib"]),
        compute_capability=(capability[0], capability[1]) if capability else None,
    )


def said_keys(mapping: Mapping[str, Any], known: tuple[str, ...], field: str) -> dict[str, Any]:
    """Leave out what is null, and refuse a key that means nothing."""
    if not isinstance(mapping, Mapping):
        raise InvalidInputError(field, mapping, f"an object with some of {', '.join(known)}")
    for key in mapping:
        if key not in known:
            raise InvalidInputError(f"{field}.{key}", key, f"one of {', '.join(known)}")
    return {key: value for key, value in mapping.items() if value is not None}


def _kind_of(token: str) -> str:
    """Tell what a token says: a word is a vendor or names, a number with a letter is memory, else it is a count."""
    if token[:1].isalpha():
        return "vendor" if token.lower() in VENDORS else "name"
    return "memory" if any(character.isalpha() for character in token) else "count"


def _gpu_of(parts: Mapping[str, Any], given: object, field: str, *, prefix: str) -> GpuRequirement:
    """Put the parts together. `prefix` leads to a part's own field; it is empty where all stand in one text."""

    def at(part: str) -> str:
        return f"{prefix}{part}" if prefix else field

    def read(part: str, reader: Callable[[object, str], T]) -> T | None:
        return reader(parts[part], at(part)) if part in parts else None

    gpu = GpuRequirement(
        count=_gpu_count(parts, at("count")),
        names=read("name", _names) or (),
        vendor=read("vendor", _vendor) or "",
        memory_mib=read("memory", partial(parse_sizes, exact=True)),
        total_memory_mib=read("total_memory", partial(parse_sizes, exact=False)),
        compute_capability=read("compute_capability", _capability),
    )
    _refuse_contradictions(gpu, given, field)
    return gpu


def _gpu_count(parts: Mapping[str, Any], field: str) -> Span:
    """Read the count, 1 when not said. `A100:..8` is 1 to 8: whoever names a model wants one; `..8` alone allows 0."""
    if "count" not in parts:
        return ONE
    span = parse_counts(parts["count"], field, exact=True, zero=True)
    if len(parts) > 1 and span.high != 0 and str(parts["count"]).strip().startswith(".."):
        return Span(1, span.high)
    return span


def _names(value: object, field: str) -> tuple[str, ...]:
    names = value if isinstance(value, list | tuple) else text_of(value, field, NAME_FORM).split(",")
    if not names:
        raise InvalidInputError(field, value, NAME_FORM)
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch("".join(name.split())):
            raise InvalidInputError(field, name or value, NAME_FORM)
        if name.lower() in VENDORS:
            raise InvalidInputError(field, value, f"the vendor apart from the names, such as {name.lower()}:A100")
        if match := _NAME_WITH_SIZE.fullmatch(name):
            raise InvalidInputError(field, name, f"name and memory apart, {match[1]}:{match[2]}")
        if match := _NAME_WITH_COUNT.fullmatch(name):
            raise InvalidInputError(field, name, f"name and count apart, {match[1]}:{match[2]}")
    return tuple(dict.fromkeys("".join(name.split()) for name in names))


def _vendor(value: object, field: str) -> str:
    vendor = text_of(value, field, f"one of {', '.join(VENDORS)}").lower()
    if vendor not in VENDORS:
        raise InvalidInputError(field, value, f"one of {', '.join(VENDORS)}")
    return vendor


def _capability(value: object, field: str) -> tuple[int, int]:
    if isinstance(value, list | tuple) and len(value) == 2:
        value = f"{value[0]}.{value[1]}"
    match = _CAPABILITY.fullmatch(text_of(value, field, CAPABILITY_FORM))
    if match is None:
        raise InvalidInputError(field, value, CAPABILITY_FORM)
    return int(match[1]), int(match[2] or 0)


def _refuse_contradictions(gpu: GpuRequirement, given: object, field: str) -> None:
    if gpu.count.high == 0 and gpu != GpuRequirement(count=gpu.count):
        raise InvalidInputError(field, given, f"0 alone for no GPU, or a count above 0; {COUNT_FORM}")
    if gpu.vendor not in {"", "nvidia"} and gpu.compute_capability is not None:
        raise InvalidInputError(field, given, "compute_capability only for nvidia GPUs")
    each, total = gpu.memory_mib or Span(0), gpu.total_memory_mib
    if total is None:
        return
    least = each.low * gpu.count.low
    most = None if each.high is None or gpu.count.high is None else each.high * gpu.count.high
    if (total.high is not None and least > total.high) or (most is not None and most < total.low):
        raise InvalidInputError(field, given, "a total_memory that the count and the memory can add up to")

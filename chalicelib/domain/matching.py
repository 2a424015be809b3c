"""One matcher for what could be rented and for what we have: does it fit, if not why not, and which is best.

Offers and idle instances pass the same filters, in the same order, so that a plan and a placement never disagree.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from chalicelib.domain import gpus
from chalicelib.domain import requirements as needs
from chalicelib.domain.gpu_requirements import GpuRequirement
from chalicelib.domain.gpu_requirements import describe as describe_gpu
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Gpu, Instance, Offer
from chalicelib.domain.policies import Policies, SpotPolicy
from chalicelib.domain.units import format_duration, format_price, format_price_exactly, format_size

MEMORY_SHARE: Final = 0.03
MEMORY_RESERVE_MIB: Final = 256
MEMORY_MARGIN: Final = 0.08
"""Linux shows less memory than a machine is sold with: a share for its page tables and a fixed reserve, in small
machines at most `MEMORY_MARGIN` of it. 32 GB shows as 31.3, 8 GB as 7.6, 1 GB as 0.93. From 8 GB on the allowance is
smaller than the step to the next size that is really sold below (7.5, 30.5, 61 GB)."""


class Filter(NamedTuple):
    """One filter. `check` says why an offer does not pass, or None, and looks at `reads` of it and at nothing else.

    So it need be asked only once for all offers that have the same there (`offer_index`).
    """

    name: str
    check: Callable[[Policies, Offer], str | None]
    reads: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Offers that the same filters refuse: how many, and the best of them in the sense of `order`."""

    count: int
    best: Offer


def verdict(policies: Policies, offer: Offer) -> str | None:
    """Say in words, with the figure, why an offer does not fit, or None when it does."""
    for each in FILTERS:
        reason = each.check(policies, offer)
        if reason is not None:
            return reason
    return None


def reuse_passes(policies: Policies) -> list[Policies]:
    """What a request accepts of the idle instances, in order.

    One that names no resources at all takes whatever is idle, machines that are small or have GPUs last: they are
    there and bill. One that names resources without a GPU leaves those alone. Offers are never widened like this.
    """
    if policies.allow_gpu or policies.names_resources:
        return [policies]
    return [policies, replace(policies, requirements=needs.ANYTHING, allow_gpu=True)]


def instance_verdict(policies: Policies, instance: Instance, *, now: datetime, fresh_for: timedelta) -> str | None:
    """Say why an instance cannot be handed out for a request, or None when it can.

    `fresh_for` is how old the newest sign of life may be. The state comes first, then what is wrong with the machine,
    then the same filters that offers pass.
    """
    unfit = _unfit(instance, now, fresh_for)
    if unfit is not None or instance.offer is None:
        return unfit
    return verdict(policies, instance.offer)


def order(offer: Offer) -> tuple[int, int, int, int, int, int, str]:
    """Sort key: the cheapest first, then the tightest fit (fewest GPUs, least GPU memory, ...), then the key.

    All that is sorted fits the same request, so the smaller machine is the tighter fit.
    """
    has = offer.resources
    gpu_count = sum(gpu.count for gpu in has.gpus)
    gpu_memory = sum(gpu.count * gpu.memory_mib for gpu in has.gpus)
    return offer.price, gpu_count, gpu_memory, has.cpus, has.memory_mib, has.disk_mib, offer.key


def rank(policies: Policies, offers: Iterable[Offer]) -> list[Offer]:
    """Return the offers that fit, the best first. The order of the input does not matter."""
    return sorted((offer for offer in offers if verdict(policies, offer) is None), key=order)


def last_filter(policies: Policies, offers: Iterable[Offer]) -> list[str]:
    """Explain an empty result: the filter that removed the last offers, then what leaving out each one would bring.

    Empty when something fits.
    """
    return explanation(policies, tally(policies, offers))


def tally(policies: Policies, offers: Iterable[Offer]) -> dict[int, Tally]:
    """Count offers by which filters refuse them: bit n is `FILTERS[n]`, 0 is what fits."""
    found: dict[int, Tally] = {}
    for offer in offers:
        refused = sum(1 << bit for bit, each in enumerate(FILTERS) if each.check(policies, offer) is not None)
        add_tally(found, refused, Tally(1, offer))
    return found


def add_tally(found: dict[int, Tally], refused: int, more: Tally) -> None:
    """Add to what is counted under one set of filters."""
    known = found.get(refused)
    best = more.best if known is None else min(known.best, more.best, key=order)
    found[refused] = Tally(more.count + (known.count if known else 0), best)


def explanation(policies: Policies, found: Mapping[int, Tally]) -> list[str]:
    """Put what `tally` counted into words; see `last_filter`."""
    total = sum(each.count for each in found.values())
    if not total:
        return [
            f"{' or '.join(policies.backends) or 'no backend'} offers {'nothing' if policies.backends else 'anything'}"
        ]
    for bit, (name, check, _) in enumerate(FILTERS):
        before, through = (1 << bit) - 1, (1 << bit + 1) - 1
        if any(not refused & through for refused in found):
            continue
        left = [each for refused, each in found.items() if not refused & before]
        nearest = min((each.best for each in left), key=order)
        count = sum(each.count for each in left)
        removed = f"{name} removed the last {count} of {total} offers: {check(policies, nearest)}"
        return [removed, *_alone(found, total)]
    return []


def _alone(found: Mapping[int, Tally], total: int) -> Iterator[str]:
    """Name each filter that alone stands between the request and some offers."""
    for bit, each in enumerate(FILTERS):
        if 1 << bit in found:
            yield f"without {each.name}, {found[1 << bit].count} of {total} would match"


def _unfit(instance: Instance, now: datetime, fresh_for: timedelta) -> str | None:
    """Say what is wrong with an instance whatever the request is."""
    if instance.state is not State.IDLE:
        return f"is {instance.state.value}"
    if instance.unreachable:
        return "is unreachable"
    if instance.cordoned:
        return "is cordoned"
    if instance.interrupted:
        return "is taken back by its provider"
    if instance.seen_at is None:
        return "has not been heard of yet"
    silent = now - instance.seen_at
    if silent > fresh_for:
        return f"was last heard of {format_duration(timedelta(seconds=int(silent.total_seconds())))} ago"
    return None if instance.offer is not None else "has no known resources"


def _backend(policies: Policies, offer: Offer) -> str | None:
    return _listed("backend", offer.backend, policies.backends)


def _region(policies: Policies, offer: Offer) -> str | None:
    return _listed("region", offer.region, policies.regions)


def _instance_type(policies: Policies, offer: Offer) -> str | None:
    return _listed("instance type", offer.instance_type, policies.instance_types)


def _listed(noun: str, value: str, wanted: tuple[str, ...]) -> str | None:
    """Compare without regard to case, as the providers' own tools do."""
    if not wanted or value.casefold() in _folded(wanted):
        return None
    return f"{noun} {value} is not {' or '.join(wanted)}"


@lru_cache(maxsize=256)
def _folded(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)


def _spot(policies: Policies, offer: Offer) -> str | None:
    if policies.spot is SpotPolicy.AUTO or offer.spot is (policies.spot is SpotPolicy.SPOT):
        return None
    return f"{'spot' if offer.spot else 'on-demand'} is not {policies.spot.value}"


def _price(policies: Policies, offer: Offer) -> str | None:
    most = policies.max_price
    if most is None or offer.price <= most:
        return None
    write = format_price if format_price(offer.price) != format_price(most) else format_price_exactly
    return f"price {write(offer.price)} is above {write(most)}"


def _cpu(policies: Policies, offer: Offer) -> str | None:
    wanted = policies.requirements.cpus
    if offer.resources.cpus in wanted:
        return None
    return f"{offer.resources.cpus}xCPU is not {wanted.describe()}xCPU"


def _memory(policies: Policies, offer: Offer) -> str | None:
    wanted = policies.requirements.memory_mib
    has = offer.resources.memory_mib
    allowance = min(wanted.low * MEMORY_SHARE + MEMORY_RESERVE_MIB, wanted.low * MEMORY_MARGIN)
    if has >= wanted.low - allowance and (wanted.high is None or has <= wanted.high):
        return None
    return f"memory {_size(has)} is not {wanted.describe(format_size)}"


def _shared_memory(policies: Policies, offer: Offer) -> str | None:
    wanted = policies.requirements.shared_memory_mib
    if wanted is None or wanted <= offer.resources.memory_mib:
        return None
    return f"shared memory {format_size(wanted)} is more than the memory, {_size(offer.resources.memory_mib)}"


def _disk(policies: Policies, offer: Offer) -> str | None:
    wanted = policies.requirements.disk_mib
    if wanted is None or offer.resources.disk_mib in wanted:
        return None
    return f"disk {_size(offer.resources.disk_mib)} is not {wanted.describe(format_size)}"


def gpu_mismatch(wanted: GpuRequirement, has: Sequence[Gpu]) -> str | None:
    """Say why the GPUs of a machine are not what is wanted; None when they are."""
    if not has:
        return None if 0 in wanted.count else f"has no GPU, not {describe_gpu(wanted)}"
    if wanted.count.high == 0:
        return f"has {_gpus(has)}, not 0 GPUs"
    reasons = [_model(wanted, gpu) for gpu in has]
    fitting = [gpu for gpu, reason in zip(has, reasons, strict=True) if reason is None]
    if not fitting:
        return "; ".join(reason for reason in reasons if reason is not None)
    return _amount(wanted, fitting)


def _gpu(policies: Policies, offer: Offer) -> str | None:
    wanted, has = policies.requirements.gpu, offer.resources.gpus
    if wanted is None:
        return None if not has or policies.allow_gpu else f"has {_gpus(has)}, and no GPU was asked for"
    return gpu_mismatch(wanted, has)


def _model(wanted: GpuRequirement, gpu: Gpu) -> str | None:
    """Hold one model against what is wanted of each GPU."""
    memory = gpus.nominal_mib(gpu.memory_mib)
    if wanted.vendor and gpu.vendor.casefold() != wanted.vendor:
        return f"GPU {gpu.name} is from {gpu.vendor}, not {wanted.vendor}"
    if wanted.names and gpus.key(gpu.name) not in {gpus.key(name) for name in wanted.names}:
        return f"GPU {gpu.name} is not {' or '.join(wanted.names)}"
    if wanted.memory_mib is not None and memory not in wanted.memory_mib:
        return f"GPU {gpu.name} {_size(memory)} is not {wanted.memory_mib.describe(format_size)}"
    least = wanted.compute_capability
    if least is None:
        return None
    known = gpus.compute_capability(gpu.name)
    if known is None:
        return f"GPU {gpu.name} has no known compute capability"
    return None if known >= least else f"GPU {gpu.name} has compute capability {_dotted(known)}, not {_dotted(least)}.."


def _amount(wanted: GpuRequirement, fitting: Sequence[Gpu]) -> str | None:
    """Hold the number of GPUs of the right model, and their memory together, against what is wanted."""
    count = sum(gpu.count for gpu in fitting)
    if count not in wanted.count:
        return f"has {_gpus(fitting)}, not {wanted.count.describe()}"
    total = sum(gpu.count * gpus.nominal_mib(gpu.memory_mib) for gpu in fitting)
    if wanted.total_memory_mib is not None and total not in wanted.total_memory_mib:
        return f"total GPU memory {_size(total)} is not {wanted.total_memory_mib.describe(format_size)}"
    return None


def _gpus(has: Iterable[Gpu]) -> str:
    return " and ".join(f"{gpu.count}x{gpu.name}" for gpu in has)


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _size(mib: int) -> str:
    """Write a measured size, which is seldom a round one, with one decimal."""
    exact = format_size(mib)
    return exact if not exact.endswith("MB") or mib < 1024 else f"{mib / 1024:.1f}GB"


FILTERS: Final = (
    Filter("backends", _backend, reads="backend"),
    Filter("regions", _region, reads="region"),
    Filter("instance_types", _instance_type, reads="instance_type"),
    Filter("spot_policy", _spot, reads="spot"),
    Filter("cpu", _cpu, reads="cpus"),
    Filter("memory", _memory, reads="memory_mib"),
    Filter("shared_memory", _shared_memory, reads="memory_mib"),
    Filter("disk", _disk, reads="disk_mib"),
    Filter("gpu", _gpu, reads="gpus"),
    Filter("max_price", _price, reads="price"),
)
"""Every filter under the name that the request knows it by. The price is last: it is the one people will move."""

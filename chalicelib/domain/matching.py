"""One matcher for what could be rented and for what we have: does it fit, if not why not, and which is best.

Offers and idle instances pass the same filters, in the same order, so that a plan and a placement never disagree.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from chalicelib.domain import gpu_matching
from chalicelib.domain import requirements as needs
from chalicelib.domain.gpu_matching import Distance
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import BARE_HOST, Instance, Offer
from chalicelib.domain.policies import Policies, SpotPolicy
from chalicelib.domain.requirements import Requirements
from chalicelib.domain.spans import Span
from chalicelib.domain.units import (
    format_duration,
    format_measured_size,
    format_price,
    format_price_exactly,
    format_size,
)

MEMORY_SHARE: Final = 0.03
MEMORY_RESERVE_MIB: Final = 256
MEMORY_MARGIN: Final = 0.08
"""Linux shows less memory than a machine is sold with: a share for its page tables and a fixed reserve, in small
machines at most `MEMORY_MARGIN` of it. 32 GB shows as 31.3, 8 GB as 7.6, 1 GB as 0.93. From 8 GB on the allowance is
smaller than the step to the next size that is really sold below (7.5, 30.5, 61 GB)."""


class Filter(NamedTuple):
    """One filter. `check` says why an offer does not pass, or None, and looks at `reads` of it and at nothing else.

    So it need be asked only once for all offers that have the same there (`offer_index`). `distance` says how far an
    offer is from passing and reads the same; None where there is no far and near but the price. `unsaid` makes the
    request that says nothing of this filter, `opened` names what lets everything through; None: saying nothing does.
    """

    name: str
    check: Callable[[Policies, Offer], str | None]
    reads: str
    distance: Callable[[Policies, Offer], Distance] | None = None
    unsaid: Callable[[Policies], Policies] | None = None
    opened: Callable[[Policies], str] | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Offers that the same filters refuse.

    `best` has the least `distance` from the first of these filters, and is the first by `order` of those. `freed` of
    the `count` would pass that filter if the request said nothing of it.
    """

    count: int
    best: Offer
    distance: Distance = (0, 0)
    freed: int = 0


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


def offer_passes(policies: Policies) -> list[Policies]:
    """What a request accepts of the offers, in order: what fits an earlier one is better than what fits a later one."""
    if policies.on_demand_first and policies.spot is SpotPolicy.AUTO:
        return [replace(policies, spot=market) for market in (SpotPolicy.ON_DEMAND, SpotPolicy.SPOT)]
    return [policies]


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
    fitting = sorted((offer for offer in offers if verdict(policies, offer) is None), key=order)
    return [offer for accepted in offer_passes(policies) for offer in fitting if _spot(accepted, offer) is None]


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
        add_tally(found, refused, tally_of(policies, refused, offer))
    return found


def tally_of(policies: Policies, refused: int, offer: Offer, count: int = 1) -> Tally:
    """Count offers that are like this one in what the first filter that refuses them reads."""
    if not refused:
        return Tally(count, offer)
    each = first_filter(refused)
    distance = each.distance(policies, offer) if each.distance else (0, 0)
    passes = each.unsaid is None or each.check(each.unsaid(policies), offer) is None
    return Tally(count, offer, distance, count if passes else 0)


def first_filter(refused: int) -> Filter:
    """The first of a set of filters, which is not empty."""
    return FILTERS[(refused & -refused).bit_length() - 1]


def add_tally(found: dict[int, Tally], refused: int, more: Tally) -> None:
    """Add to what is counted under one set of filters."""
    known = found.get(refused)
    if known is not None:
        nearest = min(known, more, key=_nearness)
        more = replace(nearest, count=known.count + more.count, freed=known.freed + more.freed)
    found[refused] = more


def _nearness(tally: Tally) -> tuple[Distance, tuple[object, ...]]:
    return tally.distance, order(tally.best)


def explanation(policies: Policies, found: Mapping[int, Tally]) -> list[str]:
    """Put what `tally` counted into words; see `last_filter`."""
    total = sum(each.count for each in found.values())
    if not total:
        return [
            f"{' or '.join(policies.backends) or 'no backend'} offers {'nothing' if policies.backends else 'anything'}"
        ]
    for bit, each in enumerate(FILTERS):
        before, through = (1 << bit) - 1, (1 << bit + 1) - 1
        if any(not refused & through for refused in found):
            continue
        left = [tally for refused, tally in found.items() if not refused & before]
        nearest = min(left, key=_nearness).best
        count = sum(tally.count for tally in left)
        which = f"the {'nearest' if each.distance else 'cheapest'}, {nearest.backend} {nearest.instance_type}"
        removed = f"{each.name} removed the last {count} of {total} offers; {which}: {each.check(policies, nearest)}"
        return [removed, *_alone(policies, found, total)]
    return []


def _alone(policies: Policies, found: Mapping[int, Tally], total: int) -> Iterator[str]:
    """Name each filter that alone stands between the request and some offers, and what lets them through."""
    for bit, each in enumerate(FILTERS):
        alone = found.get(1 << bit)
        if alone and alone.freed:
            yield f"without {each.name}, {alone.freed} of {total} would match"
        if alone and alone.freed < alone.count and each.opened:
            yield f"with {each.opened(policies)}, {alone.count} of {total} would match"


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
    return f"memory {format_measured_size(has)} is not {wanted.describe(format_size)}"


def _shared_memory(policies: Policies, offer: Offer) -> str | None:
    wanted, has = policies.requirements.shared_memory_mib, offer.resources.memory_mib
    if wanted is None or wanted <= has:
        return None
    return f"shared memory {format_size(wanted)} is more than the memory, {format_measured_size(has)}"


def _disk(policies: Policies, offer: Offer) -> str | None:
    wanted = policies.requirements.disk_mib
    if wanted is None or offer.resources.disk_mib in wanted:
        return None
    return f"disk {format_measured_size(offer.resources.disk_mib)} is not {wanted.describe(format_size)}"


def _gpu(policies: Policies, offer: Offer) -> str | None:
    wanted, has = policies.requirements.gpu, offer.resources.gpus
    if wanted is None:
        return None if not has or policies.allow_gpu else f"has {gpu_matching.listed(has)}, and no GPU was asked for"
    return gpu_matching.mismatch(wanted, has)


def _gpu_distance(policies: Policies, offer: Offer) -> Distance:
    wanted = policies.requirements.gpu
    return gpu_matching.distance(wanted, offer.resources.gpus) if wanted is not None else (0, 0)


def _of_span(wanted: Callable[[Requirements], Span | None], has: Callable[[Offer], int]) -> Callable[..., Distance]:
    """The distance of a number from the span that is wanted of it."""

    def distance(policies: Policies, offer: Offer) -> Distance:
        span = wanted(policies.requirements)
        return 0, span.beside(has(offer)) if span else 0

    return distance


def _image(policies: Policies, offer: Offer) -> str | None:
    is_bare = policies.containers and offer.instance_type == BARE_HOST
    return "has no Docker, and an image was asked for" if is_bare else None


def _unsaid(part: str) -> Callable[[Policies], Policies]:
    """What holds when a part of the requirements is not said."""
    default = getattr(needs.DEFAULT, part)
    return lambda policies: replace(policies, requirements=replace(policies.requirements, **{part: default}))


def _opened_gpu(policies: Policies) -> str:
    return "allow_gpu (--allow-gpu)" + ("" if policies.requirements.gpu is None else " in place of gpu")


FILTERS: Final = (
    Filter("backends", _backend, reads="backend"),
    Filter("regions", _region, reads="region"),
    Filter("instance_types", _instance_type, reads="instance_type"),
    Filter(
        "image",
        _image,
        reads="instance_type",
        unsaid=lambda policies: replace(policies, containers=False),
        opened=lambda _: "no image",
    ),
    Filter("spot_policy", _spot, "spot", unsaid=lambda policies: policies, opened=lambda _: "spot_policy auto"),
    Filter(
        "cpu",
        _cpu,
        reads="cpus",
        distance=_of_span(lambda wanted: wanted.cpus, lambda offer: offer.resources.cpus),
        unsaid=_unsaid("cpus"),
        opened=lambda _: "cpu 1..",
    ),
    Filter(
        "memory",
        _memory,
        reads="memory_mib",
        distance=_of_span(lambda wanted: wanted.memory_mib, lambda offer: offer.resources.memory_mib),
        unsaid=_unsaid("memory_mib"),
        opened=lambda _: "memory 0..",
    ),
    Filter(
        "shared_memory",
        _shared_memory,
        reads="memory_mib",
        distance=lambda _, offer: (0, -offer.resources.memory_mib),
    ),
    Filter(
        "disk",
        _disk,
        reads="disk_mib",
        distance=_of_span(lambda wanted: wanted.disk_mib, lambda offer: offer.resources.disk_mib),
    ),
    Filter("gpu", _gpu, reads="gpus", distance=_gpu_distance, unsaid=_unsaid("gpu"), opened=_opened_gpu),
    Filter("max_price", _price, reads="price"),
)
"""Every filter under the name that the request knows it by. The price is last: it is the one people will move."""

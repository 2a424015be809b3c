"""Very many offers, and the ones that fit a request without looking at each: exactly what `matching` would say.

An offer is a position in columns that are sorted by `matching.order` once. A column holds each distinct value and, for
every position, which one it is. A filter reads one property, so it is asked once for each distinct value: some hundred
questions for 10,000 offers. The verdict itself stays with `matching`; here is only what saves asking it again.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from chalicelib.domain import matching
from chalicelib.domain.matching import FILTERS, Tally
from chalicelib.domain.model import Offer, Resources
from chalicelib.domain.policies import Policies

RESOURCES: Final = ("cpus", "memory_mib", "disk_mib", "gpus")
PLACES: Final = ("backend", "region", "zone", "instance_type", "spot")
ORIGINS: Final = ("price_source", "priced_at", "availability")
COLUMNS: Final = (*PLACES, *RESOURCES, *ORIGINS)
"""The properties that have a column; the price is kept as it is."""

PRICE_BIT: Final = 1 << next(bit for bit, each in enumerate(FILTERS) if each.reads == "price")

FIRST_BLOCK: Final = 256
GROWTH: Final = 4
"""Positions looked through for the first matches, and by how much more each time: the first 10 come soon, and all of
them in few steps."""


class Column(NamedTuple):
    """The distinct values of one property, and for each position the number of its value."""

    values: list[Any]
    ids: list[int]


class OfferIndex:
    """Offers of any backends, sorted. Nothing changes after it is made, so threads may share one."""

    def __init__(self, prices: list[int], columns: Mapping[str, Column]) -> None:
        """Take what is sorted by `matching.order` already; `of` sorts."""
        self.prices = prices
        self.columns = columns
        self._cells = [columns[name] for name in COLUMNS]
        self._buckets: list[tuple[int, int, list[int]]] | None = None
        self._made: dict[int, Offer] = {}

    @classmethod
    def of(cls, offers: Iterable[Offer]) -> "OfferIndex":
        """Index offers that come in any order."""
        ranked = sorted(offers, key=matching.order)
        columns = {name: _column(getattr(each, name) for each in ranked) for name in (*PLACES, *ORIGINS)}
        columns |= {name: _column(getattr(each.resources, name) for each in ranked) for name in RESOURCES}
        return cls([each.price for each in ranked], columns)

    def __len__(self) -> int:
        return len(self.prices)

    def offer(self, position: int) -> Offer:
        """The offer at a position of the order; it is made once."""
        made = self._made.get(position)
        if made is None:
            cells = [values[ids[position]] for values, ids in self._cells]
            backend, region, zone, instance_type, spot = cells[:5]
            resources = Resources(*cells[5:9])
            price = self.prices[position]
            made = Offer(backend, region, instance_type, resources, spot, price, zone, *cells[9:])
            self._made[position] = made
        return made

    def matches(self, policies: Policies) -> Iterator[Offer]:
        """Yield what fits, the best first, as `matching.rank` orders it. Whoever takes few pays for few."""
        for block in self._blocks(policies):
            yield from map(self.offer, block)

    def count(self, policies: Policies) -> int:
        """How many offers fit."""
        return sum(map(len, self._blocks(policies)))

    def tally(self, policies: Policies) -> dict[int, Tally]:
        """What `matching.tally` says of all the offers."""
        refused = [0] * len(self)
        for name, marks in self._refusals(policies).items():
            refused = [so_far | marks[value] for so_far, value in zip(refused, self.columns[name].ids, strict=True)]
        end = self._affordable(policies)
        refused[end:] = [so_far | PRICE_BIT for so_far in refused[end:]]
        parts: dict[tuple[int, int], tuple[int, int]] = {}
        read = {bits: self._read_of(bits) for bits in set(refused)}
        for position, bits in enumerate(refused):
            ids = read[bits]
            part = bits, ids[position] if ids else 0
            count, first = parts.get(part, (0, position))
            parts[part] = count + 1, first
        found: dict[int, Tally] = {}
        for (bits, _), (count, first) in parts.items():
            matching.add_tally(found, bits, matching.tally_of(policies, bits, self.offer(first), count))
        return found

    def _read_of(self, refused: int) -> list[int] | None:
        """Which value each position has of what tells near from far; None where nothing does."""
        first = matching.first_filter(refused) if refused else None
        return self.columns[first.reads].ids if first and first.distance else None

    def renamed(self, backend: str, regions: Sequence[str] = ()) -> "OfferIndex":
        """The offers of one provider as those of an account: under its name, and in its regions where it names any.

        Raises `ValueError` when the offers are of several backends: under one name their order would be another.
        """
        if len(self.columns["backend"].values) > 1:
            raise ValueError("offers of several backends cannot become those of one account")
        wanted = {region.casefold() for region in regions}
        has = [not wanted or region.casefold() in wanted for region in self.columns["region"].values]
        if all(has) and self.columns["backend"].values == [backend]:
            return self
        kept = [position for position, region in enumerate(self.columns["region"].ids) if has[region]]
        columns = {name: Column(each.values, [each.ids[at] for at in kept]) for name, each in self.columns.items()}
        columns["backend"] = Column([backend], [0] * len(kept))
        return OfferIndex([self.prices[at] for at in kept], columns)

    def oldest(self) -> datetime | None:
        """When the oldest of the prices was right, or None where no offer says."""
        column = self.columns["priced_at"]
        return min((column.values[each] for each in set(column.ids) if column.values[each] is not None), default=None)

    def _blocks(self, policies: Policies) -> Iterator[list[int]]:
        """Yield the positions that fit, in order, a growing block of the order at a time."""
        refusals = self._refusals(policies)
        gpus, spot = refusals.pop("gpus", None), refusals.pop("spot", None)
        buckets = [
            positions
            for gpu, market, positions in self._bucketed()
            if not (gpus and gpus[gpu]) and not (spot and spot[market])
        ]
        every = not gpus and not spot
        others = [(self.columns[name].ids, marks) for name, marks in refusals.items()]
        start, size, end = 0, FIRST_BLOCK, self._affordable(policies)
        while start < end and buckets:
            stop = min(start + size, end)
            block = list(range(start, stop)) if every else _between(buckets, start, stop)
            for ids, marks in others:
                block = [position for position in block if not marks[ids[position]]]
            yield block
            start, size = stop, size * GROWTH

    def _refusals(self, policies: Policies) -> dict[str, list[int]]:
        """For each value of a property the bits of the filters that refuse it, where any refuses some value of it."""
        probe = cast(Offer, _Probe())
        found: dict[str, list[int]] = {}
        for bit, each in enumerate(FILTERS):
            name, check, reads = each[:3]
            # An empty list asks for nothing, and there may be as many types as there are offers.
            if reads == "price" or getattr(policies, name, None) == ():
                continue
            values = self.columns[reads].values
            marks = found.get(reads) or [0] * len(values)
            for number, value in enumerate(values):
                setattr(probe, reads, value)
                if check(policies, probe) is not None:
                    marks[number] |= 1 << bit
                    found[reads] = marks
        return found

    def _affordable(self, policies: Policies) -> int:
        """The position from which on every offer costs too much."""
        price = next(each for each in FILTERS if each.reads == "price")
        probe = _Probe()

        def is_too_much(position: int) -> bool:
            probe.price = self.prices[position]
            return price.check(policies, cast(Offer, probe)) is not None

        if not self.prices or not is_too_much(len(self) - 1):
            return len(self)
        return bisect_left(range(len(self)), True, key=is_too_much)

    def _bucketed(self) -> list[tuple[int, int, list[int]]]:
        """The positions of each combination of GPUs and market, in order. Made when it is first asked for."""
        if self._buckets is None:
            found: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
            pairs = zip(self.columns["gpus"].ids, self.columns["spot"].ids, strict=True)
            for position, pair in enumerate(pairs):
                found[pair].append(position)
            self._buckets = [(gpu, market, positions) for (gpu, market), positions in found.items()]
        return self._buckets


class _Probe:
    """Stands in for an offer where a filter reads one property of it; the resources are properties of its own."""

    price: int

    @property
    def resources(self) -> "_Probe":
        return self


def _between(buckets: Iterable[list[int]], start: int, stop: int) -> list[int]:
    """The positions from `start` on and before `stop`, in order. Sorting runs that are sorted is merging them."""
    found: list[int] = []
    for positions in buckets:
        found += positions[bisect_left(positions, start) : bisect_left(positions, stop)]
    found.sort()
    return found


def _column(cells: Iterable[Hashable]) -> Column:
    numbers: dict[Hashable, int] = {}
    ids = [numbers.setdefault(cell, len(numbers)) for cell in cells]
    return Column(list(numbers), ids)

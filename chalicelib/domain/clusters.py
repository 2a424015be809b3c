"""Clusters: which machines may work together on one run, and which of several is the cheapest.

Hosts that somebody owns are a cluster when they are in one network, rented machines when one account rents them in one
region and its backend says that machines of a region reach each other.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from chalicelib.domain.host_records import SSH
from chalicelib.domain.model import Offer

SOLD_OUT: Final = 2
"""The `rank` of a completion that a moment ago was refused for want of capacity: it comes after all others."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where machines reach each other. `network` is that of hosts (`domain.networks.network_key`), else empty."""

    backend: str
    region: str
    network: str = ""

    @property
    def key(self) -> str:
        """Name it, such as `remote|10.0.0.0/24` or `aws|us-east-1`."""
        return f"{self.region if self.network else self.backend}|{self.network or self.region}"


@dataclass(frozen=True, slots=True)
class Completion:
    """How a run could come to its nodes in one cluster: `free` are idle there, the rest is bought for `price` an hour.

    `rank` is more than 0 where that is not what the run prefers; what was sold out a moment ago has `SOLD_OUT`.
    """

    cluster: Cluster
    free: int
    price: int
    rank: int = 0


def cluster_of(offer: Offer, is_clustered: Callable[[str], bool]) -> Cluster | None:
    """Say in which cluster a machine of this offer is, or None: it is reached by no other.

    `is_clustered` says of a backend's name whether its machines of one region reach each other.
    """
    if offer.backend == SSH:
        return Cluster(SSH, offer.region, offer.zone) if offer.zone else None
    return Cluster(offer.backend, offer.region) if is_clustered(offer.backend) else None


def grouped(offers: Iterable[Offer], is_clustered: Callable[[str], bool]) -> dict[Cluster, list[Offer]]:
    """Sort offers into their clusters, each in the order given; those without one are left out."""
    found: dict[Cluster, list[Offer]] = {}
    for offer in offers:
        cluster = cluster_of(offer, is_clustered)
        if cluster is not None:
            found.setdefault(cluster, []).append(offer)
    return found


def cheapest(ways: Sequence[Completion], nodes: int) -> Completion | None:
    """Choose the first in the order of `by_cost`."""
    return next(iter(by_cost(ways, nodes)), None)


def by_cost(ways: Iterable[Completion], nodes: int) -> list[Completion]:
    """Sort by rank, then by what the missing machines cost in all. Idle ones are paid for either way."""

    def cost(way: Completion) -> tuple[int, int, int, str]:
        return way.rank, max(nodes - way.free, 0) * way.price, way.price, way.cluster.key

    return sorted(ways, key=cost)

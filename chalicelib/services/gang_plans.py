"""What a run on several nodes would get: which clusters can give all of them, for how much, and why others cannot."""

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import cache, partial

from chalicelib.domain.clusters import Cluster, Completion, by_cost, cluster_of
from chalicelib.domain.model import Instance, Offer
from chalicelib.domain.policies import Policies
from chalicelib.services import cluster_choice, gangs
from chalicelib.services.deps import Deps
from chalicelib.services.gangs import Free
from chalicelib.store import instances as store


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """How the nodes would come together in the cluster `key`: `free` idle ones are taken, `missing` ones bought.

    Micro-dollars an hour: `price` of each machine that is bought (None: none is), `total` of all nodes together, idle
    ones included. Where they cannot come together `why` says why not, and there is no price.
    """

    key: str
    free: int
    missing: int
    price: int | None = None
    total: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class GangPlan:
    """The clusters in the order in which they would be tried, then those that are not possible.

    `instances` are the idle ones that the first would give; `offers` those that some cluster's rest is bought from.
    `refusals` say why no cluster is possible, if none is.
    """

    clusters: list[ClusterPlan]
    instances: list[Instance]
    offers: list[Offer]
    total_offers: int
    refusals: list[str]


def plan(
    deps: Deps, project: str, pool: str, policies: Policies, ranked: Iterable[Offer], *, nodes: int, max_offers: int
) -> GangPlan:
    """Look without taking anything, as a placement does: what is idle together comes first, then what is cheapest.

    `ranked` is what may be bought, the best first.
    """
    free = {each.cluster: each for each in gangs.free(deps, project, pool, policies)}
    is_clustered = cache(partial(gangs.is_clustered, deps, project))
    usable, alone = list[Offer](), Counter[str]()
    for offer in ranked:
        if cluster_of(offer, is_clustered) is not None:
            usable.append(offer)
        else:
            alone[offer.backend] += 1
    counts = {cluster: len(each.candidates) for cluster, each in free.items()}
    ways = cluster_choice.completions(deps, project, policies, usable, counts)
    possible = _possible(gangs.complete(deps, project, pool, policies, nodes), free, ways, nodes)
    taken = _taken(free, possible[0], nodes) if possible else []
    instances = [store.get(project, pool, instance_id, consistent=False) for instance_id in taken]
    why, _ = gangs.reasons(deps, project, pool, policies, nodes)
    by_key = {cluster.key: count for cluster, count in counts.items()}
    known = {each.key for each in possible}
    passed_over = {key for key in why if key not in known and by_key.get(key, 0) >= nodes}
    if passed_over:
        why |= _passed_over(deps, project, pool, policies, passed_over)
    impossible = [
        ClusterPlan(key, by_key.get(key, 0), max(nodes - by_key.get(key, 0), 0), why=reason)
        for key, reason in why.items()
        if key not in known
    ]
    refusals = [f"{each.key}: {each.why}" for each in impossible]
    refusals += [f"{name}: {count} offers fit, but its machines are no cluster" for name, count in alone.items()]
    return GangPlan([*possible, *impossible], instances, usable[:max_offers], len(usable), [] if possible else refusals)


def _possible(idle: list[Free], free: dict[Cluster, Free], ways: list[Completion], nodes: int) -> list[ClusterPlan]:
    """The clusters that can give all nodes, in the order in which a placement tries them."""
    found = [ClusterPlan(each.cluster.key, nodes, 0, total=sum(each.prices[:nodes])) for each in idle]
    for way in by_cost(ways, nodes):
        if way.free < nodes:
            there = sum(free[way.cluster].prices) if way.cluster in free else 0
            missing = nodes - way.free
            found.append(ClusterPlan(way.cluster.key, way.free, missing, way.price, there + missing * way.price))
    return found


def _passed_over(deps: Deps, project: str, pool: str, policies: Policies, keys: Set[str]) -> dict[str, str]:
    """Why clusters with enough that is idle give nothing: others have enough that fits better."""
    strict = gangs.verdicts(deps, project, pool, policies)[0]
    return {key: "; ".join(["others fit better", *gangs.told(strict[key])]) for key in keys & strict.keys()}


def _taken(free: dict[Cluster, Free], first: ClusterPlan, nodes: int) -> list[str]:
    """The ids of the idle instances that the first cluster would give."""
    there = next((each for cluster, each in free.items() if cluster.key == first.key), None)
    return [each.instance_id for each in there.candidates[:nodes]] if there else []

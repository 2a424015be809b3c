"""In which cluster a run gets the nodes that are not idle, and what follows when there is none."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from typing import Final

from chalicelib.domain import clusters, searches
from chalicelib.domain.attempts import are_beyond_waiting
from chalicelib.domain.clusters import SOLD_OUT, Cluster, Completion, cluster_of
from chalicelib.domain.errors import NoOffersError, TidepoolError
from chalicelib.domain.model import Offer, Run, RunReason, RunState
from chalicelib.domain.policies import Policies, RetryEvent
from chalicelib.domain.retry import backoff
from chalicelib.services import gang_leftovers, gangs, offers, purchases, run_ends
from chalicelib.services.deps import Deps
from chalicelib.store import runs as store

NOTHING: Final = "no cluster has enough idle instances and no offer fits"

FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(minutes=5)
"""Between two searches through all clusters, where a policy waits for capacity."""


def completions(
    deps: Deps, project: str, policies: Policies, ranked: Iterable[Offer], free: Mapping[Cluster, int]
) -> list[Completion]:
    """How a run could come to its nodes in each cluster where something is offered. `free`: what is idle there."""
    ways: dict[Cluster, Completion] = {}
    is_clustered = cache(partial(gangs.is_clustered, deps, project))
    for offer in ranked:
        cluster = cluster_of(offer, is_clustered)
        if cluster is not None and cluster not in ways:
            rank = SOLD_OUT if offer.availability == offers.STOCKED_OUT else policies.on_demand_first and offer.spot
            ways[cluster] = Completion(cluster, free.get(cluster, 0), offer.price, int(rank))
    return list(ways.values())


def cheapest(deps: Deps, run: Run, policies: Policies, market: offers.Market) -> Completion | None:
    """Where the missing machines cost least, of the clusters that did not fail. None: there is none to be tried."""
    search = run.tries.search
    if search is not None and not search.may_go_on(deps.now()):
        return None
    free = {each.cluster: len(each.candidates) for each in gangs.free(deps, run.project, run.pool, policies)}
    ways = [
        way
        for way in completions(deps, run.project, policies, market.offers, free)
        if search is None or not search.excludes(way.cluster.key)
    ]
    return clusters.cheapest(ways, len(run.jobs))


def none_left(deps: Deps, run: Run, policies: Policies, market: offers.Market) -> Run:
    """No cluster is left that could give the run its nodes: it waits, where its policy does, else it ends."""
    search = run.tries.search
    if _waits_for_capacity(deps, run, policies):
        return _wait_for_capacity(deps, run)
    if purchases.may_pass(deps, run, market):
        return run
    if search is not None and search.failed:
        detail = f"no cluster gave the run its {len(run.jobs)} nodes: {search.explained()}"
        reason = RunReason.PROVISIONING_FAILED
        return run_ends.finish(deps, run, RunState.FAILED, reason, actor="placement", detail=detail)
    return run_ends.refuse(deps, run, RunReason.NO_CAPACITY, _refusal(deps, run, policies, market))


def _refusal(deps: Deps, run: Run, policies: Policies, market: offers.Market) -> TidepoolError:
    """Say why nothing can be bought, and of each cluster of the pool how many of its instances are free."""
    found = market.refusal(NOTHING) or NoOffersError(f"{NOTHING} whose machines reach each other", filters=[])
    if not isinstance(found, NoOffersError):
        return found
    free, _ = gangs.reasons(deps, run.project, run.pool, policies, len(run.jobs))
    why = [*found.context.get("filters", ()), *(f"{key}: {reason}" for key, reason in free.items())]
    return NoOffersError(found.detail, filters=why)


def _wait_for_capacity(deps: Deps, run: Run) -> Run:
    """Hold nothing for a while, and let nothing bill; then every cluster has its turn again."""
    gang_leftovers.clear(deps, run, everywhere=True, actor="placement")
    now = deps.now()
    search = searches.begun(run.tries.search, run.changed_at)
    pause = backoff(search.rounds, base=FIRST_PAUSE, cap=LONGEST_PAUSE, rng=deps.rng)
    why = search.explained() or NOTHING
    return store.step(
        run,
        RunState.SUBMITTED,
        now=now,
        reason=RunReason.NO_CAPACITY,
        actor="placement",
        deadline=now + pause,
        detail=f"waiting for capacity: {why}",
        tries=replace(run.tries, search=search.next_round(now + pause), retry_at=now + pause),
    )


def _waits_for_capacity(deps: Deps, run: Run, policies: Policies) -> bool:
    """Whether the run's policy lets it wait for capacity, counted from when it first looked for a cluster.

    Not for what waiting does not cure, as on one node (`attempts.may_wait`).
    """
    retry, search = policies.retry, run.tries.search
    if retry is None or RetryEvent.NO_CAPACITY not in retry.events:
        return False
    if search is not None and are_beyond_waiting(search.kinds):
        return False
    waited = deps.now() - search.since if search else purchases.waited(deps, run)
    return waited < retry.duration

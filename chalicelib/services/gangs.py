"""Several idle instances of one cluster, held together or not at all.

What is free is looked at cluster by cluster. The cheapest one that has enough is taken in one transaction; who loses to
another looks again, and while it looks nothing is held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from chalicelib import log
from chalicelib.domain import matching
from chalicelib.domain.clusters import Cluster, cluster_of, grouped
from chalicelib.domain.errors import BackendError, LostRaceError, NoMatchError, NotFoundError, UnavailableError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Instance, Offer, Run
from chalicelib.domain.policies import Policies
from chalicelib.services import leases, run_ends, shapes
from chalicelib.services.deps import Deps
from chalicelib.store import gangs as gang_store
from chalicelib.store import instances as store
from chalicelib.store.instances import Candidate

LOOKS: Final = 5
"""How often what is free is looked at again after another was faster."""

READ: Final = 64
"""Candidates of one shape that are read: twice the largest gang, so that two gangs may well miss each other."""

EXPLAINED: Final = 100


@dataclass(frozen=True, slots=True)
class Free:
    """What is idle in one cluster and fits, the cheapest first; `prices` are those of the candidates."""

    cluster: Cluster
    candidates: list[Candidate] = field(default_factory=list)
    prices: list[int] = field(default_factory=list)


def acquire(
    deps: Deps,
    project: str,
    pool: str,
    policies: Policies,
    *,
    nodes: int,
    holder: str,
    duration: timedelta | None = None,
) -> list[Instance]:
    """Take `nodes` idle instances of one cluster; return their rows, each with its own lease.

    The leases are ordinary ones from then on: prolonged and released one by one. Raises `NoMatchError` with the reason
    of each cluster when none has enough.
    """
    duration = leases.check_duration(duration) or deps.settings.lease_for
    for _ in range(LOOKS):
        found = complete(deps, project, pool, policies, nodes)
        if not found:
            raise no_match(deps, project, pool, policies, nodes)
        for each in found:
            try:
                return take(deps, each.candidates[:nodes], holder, duration)
            except LostRaceError:
                log.event("gang-lost-race", cluster=each.cluster.key, nodes=nodes)
    raise LostRaceError("others keep taking the instances of every cluster; ask again")


def take(deps: Deps, candidates: Sequence[Candidate], holder: str, duration: timedelta) -> list[Instance]:
    """Hold all of them, or raise `LostRaceError` and hold none."""
    now = deps.now()
    wanted = [
        leases.new_lease(each.pool, each.instance_id, each.fence + 1, holder, now, now + duration)
        for each in candidates
    ]
    return gang_store.claim(candidates, wanted, now=now, actor=holder)


def complete(deps: Deps, project: str, pool: str, policies: Policies, nodes: int) -> list[Free]:
    """The clusters with enough that is idle, the cheapest first.

    Those whose machines are but taken because they are there (too small, or with GPUs that nobody asked for) come in
    when there is no other.
    """
    for accepted in matching.reuse_passes(policies):
        found = [each for each in _free(deps, project, pool, accepted) if len(each.candidates) >= nodes]
        if found:
            return sorted(found, key=lambda one: (sum(one.prices[:nodes]), deps.rng.random()))
    return []


def free(deps: Deps, project: str, pool: str, policies: Policies) -> list[Free]:
    """What is idle and could be taken, by cluster."""
    return _free(deps, project, pool, matching.reuse_passes(policies)[-1])


def _free(deps: Deps, project: str, pool: str, accepted: Policies) -> list[Free]:
    """What is idle and fits. Equal machines come in an order of chance, so that a crowd spreads out."""
    clusters = grouped(
        shapes.matching_offers(deps, project, pool, accepted, fresh=True),
        lambda name: is_clustered(deps, project, name),
    )
    return [_free_in(deps, project, pool, cluster, offers) for cluster, offers in clusters.items()]


def _free_in(deps: Deps, project: str, pool: str, cluster: Cluster, offers: list[Offer]) -> Free:
    """An index may lag: what changed its shape a moment ago is counted once."""
    found = Free(cluster)
    for offer in offers:
        known = {each.instance_id for each in found.candidates}
        page = store.claimable(project, pool, offer.shape, limit=READ)
        page = [each for each in page if each.instance_id not in known]
        fresh = [each for each in page if each.seen_at and deps.now() - each.seen_at < deps.settings.unreachable_after]
        deps.rng.shuffle(fresh)
        found.candidates.extend(fresh)
        found.prices.extend([offer.price] * len(fresh))
    return found


def is_clustered(deps: Deps, project: str, backend: str) -> bool:
    """Whether machines that a backend rents in one region reach each other.

    One that is gone says nothing any more, and one that cannot be opened now keeps nobody from the others.
    """
    try:
        return deps.backend(project, backend).capabilities.cluster
    except NotFoundError:
        return False
    except (BackendError, UnavailableError) as error:
        log.error("cluster-unknown", backend=backend, detail=error.detail)
        return False


def cluster_key(deps: Deps, row: Instance) -> str:
    """The key of the cluster that an instance is in, or ""."""
    if row.offer is None:
        return ""
    cluster = cluster_of(row.offer, lambda name: is_clustered(deps, row.project, name))
    return cluster.key if cluster else ""


def held(deps: Deps, run: Run) -> list[Instance]:
    """What a run took for its present placement before its process died: all of one cluster, by id.

    What it had before it was last taken from its machines is not its own any more; its agents give that back.
    """
    holder, cursor, found = run_ends.holder(run.run_id), None, list[Instance]()
    while True:
        page, cursor = store.live(run.project, run.pool, limit=EXPLAINED, cursor=cursor)
        found += [row for row in page if row.state is State.BUSY and row.lease and row.lease.holder == holder]
        if cursor is None:
            break
    fresh = [row for row in found if not row.interrupted and is_of_placement(run, row)]
    clusters = [cluster_key(deps, row) for row in fresh]
    return [row for row, key in zip(fresh, clusters, strict=True) if key and key == clusters[0]]


def is_of_placement(run: Run, row: Instance) -> bool:
    """Whether an instance that a run holds was taken since the run waits to be placed."""
    return row.lease is not None and row.lease.acquired_at >= run.changed_at


def no_match(deps: Deps, project: str, pool: str, policies: Policies, nodes: int) -> NoMatchError:
    """Refuse with what `reasons` says."""
    said, more = reasons(deps, project, pool, policies, nodes)
    text = f"no cluster of pool {pool!r} has {nodes} idle instances that match"
    return NoMatchError(text if said else f"pool {pool!r} has no instances", reasons=said, complete=not more)


def reasons(deps: Deps, project: str, pool: str, policies: Policies, nodes: int) -> tuple[dict[str, str], bool]:
    """Say for each cluster of the pool how many of its instances are free, and why the others are not.

    True: the pool has more instances than were looked at.
    """
    found, more = verdicts(deps, project, pool, matching.reuse_passes(policies)[-1])
    return {key: _reason(said, nodes) for key, said in found.items()}, more


def verdicts(deps: Deps, project: str, pool: str, accepted: Policies) -> tuple[dict[str, dict[str, str]], bool]:
    """Say for each cluster of the pool what is wrong with each of its instances, or "". True as for `reasons`."""
    live, more = store.live(project, pool, limit=EXPLAINED, cursor=None)
    now, fresh_for = deps.now(), deps.settings.unreachable_after
    found: dict[str, dict[str, str]] = {}
    for row in live:
        key = cluster_key(deps, row)
        verdict = matching.instance_verdict(accepted, row, now=now, fresh_for=fresh_for) or ""
        found.setdefault(key or f"{row.name}: no cluster", {})[row.name] = verdict
    return found, more is not None


def told(verdicts: Mapping[str, str]) -> list[str]:
    """Put what is wrong with the instances of one cluster into words."""
    return [f"{name}: {verdict}" for name, verdict in verdicts.items() if verdict]


def _reason(verdicts: Mapping[str, str], nodes: int) -> str:
    count = sum(1 for verdict in verdicts.values() if not verdict)
    return "; ".join([f"{count} of {nodes} nodes free", *told(verdicts)])

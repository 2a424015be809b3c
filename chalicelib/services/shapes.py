"""Which shapes of a pool a request may take, best first, remembered for a few seconds."""

from datetime import datetime, timedelta
from typing import Final

from chalicelib.domain import matching
from chalicelib.domain.model import Offer
from chalicelib.domain.policies import Policies
from chalicelib.services.deps import Deps
from chalicelib.store import pools as store

REMEMBERED: Final = timedelta(seconds=5)
"""How old a pool's shapes may be on the quick path. A stale answer costs one more look, never a wrong lease."""

_seen: dict[tuple[str, str], tuple[datetime, list[Offer]]] = {}


def matching_offers(deps: Deps, project: str, pool: str, policies: Policies, *, fresh: bool) -> list[Offer]:
    """Return the matching shapes of a pool in the order of reuse: price, tightest fit. `fresh` reads the table.

    Raises `NotFoundError` for an unknown pool.
    """
    key = (project, pool)
    known = _seen.get(key)
    if fresh or known is None or deps.now() - known[0] > REMEMBERED:
        _, entries = store.directory(project, pool)
        known = (deps.now(), [entry.offer for entry in entries])
        _seen[key] = known
    return matching.rank(policies, known[1])

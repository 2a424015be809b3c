"""What the configured backends would rent for a request, best first."""

from dataclasses import dataclass

from chalicelib import log
from chalicelib.domain import matching
from chalicelib.domain.errors import BackendError
from chalicelib.domain.model import Offer
from chalicelib.domain.policies import Policies
from chalicelib.services.deps import Deps


@dataclass(frozen=True, slots=True)
class Market:
    """The offers that match, best first; when there are none, `filters` says what removed the last ones."""

    offers: list[Offer]
    filters: list[str]


def market(deps: Deps, policies: Policies) -> Market:
    """Ask every configured backend that the request allows. A backend that fails is skipped, and said."""
    everything: list[Offer] = []
    filters: list[str] = []
    for name in deps.backend_names():
        if policies.backends and name not in policies.backends:
            continue
        try:
            everything.extend(deps.backend(name).offers())
        except BackendError as error:
            log.error("offers-failed", backend=name, kind=error.kind, detail=error.detail)
            filters.append(f"backend {name} did not answer: {error.detail}")
    ranked = matching.rank(policies, everything)
    if not ranked:
        filters.extend(matching.last_filter(policies, everything))
    return Market(ranked, filters)

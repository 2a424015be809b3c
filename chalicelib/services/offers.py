"""What the configured backends would rent for a request, best first."""

from dataclasses import dataclass, field

from chalicelib import log
from chalicelib.domain import matching
from chalicelib.domain.errors import BackendError, NoOffersError, TidepoolError, UnavailableError, UnknownOutcomeError
from chalicelib.domain.model import Offer
from chalicelib.domain.policies import Policies
from chalicelib.services.deps import Deps


@dataclass(frozen=True, slots=True)
class Market:
    """The offers that match, best first; when there are none, `filters` says what removed the last ones.

    `failed` says of each backend that gave no offers why; `passing` whether one of them may answer a moment later.
    """

    offers: list[Offer]
    filters: list[str]
    failed: list[str] = field(default_factory=list)
    passing: bool = False

    def refusal(self, text: str) -> TidepoolError | None:
        """What to say when there is nothing, or None: no answer is not the same as nothing that fits."""
        if self.offers:
            return None
        if self.passing:
            return UnavailableError("; ".join(self.failed))
        return NoOffersError("; ".join([text, *self.failed]), filters=[*self.failed, *self.filters])


def market(deps: Deps, project: str, policies: Policies) -> Market:
    """Ask every backend of a project that the request allows. A backend that fails is skipped, and said."""
    everything: list[Offer] = []
    failed: list[str] = []
    passing = False
    for name in deps.backend_names(project):
        if policies.backends and name not in policies.backends:
            continue
        try:
            everything.extend(deps.backend(project, name).offers())
        except BackendError as error:
            log.error("offers-failed", backend=name, kind=error.kind, detail=error.detail)
            failed.append(f"backend {name} did not answer: {error.detail}")
            passing = passing or error.retryable or isinstance(error, UnknownOutcomeError)
    ranked = matching.rank(policies, everything)
    return Market(ranked, [] if ranked or failed else matching.last_filter(policies, everything), failed, passing)

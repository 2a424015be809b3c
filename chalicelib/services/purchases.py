"""What is bought for a run: from which offers, and how long one waits for a backend that does not answer."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from chalicelib.domain.model import Run
from chalicelib.domain.policies import Policies
from chalicelib.domain.retry import window_closes_at
from chalicelib.services import offers
from chalicelib.services.deps import Deps

PASSING: Final = timedelta(minutes=10)
"""How long a run waits for a backend that does not answer; its `placement` timer asks again."""

SPOT_LOSSES: Final = 2
"""How often a run may lose its machine before it is given one that its provider does not take back."""


def preferred(deps: Deps, run: Run, policies: Policies) -> tuple[Policies, offers.Market]:
    """What a run accepts of an instance that is bought for its present try, and what there is of that."""
    accepts = accepted(deps, run, policies)
    return accepts, offers.market(deps, run.project, accepts)


def accepted(deps: Deps, run: Run, policies: Policies) -> Policies:
    """What a run accepts of an instance that is bought for its present try.

    One that lost spot machines twice prefers one that stays: which kind is cheaper is what `auto` leaves open, and what
    a run does again costs too. A further try waits for capacity no longer than its window lasts.
    """
    closes_at, retry = window_closes_at(policies.retry, run.tries), policies.retry
    if retry is not None and closes_at is not None:
        retry = replace(retry, duration=closes_at - deps.now())
    return replace(policies, retry=retry, on_demand_first=run.tries.interruptions >= SPOT_LOSSES)


def waited(deps: Deps, run: Run) -> timedelta:
    """How long a run has been waiting to be placed."""
    return deps.now() - max(run.changed_at, run.tries.retry_at or run.changed_at)


def may_pass(deps: Deps, run: Run, market: offers.Market) -> bool:
    """Whether nothing is offered because a backend does not answer, and not for long yet."""
    return market.passing and waited(deps, run) < PASSING

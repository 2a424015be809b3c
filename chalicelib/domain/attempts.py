"""Which offer to try next, whether to wait for capacity, and how to say why nothing was found."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from chalicelib.domain.model import Attempt, AttemptState, Offer
from chalicelib.domain.policies import Policies, RetryEvent

ATTEMPT_LIMIT: Final = 25
"""Launches tried in one pass over the offers."""

PREFERRED_LIMIT: Final = 12
"""Launches of a pass that go to what a request prefers before what it accepts as well has its turn."""

TRIES: Final = {"transient": 3, "throttled": 8, "unknown": 2}
"""How often one offer may be tried in a pass, by the class of its refusals; once where the class is not named."""

BACKEND_OUT: Final = frozenset({"auth", "balance"})

SILENT: Final = "provisioning-deadline"
"""The kind of an attempt whose machine came and whose agent never reported."""

SILENT_LIMIT: Final = 3
"""Machines that may come without their agent reporting before a request is given up: each of them was paid for until
its deadline, and what keeps an agent from reporting (an image, a network, the API's address) is seldom the machine."""

BEYOND_WAITING: Final = BACKEND_OUT | {"invalid", SILENT}
"""What waiting for capacity does not cure."""

KEPT: Final = 100
"""Attempts of one request that are kept. One that waits for capacity for a day makes thousands."""


def next_offer(ranked: Iterable[Offer], tried: Sequence[Attempt]) -> Offer | None:
    """Choose the first of the ranked offers that this pass may still try, or None; the rest is not taken.

    `tried` are the attempts of this pass. Wrong credentials or an empty account take the whole backend out, a quota
    takes its type out in that region, an error in passing leaves the offer in for a few more tries.
    """
    if len(tried) >= ATTEMPT_LIMIT:
        return None
    backends_out = {attempt.offer.backend for attempt in tried if attempt.kind in BACKEND_OUT}
    types_out = {_sort(attempt.offer) for attempt in tried if attempt.kind == "quota"}
    counts = Counter(attempt.offer.key for attempt in tried)
    last_kind = {attempt.offer.key: attempt.kind for attempt in tried}
    for offer in ranked:
        if offer.backend in backends_out or _sort(offer) in types_out:
            continue
        if counts[offer.key] < (TRIES.get(last_kind[offer.key], 1) if offer.key in last_kind else 1):
            return offer
    return None


def preferring(policies: Policies, tried: Sequence[Attempt]) -> Policies:
    """What a request still prefers after the attempts of this pass. On-demand offers that are all sold out must not
    use up a pass that spot offers could serve."""
    return policies if len(tried) < PREFERRED_LIMIT else replace(policies, on_demand_first=False)


def _sort(offer: Offer) -> tuple[str, str, str, bool]:
    """What a quota is believed to be about. Providers count by families of types, which each names in its own way."""
    return offer.backend, offer.region, offer.instance_type, offer.spot


def may_wait(policies: Policies, tried: Sequence[Attempt], *, created_at: datetime, now: datetime) -> bool:
    """Say whether the retry policy lets the request wait for capacity once more. `tried`: the attempts of this pass."""
    if policies.retry is None or RetryEvent.NO_CAPACITY not in policies.retry.events:
        return False
    return not are_beyond_waiting([attempt.kind for attempt in tried]) and now < created_at + policies.retry.duration


def are_beyond_waiting(kinds: Sequence[str]) -> bool:
    """Whether refusals of these kinds are all such that waiting for capacity does not cure."""
    return bool(kinds) and all(kind in BEYOND_WAITING for kind in kinds)


def telling(tried: Iterable[Attempt]) -> str:
    """The kind of the refusal that says what could cure them all: the first that may pass by waiting, else any."""
    kinds = [attempt.kind for attempt in tried]
    return next((kind for kind in kinds if kind not in BEYOND_WAITING), kinds[0] if kinds else "")


def too_silent(attempts: Sequence[Attempt]) -> str:
    """Say why a request should buy no further machine although there are offers, or ""."""
    silent = [attempt for attempt in attempts if attempt.kind == SILENT]
    if len(silent) < SILENT_LIMIT:
        return ""
    return (
        f"{len(silent)} machines came and the agent of none reported, the last one on {_offer_text(silent[-1].offer)}: "
        "look at the image, and whether machines there reach the API"
    )


def foldable(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Choose the attempts that need not be kept: of those that made nothing, all but the newest."""
    return [a for a in attempts[:-KEPT] if a.state is AttemptState.REFUSED and not a.machine_ref]


def summary(attempts: Sequence[Attempt], filters: Sequence[str], folded: Mapping[str, int] | None = None) -> str:
    """Say in one line why nothing was found: each attempt with its class, or what removed the last offers.

    `folded` counts the attempts that are not kept any more, by class.
    """
    refused = [attempt for attempt in attempts if attempt.state is not AttemptState.INTENT]
    if not refused:
        return "no offers: " + ("; ".join(filters) if filters else "no backend offers anything that fits")
    kinds = Counter(attempt.kind or "unknown" for attempt in refused) + Counter(folded or {})
    counted = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
    last = refused[-1]
    count = kinds.total()
    attempts_failed = "1 attempt" if count == 1 else f"{count} attempts"
    return f"{attempts_failed} failed ({counted}); last: {_offer_text(last.offer)}: {last.detail or last.kind}"


def _offer_text(offer: Offer) -> str:
    """An offer as people name it."""
    return f"{offer.backend} {offer.region} {offer.instance_type}{', spot' if offer.spot else ''}"

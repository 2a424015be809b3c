"""Which offer to try next, whether to wait for capacity, and how to say why nothing was found."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from chalicelib.domain.model import Attempt, AttemptState, Offer
from chalicelib.domain.policies import Policies, RetryEvent

ATTEMPT_LIMIT: Final = 25
"""Launches tried in one pass over the offers."""

TRIES: Final = {"transient": 3, "throttled": 8, "unknown": 2}
"""How often one offer may be tried in a pass, by the class of its refusals; once where the class is not named."""

BACKEND_OUT: Final = frozenset({"auth", "balance"})


def next_offer(ranked: Iterable[Offer], tried: Sequence[Attempt]) -> Offer | None:
    """Choose the first of the ranked offers that this pass may still try, or None; the rest is not taken.

    `tried` are the attempts of this pass. Wrong credentials or an empty account take the whole backend out, a quota
    takes its region out, an error in passing leaves the offer in for a few more tries.
    """
    if len(tried) >= ATTEMPT_LIMIT:
        return None
    backends_out = {attempt.offer.backend for attempt in tried if attempt.kind in BACKEND_OUT}
    regions_out = {(a.offer.backend, a.offer.region, a.offer.spot) for a in tried if a.kind == "quota"}
    counts = Counter(attempt.offer.key for attempt in tried)
    last_kind = {attempt.offer.key: attempt.kind for attempt in tried}
    for offer in ranked:
        if offer.backend in backends_out or (offer.backend, offer.region, offer.spot) in regions_out:
            continue
        if counts[offer.key] < (TRIES.get(last_kind[offer.key], 1) if offer.key in last_kind else 1):
            return offer
    return None


def may_wait(policies: Policies, attempts: Sequence[Attempt], *, created_at: datetime, now: datetime) -> bool:
    """Say whether the retry policy lets the request wait for capacity once more."""
    if policies.retry is None or RetryEvent.NO_CAPACITY not in policies.retry.events:
        return False
    hopeless = attempts and all(attempt.kind in {*BACKEND_OUT, "invalid"} for attempt in attempts)
    return not hopeless and now < created_at + policies.retry.duration


def summary(attempts: Sequence[Attempt], filters: Sequence[str]) -> str:
    """Say in one line why nothing was found: each attempt with its class, or what removed the last offers."""
    refused = [attempt for attempt in attempts if attempt.state is not AttemptState.INTENT]
    if not refused:
        return "no offers: " + ("; ".join(filters) if filters else "no backend offers anything that fits")
    kinds = Counter(attempt.kind or "unknown" for attempt in refused)
    counted = ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items()))
    last = refused[-1]
    attempts_failed = "1 attempt" if len(refused) == 1 else f"{len(refused)} attempts"
    return f"{attempts_failed} failed ({counted}); last: {last.offer.key}: {last.detail or last.kind}"

"""Waiting before another try: exponential, capped, with full jitter."""

from datetime import timedelta
from random import Random
from typing import Final

_MOST_DOUBLINGS: Final = 64
"""Beyond this the cap holds whatever the base is; without the bound a large attempt would overflow."""


def backoff(attempt: int, *, base: timedelta, cap: timedelta, rng: Random) -> timedelta:
    """Return the wait after failed attempt number `attempt`, which counts from 0.

    The bound doubles with each attempt from `base` to `cap`. The wait is a random part of it, at least half, so that
    a crowd that failed together does not return together and nobody returns at once.
    """
    if attempt < 0 or base <= timedelta(0) or cap < base:
        raise ValueError(f"backoff needs attempt >= 0 and 0 < base <= cap, not {attempt}, {base}, {cap}")
    bound = min(cap.total_seconds(), base.total_seconds() * 2 ** min(attempt, _MOST_DOUBLINGS))
    return timedelta(seconds=bound * (0.5 + rng.random() / 2))

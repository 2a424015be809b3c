"""Sharing a launch rate: a token bucket for everybody, and a queue in the order in which machines were needed.

A request takes a token only when enough are there for all that wait before it, so a late-comer never overtakes by luck.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Bucket:
    """`tokens` launches could be made at `at`. A moment in the future means that nothing may be launched until then."""

    tokens: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a launch may be made now (`bucket` is what is left then), else how long to wait before asking again."""

    bucket: Bucket | None
    wait: timedelta = timedelta()


def full(burst: int, now: datetime) -> Bucket:
    """The bucket of an account that nobody has launched at yet."""
    return Bucket(float(burst), now)


def turn(bucket: Bucket, *, per_s: float, burst: int, ahead: int, now: datetime) -> Turn:
    """Decide on one request that `ahead` others wait before.

    A clock that went back gives no tokens and takes none.
    """
    elapsed_s = (now - bucket.at).total_seconds()
    tokens = min(float(burst), bucket.tokens + max(0.0, elapsed_s) * per_s)
    missing = ahead + 1 - tokens
    if elapsed_s < 0 or missing > 0:
        return Turn(None, timedelta(seconds=max(0.0, -elapsed_s) + max(0.0, missing) / per_s))
    return Turn(Bucket(tokens - 1, now))


def closed(bucket: Bucket, *, until: datetime) -> Bucket:
    """What a provider's "slow down" makes of a bucket: empty, and closed until then or longer."""
    return Bucket(0.0, max(bucket.at, until))

"""Trying again: whether a run that failed is begun once more, when, and how long to wait between tries."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Final

from chalicelib.domain.model import Run, RunReason, Tries
from chalicelib.domain.policies import RetryEvent, RetryPolicy

EVENTS: Final[Mapping[RunReason, RetryEvent]] = {
    RunReason.INTERRUPTED: RetryEvent.INTERRUPTION,
    RunReason.MACHINE_LOST: RetryEvent.INTERRUPTION,
    RunReason.EXITED_NON_ZERO: RetryEvent.ERROR,
    RunReason.START_FAILED: RetryEvent.ERROR,
}
"""What a policy calls the ends of a try that may be followed by another. What a user did is none of them."""

FIRST_PAUSE: Final = timedelta(seconds=30)
"""The bound of the first pause after a failed job. `backoff` waits at least half of it: 15 s."""

LONGEST_PAUSE: Final = timedelta(minutes=5)

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


def next_try(
    policy: RetryPolicy | None, run: Run, reason: RunReason, *, failure: str, now: datetime, rng: Random
) -> Tries | None:
    """Return what the run's tries become when the present one ends for `reason`, or None: the run is over.

    The policy's duration counts from the first failure of a series, and a try begins within it or not at all. A try
    that ran for at least as long has shown that it can work: its failure is the first of a new series. A machine that
    was taken is replaced at once; a job that failed gets a pause, so that what it met may pass.
    """
    event = EVENTS.get(reason)
    if policy is None or event not in policy.events:
        return None
    tries = run.tries
    lasted = tries.began_at is not None and now - tries.began_at >= policy.duration
    since = now if tries.since is None or lasted else tries.since
    failures = 0 if since == now else tries.failures
    pause = timedelta()
    if event is RetryEvent.ERROR:
        pause = backoff(failures, base=FIRST_PAUSE, cap=LONGEST_PAUSE, rng=rng)
    further = replace(
        tries,
        number=tries.number + 1,
        began_at=None,
        since=since,
        failures=failures + 1,
        interruptions=tries.interruptions + (reason is RunReason.INTERRUPTED),
        last_failure=failure,
        retry_at=now + pause,
        placements=run.placements,
        search=None,
    )
    closes_at = window_closes_at(policy, further)
    return None if closes_at is None or now + pause > closes_at else further


class _Least(Random):
    """Draws what makes every pause the shortest one."""

    def random(self) -> float:
        return 0.0


def may_follow(policy: RetryPolicy | None, run: Run, reason: RunReason, *, now: datetime) -> bool:
    """Say whether a further try could follow if the present one ended for `reason`, however long its pause turns out.

    Near the end of the window the pause decides, and that is chance: drawn twice it may answer both ways.
    """
    return next_try(policy, run, reason, failure="", now=now, rng=_Least()) is not None


def window_closes_at(policy: RetryPolicy | None, tries: Tries) -> datetime | None:
    """Return until when a further try may be given a machine; None for a first try, which waits as any request does."""
    if policy is None or tries.since is None:
        return None
    return tries.since + policy.duration

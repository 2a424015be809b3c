"""Whose turn it is to launch: one rate for all workers that rent from an account in a region, in the order of need."""

import math
from datetime import timedelta
from typing import Final

from chalicelib import log
from chalicelib.backends.base import Backend
from chalicelib.domain import launch_rate
from chalicelib.domain.model import Instance, Offer
from chalicelib.services.deps import Deps
from chalicelib.store import market as store

RACES: Final = 3
"""How often a worker that lost a token to another one looks again before it waits."""

LATE: Final = timedelta(seconds=30)
"""How long after it should have asked again a request keeps its place: its worker may be dead."""

SLOW_DOWN: Final = timedelta(seconds=2)
"""How long nothing is launched after a provider asked to slow down and named no time itself."""

LONGEST_PAUSE: Final = timedelta(minutes=5)
"""The longest that a provider's "come again later" is believed: the next launch asks again."""


def wait_s(deps: Deps, backend: Backend, row: Instance, offer: Offer) -> int:
    """Take a turn: 0 means launch now; else wait that many seconds and ask again, without losing the place.

    A turn that was taken and not used, because its worker died, costs the others a moment and nothing else.
    """
    rate = backend.capabilities.launches
    if rate is None:
        return 0
    scope, place = _scope(row, offer), _place(row)
    wait = timedelta(seconds=1)
    for _ in range(RACES):
        now = deps.now()
        seen = store.bucket(scope)
        ahead = store.ahead(scope, place, now)
        bucket = seen or launch_rate.full(rate.burst, now)
        turn = launch_rate.turn(bucket, per_s=rate.per_s, burst=rate.burst, ahead=ahead, now=now)
        wait = turn.wait
        if turn.bucket is None:
            break
        if store.put_bucket(scope, seen, turn.bucket):
            store.leave(scope, place)
            return 0
    seconds = max(1, math.ceil(wait.total_seconds()))
    store.queue(scope, place, until=deps.now() + timedelta(seconds=seconds) + LATE)
    log.event("launch-queued", instance=row.instance_id, scope=scope, wait_s=seconds)
    return seconds


def slow_down(deps: Deps, backend: Backend, row: Instance, offer: Offer, seconds: float | None = None) -> None:
    """Close the limit for everybody after the provider asked to slow down, for the time that it named if it did."""
    if backend.capabilities.launches is None:
        return
    now = deps.now()
    scope = _scope(row, offer)
    seen = store.bucket(scope)
    bucket = seen or launch_rate.Bucket(0.0, now)
    pause = SLOW_DOWN if seconds is None else min(timedelta(seconds=seconds), LONGEST_PAUSE)
    store.put_bucket(scope, seen, launch_rate.closed(bucket, until=now + pause))
    store.queue(scope, _place(row), until=now + pause + LATE)  # it was its turn, and still is


def _place(row: Instance) -> str:
    """Where a request stands in the queue: places sort by when the machine was needed."""
    return row.created_at.isoformat(timespec="milliseconds") + row.instance_id


def _scope(row: Instance, offer: Offer) -> str:
    return f"{row.project}/{offer.backend}/{offer.region}"

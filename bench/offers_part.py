"""Measures the index of offers: `python -m bench.offers_part matching COUNT ROUNDS`, or `ready COUNT`."""

import sys
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from bench import market
from bench.quiet import answer
from chalicelib.catalog.codec import pack, unpack
from chalicelib.domain.offer_index import OfferIndex
from chalicelib.domain.policies import Policies
from tests.builders import NOW

TAKEN: Final = 10


def matching(count: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of each request: its first offers, all of them (made before, and made anew), the mere number."""
    index = OfferIndex.of(market.offers(count))
    measured: dict[str, Any] = {"found": {}, "first": {}, "all": {}, "anew": {}, "count": {}}
    for name, (policies, _) in market.REQUESTS.items():
        measured["found"][name] = len(list(index.matches(policies)))
        asked: dict[str, Callable[[], Any]] = {
            "first": lambda wanted=policies: list(islice(index.matches(wanted), TAKEN)),
            "all": lambda wanted=policies: list(index.matches(wanted)),
            "count": lambda wanted=policies: index.count(wanted),
        }
        for what, ask in asked.items():
            ask()
            measured[what][name] = [_millis(ask) for _ in range(rounds)]
        measured["anew"][name] = [_anew(index, policies) for _ in range(rounds)]
    return measured


def _anew(index: OfferIndex, policies: Policies) -> float:
    """All matches of an index that has made no offer yet."""
    fresh = OfferIndex(index.prices, index.columns)
    return _millis(lambda: list(fresh.matches(policies)))


def ready(count: int) -> dict[str, Any]:
    """Milliseconds from packed bytes to an answer, once, in a process that has read no catalog before."""
    data = pack(market.offers(count), fetched_at=NOW, source="bench")
    policies, _ = next(iter(market.REQUESTS.values()))
    took = _millis(lambda: list(islice(unpack(data).index.matches(policies), TAKEN)))
    return {"ms": took, "bytes": len(data)}


def _millis(ask: Callable[[], Any]) -> float:
    started = time.perf_counter()
    ask()
    return (time.perf_counter() - started) * 1e3


if __name__ == "__main__":
    answer({"matching": matching, "ready": ready}[sys.argv[1]](*map(int, sys.argv[2:])))

"""What the configured backends would rent for a request, best first, and how far its prices can be believed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from heapq import merge
from itertools import chain
from typing import Final

from chalicelib import log
from chalicelib.backends.base import Backend
from chalicelib.domain import matching
from chalicelib.domain.errors import (
    BackendError,
    NoOffersError,
    NotFoundError,
    TidepoolError,
    UnavailableError,
    UnknownOutcomeError,
)
from chalicelib.domain.matching import Tally, add_tally
from chalicelib.domain.model import Offer
from chalicelib.domain.offer_index import OfferIndex
from chalicelib.domain.policies import Policies
from chalicelib.services import backends, catalog, stock_outs
from chalicelib.services.deps import Deps

STOCKED_OUT: Final = "stocked-out"
"""`Offer.availability` of what was refused for want of capacity a moment ago."""

SLACK: Final = timedelta(seconds=1)
"""How much longer than its time limit a backend is waited for."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The offers that match, best first; those that were sold out a moment ago (`cooled`, by key) after all others.

    They are found as they are taken, each time anew, and counted only when that is asked.
    """

    policies: Policies
    indexes: tuple[OfferIndex, ...]
    cooled: Mapping[str, datetime] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Offer]:
        last: list[Offer] = []
        for offer in chain.from_iterable(map(self._in_order, matching.offer_passes(self.policies))):
            if self.cooled and offer.key in self.cooled:
                last.append(replace(offer, availability=STOCKED_OUT))
            else:
                yield offer
        yield from last

    def _in_order(self, policies: Policies) -> Iterator[Offer]:
        found = [index.matches(policies) for index in self.indexes]
        return found[0] if len(found) == 1 else merge(*found, key=matching.order)

    def __len__(self) -> int:
        return sum(index.count(self.policies) for index in self.indexes)

    def __bool__(self) -> bool:
        return any(True for index in self.indexes for _ in index.matches(self.policies))

    def explain(self) -> list[str]:
        """Say what removed the last offers; empty when some match."""
        found: dict[int, Tally] = {}
        for index in self.indexes:
            for refused, more in index.tally(self.policies).items():
                add_tally(found, refused, more)
        return matching.explanation(self.policies, found)


@dataclass(frozen=True, slots=True)
class Market:
    """What there is for a request.

    `failed` says of each backend that gave no offers why, `passing` whether one of them may answer a moment later,
    `notes` how old prices are.
    """

    offers: Ranked
    failed: list[str] = field(default_factory=list)
    passing: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def filters(self) -> list[str]:
        """Where nothing matches and every backend answered: what removed the last offers."""
        return [] if self.failed or self.offers else self.offers.explain()

    def refusal(self, text: str) -> TidepoolError | None:
        """What to say when there is nothing, or None: no answer is not the same as nothing that fits."""
        if self.offers:
            return None
        if self.passing:
            return UnavailableError("; ".join(self.failed))
        return NoOffersError("; ".join([text, *self.failed]), filters=[*self.failed, *self.filters])


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one backend came to: its offers with a note, or why there are none."""

    index: OfferIndex | None = None
    note: str = ""
    failure: str = ""
    passing: bool = False


def market(deps: Deps, project: str, policies: Policies) -> Market:
    """Look at every backend of a project that the request allows: ask it where it is quick, else read its catalog.

    A backend that fails, or does not answer within its time limit, is skipped, and said.
    """
    there = deps.backend_names(project)
    names = [name for name in there if not policies.backends or name in policies.backends]
    unknown = [name for name in policies.backends if name not in there]
    answers = _together(deps, project, names)
    indexes = tuple(each.index for each in answers if each.index is not None)
    return Market(
        Ranked(policies, indexes, stock_outs.cooled(deps, project)),
        [*_no_such(unknown, there), *(each.failure for each in answers if each.failure)],
        any(each.passing for each in answers),
        [each.note for each in answers if each.note],
    )


def _no_such(unknown: Sequence[str], there: Sequence[str]) -> list[str]:
    return [f"there is no backend {name}; the project has {', '.join(there) or 'none'}" for name in unknown]


def _together(deps: Deps, project: str, names: Sequence[str]) -> list[_Answer]:
    """Every backend's answer, in the order of the names. Those that are asked live are asked at the same time."""
    answers: dict[str, _Answer] = {}
    live: dict[str, Backend] = {}
    for name in names:
        answers[name] = _guarded(name, partial(_looked_up, deps, project, name, live))
    if len(live) == 1:
        ((name, backend),) = live.items()
        answers[name] = _guarded(name, partial(_offered, backend))
    elif live:
        answers |= _asked(live)
    return [answers[name] for name in names]


def _looked_up(deps: Deps, project: str, name: str, live: dict[str, Backend]) -> _Answer:
    """The offers of a backend that has a catalog; one that is to be asked is put with the others that are."""
    backend = deps.backend(project, name)
    if backend.capabilities.live_offers:
        live[name] = backend
        return _Answer()
    record = backends.get(deps, project, name)
    config = record.config
    stock = catalog.catalog_of(
        deps,
        project,
        name,
        record.kind,
        config.get("regions", ()),
        disk_gb=config.get("disk_gb"),
        since=record.created_at,
    )
    return _Answer(stock.index, stock.note)


def _asked(live: Mapping[str, Backend]) -> dict[str, _Answer]:
    """Ask several at once, and wait for none of them longer than the most patient may take."""
    threads = ThreadPoolExecutor(len(live), thread_name_prefix="offers")
    limit = max(backend.capabilities.call_timeout for backend in live.values()) + SLACK
    try:
        asked = {
            name: threads.submit(copy_context().run, _guarded, name, partial(_offered, backend))
            for name, backend in live.items()
        }
        wait(asked.values(), timeout=limit.total_seconds())
        return {name: each.result() if each.done() else _silent(name, limit) for name, each in asked.items()}
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _offered(backend: Backend) -> _Answer:
    return _Answer(OfferIndex.of(backend.offers()))


def _silent(name: str, limit: timedelta) -> _Answer:
    detail = f"no answer within {limit.total_seconds():.0f} s"
    log.error("offers-failed", backend=name, kind="transient", detail=detail)
    return _Answer(failure=f"backend {name} did not answer: {detail}", passing=True)


def _guarded(name: str, ask: Callable[[], _Answer]) -> _Answer:
    """One backend's answer; whatever goes wrong in its driver is its own failure and nobody else's."""
    try:
        return ask()
    except BackendError as error:
        log.error("offers-failed", backend=name, kind=error.kind, detail=error.detail)
        passing = error.retryable or isinstance(error, UnknownOutcomeError)
        return _Answer(failure=f"backend {name} did not answer: {error.detail}", passing=passing)
    except NotFoundError:
        return _Answer(failure=f"backend {name} was removed meanwhile")
    except Exception as error:  # noqa: BLE001 - what nobody foresaw in one driver must not hide the others' offers
        log.error("offers-failed", error, backend=name)
        return _Answer(failure=f"backend {name} failed: {error!r}")

"""Catalogs made anew, by schedule: the regions of each account are asked side by side, and each that answered counts.

What one look does not get through is not lost: the account that was begun the longest ago comes first, of an account
the regions that are missing or oldest, and what was collected is stored beside what is good of the former catalog.
"""

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event, Lock
from typing import Final

from chalicelib import log
from chalicelib.backends.base import Part
from chalicelib.catalog.codec import CatalogError, pack, unpack
from chalicelib.domain.accounts import BackendRecord
from chalicelib.domain.errors import TidepoolError
from chalicelib.domain.model import Offer
from chalicelib.services import backends
from chalicelib.services.catalog import REFRESH, own_key, progress_key
from chalicelib.services.deps import Deps
from chalicelib.store import pools as pool_store

AT_ONCE: Final = 8
"""Regions asked at the same time, of all accounts together; each waits for its provider nearly always."""

NEVER: Final = datetime.min.replace(tzinfo=UTC)

WHOLE: Final = ""
"""Stands for the region of an account that has none."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one account: `offers` are stored now, `failure` says why more were not, or why none."""

    project: str
    backend: str
    offers: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of earlier looks: when the account was last begun, and from when each region's offers are."""

    tried_at: datetime = NEVER
    done: dict[str, datetime] = field(default_factory=dict)


@dataclass(slots=True)
class _Work:
    """An account with regions that are due, and what came of them. `kept`: regions whose former offers are good."""

    record: BackendRecord
    now: datetime
    tried_at: datetime
    due: list[str]
    kept: dict[str, datetime]
    found: dict[str, list[Offer]] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    guard: Lock = field(default_factory=Lock)
    begun: bool = False

    @property
    def is_complete(self) -> bool:
        return len(self.found) + len(self.failures) == len(self.due)


def refresh_due(deps: Deps, *, until: datetime) -> list[Report]:
    """Refresh what is missing, older than `REFRESH`, or older than its account's configuration.

    One account that fails or hangs stops no other. `until` then everything that was collected is stored, and whoever
    still collects is told to stop.
    """
    due = [work for project in pool_store.projects() for work in _due(deps, project)]
    due.sort(key=lambda work: work.tried_at)
    over = Event()
    threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="catalog")
    reports = []
    try:
        asked = {
            threads.submit(copy_context().run, _collected, deps, work, region, over.is_set): (work, region)
            for work in due
            for region in work.due
        }
        for answer in as_completed(asked, timeout=max(0.0, (until - deps.now()).total_seconds())):
            work, region = asked[answer]
            _take(work, region, answer)
            if work.is_complete:
                reports.append(_finished(deps, work))
    except TimeoutError:
        reports += [_finished(deps, work) for work in due if not work.is_complete]
    finally:
        over.set()
        threads.shutdown(wait=False, cancel_futures=True)
    return sorted(reports, key=lambda each: (each.project, each.backend))


def _due(deps: Deps, project: str) -> list[_Work]:
    try:
        found = [_work(deps, record) for record in backends.list_backends(deps, project) if not record.closed]
    except Exception as error:  # noqa: BLE001 - one project that cannot be read stops no other
        log.error("catalog-failed", error, project=project)
        return []
    return [work for work in found if work is not None and work.due]


def _work(deps: Deps, record: BackendRecord) -> _Work | None:
    """What there is to do for one account; None for one that is asked at plan time, or cannot be asked."""
    try:
        if deps.backend(record.project, record.name).capabilities.live_offers:
            return None
    except TidepoolError as error:
        log.error("catalog-failed", project=record.project, backend=record.name, kind=error.code, detail=error.detail)
        return None
    now, known = deps.now(), _progress(deps, record)
    is_stored = deps.objects.modified(own_key(record.project, record.name)) is not None
    regions = record.config.get("regions") or (WHOLE,)
    # An older catalog is of another account that had the name.
    kept = {each: at for each, at in known.done.items() if is_stored and each in regions and at >= record.created_at}
    fresh = max(now - REFRESH, record.changed_at)
    due = sorted((each for each in regions if kept.get(each, NEVER) < fresh), key=lambda each: kept.get(each, NEVER))
    return _Work(record, now, known.tried_at, due, kept)


def _collected(deps: Deps, work: _Work, region: str, is_over: Callable[[], bool]) -> list[Offer]:
    """Ask for one region. That the account was begun is written down before: it may never come to an end."""
    record = work.record
    with work.guard:
        if not work.begun:
            _write(deps, record, Progress(work.now, work.kept))
            work.begun = True
    backend = deps.backend(record.project, record.name)
    return list(backend.offers(Part(region, is_over)) if region else backend.offers())


def _take(work: _Work, region: str, answer: "Future[list[Offer]]") -> None:
    try:
        work.found[region] = answer.result()
    except Exception as error:  # noqa: BLE001 - whatever it was, the other regions are stored
        work.failures[region] = error


def _finished(deps: Deps, work: _Work) -> Report:
    """Store what was found of an account, and say what was not."""
    record, count = work.record, 0
    for region in work.due:
        if region not in work.found:
            work.failures.setdefault(region, CatalogError("not done in the time there is"))
    try:
        if work.found:
            count = _store(deps, work)
            log.event("catalog-refreshed", project=record.project, backend=record.name, offers=count)
    except Exception as error:  # noqa: BLE001 - whatever it was, the other accounts are stored
        work.failures[WHOLE] = error
    if work.failures:
        first = next(iter(work.failures.values()))
        failed = [region for region in work.failures if region]
        log.error("catalog-failed", first, project=record.project, backend=record.name, regions=failed)
    told = [f"{region}: {error}" if region else str(error) for region, error in work.failures.items()]
    return Report(record.project, record.name, count, "; ".join(told))


def _store(deps: Deps, work: _Work) -> int:
    """Store the new offers beside the former ones that are good, and return how many it is.

    The catalog first: a crash in between has its regions collected once more. It is as old as its oldest region.
    """
    record = work.record
    key = own_key(record.project, record.name)
    kept = {region: at for region, at in work.kept.items() if region not in work.found}
    offers = [offer for found in work.found.values() for offer in found]
    former = _former(deps, key, kept) if kept else []
    done = dict.fromkeys(work.found, work.now) | (kept if former else {})
    if not offers and not former:
        raise CatalogError("the account offers nothing")
    deps.objects.put(key, pack([*offers, *former], fetched_at=min(done.values()), source=record.name))
    _write(deps, record, Progress(work.now, done))
    return len(offers) + len(former)


def _former(deps: Deps, key: str, regions: dict[str, datetime]) -> list[Offer]:
    """The offers of some regions in the catalog that is stored; none when it cannot be read: they are asked anew."""
    stored = deps.objects.get(key)
    if stored is None or stored[1] is None:
        return []
    try:
        index = unpack(stored[1]).index
    except CatalogError:
        return []
    return [offer for at in range(len(index)) if (offer := index.offer(at)).region in regions]


def _progress(deps: Deps, record: BackendRecord) -> Progress:
    """Read what earlier looks came to. What cannot be understood is as good as nothing: all of it is asked anew."""
    stored = deps.objects.get(progress_key(record.project, record.name))
    if stored is None or stored[1] is None:
        return Progress()
    try:
        document = json.loads(stored[1])
        done = {str(region): datetime.fromisoformat(at) for region, at in document["done"].items()}
        return Progress(datetime.fromisoformat(document["tried_at"]), done)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Progress()


def _write(deps: Deps, record: BackendRecord, progress: Progress) -> None:
    done = {region: at.isoformat() for region, at in progress.done.items()}
    document = json.dumps({"tried_at": progress.tried_at.isoformat(), "done": done})
    deps.objects.put(progress_key(record.project, record.name), document.encode())

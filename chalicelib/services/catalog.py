"""What accounts offer that are not asked at plan time: stored catalogs, kept in memory, made anew by schedule.

The best that is there counts: the account's own catalog, else one that an operator imported for its kind, else the seed
that ships with the product. A bucket that does not answer costs nothing but age, and a plan says what its prices are.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from chalicelib import log
from chalicelib.catalog import seed
from chalicelib.catalog.codec import Catalog, CatalogError, pack, unpack
from chalicelib.domain.accounts import BackendRecord
from chalicelib.domain.errors import BackendError
from chalicelib.domain.model import Offer
from chalicelib.domain.offer_index import OfferIndex
from chalicelib.services import backends
from chalicelib.services.deps import Deps, Objects
from chalicelib.store import pools as pool_store

K = TypeVar("K")
V = TypeVar("V")

RECHECK: Final = timedelta(minutes=1)
"""How old what is in memory may be before the bucket is asked whether it changed."""

REFRESH: Final = timedelta(hours=6)
"""How old an account's catalog may become before it is made anew."""

LATE: Final = 2 * REFRESH
"""An account's own catalog that is older is worth a word: a refresh failed."""

KEPT: Final = 32
"""Catalogs that a process holds at most, the longest unused go first. One of 10,000 offers takes about 2 MB."""

AT_ONCE: Final = 4
"""Accounts refreshed at the same time; each waits for its provider nearly always."""


OWN: Final = "own"


@dataclass(frozen=True, slots=True)
class Stock:
    """The offers of one account, and what is to be said of the age of their prices; "" when there is nothing."""

    index: OfferIndex
    note: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one refresh: `offers` were stored, or `failure` says why the former catalog stays."""

    project: str
    backend: str
    offers: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one object: its catalog, None where there is none, and what went wrong at the last look."""

    checked_at: datetime
    etag: str = ""
    catalog: Catalog | None = None
    problem: str = ""


class _Memory:
    """What a process remembers of one bucket."""

    def __init__(self) -> None:
        self.objects: dict[str, _Known] = {}
        self.accounts: dict[tuple[str, tuple[str, ...], int | None], tuple[Catalog, OfferIndex]] = {}


_memory: WeakKeyDictionary[Objects, _Memory] = WeakKeyDictionary()


def own_key(project: str, backend: str) -> str:
    """Where an account's own catalog lies."""
    return f"catalog/{project}/{backend}.json.gz"


def shared_key(kind: str) -> str:
    """Where the imported catalog of a kind lies. No project has such a name: none can give its catalog to everybody."""
    return f"catalog/_shared/{kind}.json.gz"


def catalog_of(
    deps: Deps,
    project: str,
    name: str,
    kind: str,
    regions: Sequence[str],
    *,
    disk_gb: int | None = None,
    since: datetime | None = None,
) -> Stock:
    """Return the offers of an account under its name, in `regions` only where it names any, with the age of prices.

    `disk_gb` is the disk that its machines get, where the account says: a catalog that is not its own cannot know.
    `since` is when the account came to its name: what was stored before is another's, perhaps of another kind.
    """
    own, shared = _look(deps, own_key(project, name)), None
    found = own.catalog
    if found is not None and since is not None and found.fetched_at < since:
        found = None
    if found is None:
        shared = _look(deps, shared_key(kind))
        found = shared.catalog or seed.catalog(kind)
    problem = own.problem or (shared.problem if shared else "")
    if found is None:
        return Stock(OfferIndex.of([]), problem and f"{name}: {problem}")
    disk_mib = None if disk_gb is None or found is own.catalog else disk_gb * 1024
    index = _renamed(deps, own_key(project, name), found, name, tuple(regions), disk_mib)
    return Stock(index, _note(deps, name, index, found, _origin(found, own, kind), problem))


def refresh(deps: Deps, project: str, name: str) -> int:
    """Ask an account for everything that it offers and store that; returns how many offers it is.

    The former catalog stays when the account cannot say, or offers nothing. Raises `BackendError`, `CatalogError`.
    """
    now = deps.now()
    offers = deps.backend(project, name).offers()
    if not offers:
        raise CatalogError("the account offers nothing")
    deps.objects.put(own_key(project, name), pack(offers, fetched_at=now, source=name))
    return len(offers)


def refresh_due(deps: Deps, *, until: datetime) -> list[Report]:
    """Refresh every account's catalog that is missing, older than `REFRESH`, or older than the account's configuration.

    One account that fails or hangs stops no other. What is not done `until` then is done next time.
    """
    due = [record for project in pool_store.projects() for record in _due(deps, project)]
    threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="catalog")
    try:
        asked = {threads.submit(copy_context().run, _refreshed, deps, each): each for each in due}
        done, late = wait(asked, timeout=max(0.0, (until - deps.now()).total_seconds()))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
    reports = [*(each.result() for each in done), *(_unfinished(asked[each]) for each in late)]
    return sorted(reports, key=lambda each: (each.project, each.backend))


def _due(deps: Deps, project: str) -> list[BackendRecord]:
    try:
        return [record for record in backends.list_backends(deps, project) if _is_due(deps, record)]
    except Exception as error:  # noqa: BLE001 - one project that cannot be read stops no other
        log.error("catalog-failed", error, project=project)
        return []


def _is_due(deps: Deps, record: BackendRecord) -> bool:
    if record.closed:
        return False
    try:
        if deps.backend(record.project, record.name).capabilities.live_offers:
            return False
    except BackendError as error:
        log.error("catalog-failed", project=record.project, backend=record.name, kind=error.kind, detail=error.detail)
        return False
    stored_at = deps.objects.modified(own_key(record.project, record.name))
    return stored_at is None or stored_at < max(deps.now() - REFRESH, record.changed_at)


def _refreshed(deps: Deps, record: BackendRecord) -> Report:
    try:
        count = refresh(deps, record.project, record.name)
    except Exception as error:  # noqa: BLE001 - whatever it was, the other accounts are refreshed
        log.error("catalog-failed", error, project=record.project, backend=record.name)
        return Report(record.project, record.name, failure=str(error))
    log.event("catalog-refreshed", project=record.project, backend=record.name, offers=count)
    return Report(record.project, record.name, count)


def _unfinished(record: BackendRecord) -> Report:
    log.error("catalog-failed", project=record.project, backend=record.name, detail="not done in the time there is")
    return Report(record.project, record.name, failure="not done in the time there is")


def _look(deps: Deps, key: str) -> _Known:
    """What is at a key, from memory when that was checked a moment ago. A bucket that fails leaves what was known."""
    known = _remembered(deps).objects.get(key)
    now = deps.now()
    if known is None or now - known.checked_at >= RECHECK:
        known = _checked(deps, key, known or _Known(now))
        _keep(_remembered(deps).objects, key, known)
    return known


def _checked(deps: Deps, key: str, known: _Known) -> _Known:
    now = deps.now()
    try:
        stored = deps.objects.get(key, unless=known.etag)
    except Exception as error:  # noqa: BLE001 - a plan with old prices is better than none
        log.error("catalog-unreadable", error, key=key)
        return replace(known, checked_at=now, problem="its catalog could not be read")
    if stored is None:
        return _Known(now)
    etag, data = stored
    if data is None:
        return replace(known, checked_at=now, problem="")
    try:
        return _Known(now, etag, _of_one(unpack(data)))
    except CatalogError as error:
        log.error("catalog-unreadable", error, key=key)
        return replace(known, checked_at=now, problem="its catalog could not be read")


def _of_one(catalog: Catalog) -> Catalog:
    """A catalog as it is, unless it is of several backends: it could not become one account's."""
    if len(catalog.index.columns["backend"].values) > 1:
        raise CatalogError("offers of several backends")
    return catalog


def _renamed(
    deps: Deps, key: str, found: Catalog, name: str, regions: tuple[str, ...], disk_mib: int | None
) -> OfferIndex:
    """The offers of a catalog as an account's; made once for as long as the catalog is the same."""
    memory, place = _remembered(deps).accounts, (key, regions, disk_mib)
    known = memory.get(place)
    if known is None or known[0] is not found:
        index = found.index.renamed(name, regions)
        if disk_mib is not None and index.columns["disk_mib"].values != [disk_mib]:
            index = OfferIndex.of(_with_disk(index.offer(at), disk_mib) for at in range(len(index)))
        known = (found, index)
        _keep(memory, place, known)
    return known[1]


def _with_disk(offer: Offer, disk_mib: int) -> Offer:
    return replace(offer, resources=replace(offer.resources, disk_mib=disk_mib))


def _keep(memory: dict[K, V], key: K, value: V) -> None:
    """Remember, and forget what was not asked for the longest."""
    memory.pop(key, None)
    memory[key] = value
    while len(memory) > KEPT:
        del memory[next(iter(memory))]


def _remembered(deps: Deps) -> _Memory:
    return _memory.setdefault(deps.objects, _Memory())


def _origin(found: Catalog, own: _Known, kind: str) -> str:
    if found is own.catalog:
        return OWN
    return "seed" if found is seed.catalog(kind) else "imported"


def _note(deps: Deps, name: str, index: OfferIndex, found: Catalog, origin: str, problem: str) -> str:
    """Say what the prices are when they are not fresh from the account, or could not be looked at."""
    age = deps.now() - (found.fetched_at if origin == OWN else index.oldest() or found.fetched_at)
    if origin == OWN and age <= LATE and not problem:
        return ""
    text = f"prices are {_age(age)} old" if origin == OWN else f"prices of the {origin} catalog, up to {_age(age)} old"
    return f"{name}: {text}{f' ({problem})' if problem else ''}"


def _age(age: timedelta) -> str:
    """Write an age as people say it: 3 hours, 83 days."""
    hours = max(0, int(age.total_seconds()) // 3600)
    number, unit = (hours, "hour") if hours < 48 else (hours // 24, "day")
    return f"{number} {unit}{'' if number == 1 else 's'}"

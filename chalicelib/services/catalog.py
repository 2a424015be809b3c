"""What accounts offer that are not asked at plan time: stored catalogs, kept in memory.

The best that is there counts: the account's own catalog, else one that an operator imported for its kind, else the seed
that ships with the product. A bucket that does not answer costs nothing but age, and a plan says what its prices are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from chalicelib import log
from chalicelib.catalog import seed
from chalicelib.catalog.codec import Catalog, CatalogError, unpack
from chalicelib.domain.model import Offer
from chalicelib.domain.offer_index import OfferIndex
from chalicelib.services.deps import Deps, Objects

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

OWN: Final = "own"

PROGRESS: Final = "catalog/_progress/"
"""What the keys begin with of what is no catalog."""


@dataclass(frozen=True, slots=True)
class Stock:
    """The offers of one account, and what is to be said of the age of their prices; "" when there is nothing."""

    index: OfferIndex
    note: str


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


def progress_key(project: str, backend: str) -> str:
    """Where it lies how far the refreshes of an account's catalog came."""
    return f"{PROGRESS}{project}/{backend}.json"


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

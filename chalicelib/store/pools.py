"""Projects, pools, and the shapes seen in a pool. Counts are kept on the shapes (`projection.py`), never computed.

The rows of one pool sort directly behind one another: no character of a name sorts before `#`, so the pool's own row
and its shapes are one key range.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from chalicelib.domain.errors import AlreadyExistsError, ConflictError, LostRaceError, NotFoundError
from chalicelib.domain.model import Offer, Pool
from chalicelib.domain.names import is_name
from chalicelib.store import calls
from chalicelib.store.calls import Image
from chalicelib.store.documents import offer_doc, offer_from
from chalicelib.store.models import PoolRow

PROJECT: Final = "#project"
ZERO: Final = {"N": "0"}
AFTER_SHAPES: Final = "#~"
DELETE_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class ShapeEntry:
    """One shape of a pool and how many instances of it there are. Counts follow the rows within about a second."""

    offer: Offer
    total: int
    available: int


def create_project(project: str, now: datetime) -> None:
    """Make a project. Raises `AlreadyExistsError`."""
    try:
        calls.put(PoolRow(project, PROJECT, created_at=now), PoolRow.name.does_not_exist())
    except calls.ConditionFailedError as error:
        raise AlreadyExistsError(f"project {project!r} exists", project=project) from error


def project(name: str) -> dict[str, Any] | None:
    """Read a project: `{"name", "default_pool" (or None), "created_at"}`, or None."""
    item = calls.get(PoolRow, name, PROJECT, consistent=True)
    if item is None:
        return None
    row = PoolRow.from_raw_data(item)
    return {"name": name, "default_pool": row.default_pool, "created_at": row.created_at}


def create(pool: Pool) -> Pool:
    """Make a pool; the first one of a project becomes its default. Raises `AlreadyExistsError`, `NotFoundError`."""
    writes = calls.Transaction()
    first = [PoolRow.default_pool.set(PoolRow.default_pool | pool.name)]
    writes.update(PoolRow, pool.project, PROJECT, first, PoolRow.name.exists())
    writes.put(PoolRow(pool.project, pool.name, created_at=pool.created_at), PoolRow.name.does_not_exist())
    try:
        writes.commit()
    except calls.ConditionFailedError as error:
        if 0 in error.failed:
            raise NotFoundError(f"project {pool.project!r} does not exist", project=pool.project) from error
        raise AlreadyExistsError(f"pool {pool.name!r} exists", pool=pool.name) from error
    return get(pool.project, pool.name)


def get(project: str, name: str) -> Pool:
    """Read a pool without its counts. Raises `NotFoundError`, also for what is no name: it may be another row's key."""
    if not is_name(name):
        raise _unknown(name)
    keys = [{"project": {"S": project}, "name": {"S": each}} for each in (PROJECT, name)]
    found = {item["name"]["S"]: item for item in calls.get_many(PoolRow, keys, consistent=True)}
    if name not in found:
        raise _unknown(name)
    return _pool(found[name], found.get(PROJECT))


def list_pools(project: str) -> list[Pool]:
    """Read the pools of a project by name, with their counts, in one query."""
    pools: dict[str, Pool] = {}
    head: Image | None = None
    for item in calls.query_all(PoolRow, project, consistent_read=True):
        name, _, shape = item["name"]["S"].partition("#")
        if not name:
            head = item
        elif not shape:
            pools[name] = _pool(item, head)
        elif name in pools:
            pools[name] = _add(pools[name], item)
    return list(pools.values())


def everywhere() -> list[Pool]:
    """Read every pool of every project, without counts: a scan, for maintenance alone."""
    return [_pool(item, None) for item in calls.scan_all(PoolRow) if "#" not in item["name"]["S"]]


def projects() -> list[str]:
    """Name every project, in order: a scan, for maintenance alone."""
    rows = calls.scan_all(PoolRow)
    return sorted(item["project"]["S"] for item in rows if item["name"]["S"] == PROJECT)


def default(project: str) -> str | None:
    """The name of a project's default pool, or None. Raises `NotFoundError` for an unknown project."""
    item = calls.get(PoolRow, project, PROJECT, consistent=True)
    if item is None:
        raise NotFoundError(f"project {project!r} does not exist", project=project)
    return PoolRow.from_raw_data(item).default_pool


def set_default(project: str, name: str) -> Pool:
    """Make a pool the default. Raises `NotFoundError` when it does not exist or is being deleted."""
    if not is_name(name):
        raise _unknown(name)
    writes = calls.Transaction()
    writes.check(PoolRow, project, name, PoolRow.name.exists() & PoolRow.deleting.does_not_exist())
    writes.update(PoolRow, project, PROJECT, [PoolRow.default_pool.set(name)], PoolRow.name.exists())
    try:
        writes.commit()
    except calls.ConditionFailedError as error:
        raise _unknown(name) from error
    return get(project, name)


def begin_delete(project: str, name: str, *, drain: bool = False) -> Pool:
    """Close a pool: no instance can be created in it any more. `drain` also gives leave to remove those it has.

    Raises `NotFoundError`.
    """
    marks = [PoolRow.deleting.set(True), *([PoolRow.draining.set(True)] if drain else [])]
    try:
        calls.update(PoolRow, project, name, marks, PoolRow.name.exists())
    except calls.ConditionFailedError as error:
        raise _unknown(name) from error
    return get(project, name)


def cancel_delete(project: str, name: str) -> Pool:
    """Open a pool again, unless it is draining: that was somebody's decision. Raises `NotFoundError`."""
    condition = PoolRow.name.exists() & PoolRow.draining.does_not_exist()
    try:
        calls.update(PoolRow, project, name, [PoolRow.deleting.remove()], condition)
    except calls.ConditionFailedError as error:
        if error.item is None:
            raise _unknown(name) from error
    return get(project, name)


def end_delete(project: str, name: str) -> None:
    """Remove a pool that is marked; the caller saw that it has no live instance. One that is gone is fine.

    Raises `ConflictError` when it is not marked (any more).
    """
    for _ in range(DELETE_TRIES):
        writes = calls.Transaction()
        writes.delete(PoolRow, project, name, PoolRow.name.does_not_exist() | PoolRow.deleting.exists())
        if default(project) == name:
            writes.update(PoolRow, project, PROJECT, [PoolRow.default_pool.remove()], PoolRow.default_pool == name)
        else:
            writes.check(
                PoolRow, project, PROJECT, PoolRow.default_pool.does_not_exist() | (PoolRow.default_pool != name)
            )
        try:
            writes.commit()
        except calls.ConditionFailedError as error:
            if 0 in error.failed:
                raise ConflictError(f"pool {name!r} is not being deleted", pool=name) from error
            continue  # the default changed since it was read
        shapes = [_key(item) for item in _range(project, name) if "#" in item["name"]["S"]]
        calls.delete_many(PoolRow, shapes)
        return
    raise LostRaceError(f"the default pool of {project!r} keeps changing", project=project)


def directory(project: str, pool: str) -> tuple[Pool, list[ShapeEntry]]:
    """Read a pool, with its counts, and the shapes seen in it, in one query. `is_default` is not filled in.

    The query is not consistent (half the price); that a pool is missing is asked again before it is believed.
    Raises `NotFoundError`.
    """
    items = _range(project, pool)
    own = _pool(items.pop(0), None) if items and items[0]["name"]["S"] == pool else get(project, pool)
    for item in items:
        own = _add(own, item)
    return own, [_entry(item) for item in items if "offer" in item]


def note_shape(project: str, pool: str, offer: Offer) -> None:
    """Enter a shape into the directory of a pool. Repeating it is fine, and keeps the counts."""
    row_key = f"{pool}#{offer.shape}"
    calls.update(PoolRow, project, row_key, [PoolRow.offer.set(PoolRow.offer | offer_doc(offer))])


def _range(project: str, pool: str) -> list[Image]:
    """A pool's own row, then its shapes."""
    rows_of_pool = PoolRow.name.between(pool, pool + AFTER_SHAPES)
    return list(calls.query_all(PoolRow, project, range_key_condition=rows_of_pool))


def _key(item: Image) -> Image:
    return {"project": item["project"], "name": item["name"]}


def _pool(item: Image, head: Image | None) -> Pool:
    row = PoolRow.from_raw_data(item)
    return Pool(
        project=row.project,
        name=row.name,
        created_at=row.created_at,
        is_default=head is not None and head.get("default_pool", {}).get("S") == row.name,
        deleting=bool(row.deleting),
        draining=bool(row.draining),
    )


def _entry(item: Image) -> ShapeEntry:
    return ShapeEntry(offer_from(PoolRow.from_raw_data(item).offer), *_counts(item))


def _add(pool: Pool, item: Image) -> Pool:
    """Add the counts of one shape to those of its pool."""
    total, available = _counts(item)
    return replace(pool, total=pool.total + total, available=pool.available + available)


def _counts(item: Image) -> tuple[int, int]:
    return int(item.get("total", ZERO)["N"]), int(item.get("available", ZERO)["N"])


def _unknown(pool: str) -> NotFoundError:
    return NotFoundError(f"pool {pool!r} does not exist", pool=pool)

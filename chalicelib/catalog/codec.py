"""A catalog as bytes: gzip over one JSON object, a few columns of distinct values instead of a row an offer.

    {"version": 1, "fetched_at": "2026-11-22T01:00:00+00:00", "source": "aws", "prices": [...],
     "columns": {"region": [["eu-west-1", ...], [0, 0, ...]], ...}}

Prices are micro-dollars an hour, sorted by `matching.order`; a column is its distinct values and the number of one for
each offer, null where there is only one. 10,000 offers take about 100 KB and are ready within some 15 ms.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chalicelib.domain.model import Gpu, Offer
from chalicelib.domain.offer_index import COLUMNS, Column, OfferIndex

VERSION: Final = 1
LEVEL: Final = 6


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_flag(value: object) -> bool:
    return type(value) is bool


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_gpus(value: Any) -> bool:
    return all(
        _is_text(gpu.name) and _is_count(gpu.memory_mib) and _is_count(gpu.count) and _is_text(gpu.vendor)
        for gpu in value
    )


def _is_moment(value: Any) -> bool:
    return value is None or value.tzinfo is not None


KNOWN: Final[dict[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("backend", "region", "zone", "instance_type", "price_source", "availability"), _is_text),
    **dict.fromkeys(("cpus", "memory_mib", "disk_mib"), _is_count),
    "spot": _is_flag,
    "gpus": _is_gpus,
    "priced_at": _is_moment,
}
"""What each distinct value of a column has to be. Plans compare and add up without asking again."""


class CatalogError(ValueError):
    """Bytes that are no catalog. The message says why not."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Offers as they were at `fetched_at`; `source` says in a word or two who was asked."""

    index: OfferIndex
    fetched_at: datetime
    source: str


def pack(offers: Iterable[Offer], *, fetched_at: datetime, source: str) -> bytes:
    """Write a catalog. The same offers give the same bytes, in whatever order they come.

    Raises `CatalogError` for offers that `unpack` would refuse.
    """
    try:
        index = OfferIndex.of(offers)
        for name in COLUMNS:
            _require(name, index.columns[name].values)
    except (ValueError, AttributeError, TypeError) as error:
        raise CatalogError(f"cannot be written: {error}") from error
    columns = {name: _written(name, index.columns[name]) for name in COLUMNS}
    document = {
        "version": VERSION,
        "fetched_at": fetched_at.isoformat(),
        "source": source,
        "prices": index.prices,
        "columns": columns,
    }
    return gzip.compress(json.dumps(document, separators=(",", ":")).encode(), LEVEL, mtime=0)


def unpack(data: bytes) -> Catalog:
    """Read what `pack` wrote. Raises `CatalogError` for anything else."""
    try:
        document = json.loads(gzip.decompress(data))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise CatalogError(f"no gzip over JSON: {error}") from error
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION:
        raise CatalogError(f"version {version!r}, not {VERSION}")
    try:
        prices = document["prices"]
        columns = {name: _read(name, document["columns"][name], len(prices)) for name in COLUMNS}
        fetched_at = datetime.fromisoformat(document["fetched_at"])
        source = document["source"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CatalogError(f"cannot be read: {error!r}") from error
    if set(map(type, prices)) - {int} or prices != sorted(prices) or fetched_at.tzinfo is None:
        raise CatalogError("prices are not sorted numbers, or the moment has no zone")
    if not _is_text(source):
        raise CatalogError("the source is no text")
    return Catalog(OfferIndex(prices, columns), fetched_at, source)


def _written(name: str, column: Column) -> list[Any]:
    values = column.values
    if name == "gpus":
        values = [[[gpu.name, gpu.memory_mib, gpu.count, gpu.vendor] for gpu in gpus] for gpus in values]
    elif name == "priced_at":
        values = [at and at.isoformat() for at in values]
    return [values, column.ids if len(values) > 1 else None]


def _read(name: str, written: list[Any], size: int) -> Column:
    values, ids = written
    if not isinstance(values, list):
        raise TypeError(f"column {name} has no list of values")
    if ids is None:
        ids = [0] * size
    if len(ids) != size or (ids and not (set(map(type, ids)) == {int} and min(ids) >= 0 and max(ids) < len(values))):
        raise ValueError(f"column {name} does not fit its {size} offers")
    if name == "gpus":
        values = [tuple(Gpu(*gpu) for gpu in gpus) for gpus in values]
    elif name == "priced_at":
        values = [at and datetime.fromisoformat(at) for at in values]
    _require(name, values)
    return Column(values, ids)


def _require(name: str, values: list[Any]) -> None:
    wrong = [value for value in values if not KNOWN[name](value)]
    if wrong:
        raise ValueError(f"column {name} cannot have {wrong[0]!r}")

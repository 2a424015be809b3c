"""A catalog as bytes: gzip over one JSON object, a few columns of distinct values instead of a row an offer.

    {"version": 1, "fetched_at": "2026-11-22T01:00:00+00:00", "source": "aws", "prices": [...],
     "columns": {"region": [["eu-west-1", ...], [0, 0, ...]], ...}}

Prices are micro-dollars an hour, sorted by `matching.order`; a column is its distinct values and the number of one for
each offer, null where there is only one. 10,000 offers take about 100 KB and are ready within some 15 ms.
"""

import gzip
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chalicelib.domain.model import Gpu, Offer
from chalicelib.domain.offer_index import COLUMNS, Column, OfferIndex

VERSION: Final = 1
LEVEL: Final = 6


class CatalogError(ValueError):
    """Bytes that are no catalog. The message says why not."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Offers as they were at `fetched_at`; `source` says in a word or two who was asked."""

    index: OfferIndex
    fetched_at: datetime
    source: str


def pack(offers: Iterable[Offer], *, fetched_at: datetime, source: str) -> bytes:
    """Write a catalog. The same offers give the same bytes, in whatever order they come."""
    index = OfferIndex.of(offers)
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
    if ids is None:
        ids = [0] * size
    if len(ids) != size or (ids and not (set(map(type, ids)) == {int} and min(ids) >= 0 and max(ids) < len(values))):
        raise ValueError(f"column {name} does not fit its {size} offers")
    if name == "gpus":
        values = [tuple(Gpu(*gpu) for gpu in gpus) for gpus in values]
    elif name == "priced_at":
        values = [at and datetime.fromisoformat(at) for at in values]
    return Column(values, ids)

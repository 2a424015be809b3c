"""Reads the CSV of gpuhunt's catalogs: one file a provider, its name is not in it.

The 14 columns of gpuhunt 0.1: instance_name, location, price, cpu, memory, gpu_count, gpu_name, gpu_memory, spot,
disk_size, gpu_vendor, flags, cpu_arch, provider_data. Sizes are GB (of 1024 MB), prices USD an hour; a missing vendor
means nvidia, a missing architecture x86. Older files lack the last columns.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chalicelib.catalog.codec import CatalogError
from chalicelib.domain import gpus
from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.model import Gpu, Offer, Resources
from chalicelib.domain.units import parse_price, parse_size_mib

NEEDED: Final = frozenset(
    {"instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "gpu_memory", "spot", "disk_size"}
)
DISK_MIB: Final = 100 * 1024
"""What a machine is given where its type has no disk of its own."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that gave no offer, counted as an editor counts, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file gave."""

    offers: list[Offer]
    bad: list[BadRow]


def read(text: str, kind: str, *, priced_at: datetime | None) -> Reading:
    """Read a whole file. A row that cannot be an offer is reported, the others are read on.

    `priced_at` is when the file was made, as far as that is known. Raises `CatalogError` for what is no such file.
    """
    lines = csv.DictReader(io.StringIO(text, newline=""))
    try:
        missing = NEEDED - set(lines.fieldnames or ())
        if missing:
            raise CatalogError(f"no catalog of gpuhunt: the columns {', '.join(sorted(missing))} are missing")
        return _reading(lines, kind, priced_at)
    except csv.Error as error:
        raise CatalogError(f"no CSV from line {lines.line_num} on: {error}") from error


def _reading(lines: "csv.DictReader[str]", kind: str, priced_at: datetime | None) -> Reading:
    found = Reading([], [])
    for line, row in _rows(lines):
        try:
            found.offers.append(_offer(row, kind, priced_at))
        except InvalidInputError as error:
            found.bad.append(BadRow(line, f"{error.field} is {error.given!r}, not {error.expected}"))
    return found


def _rows(lines: "csv.DictReader[str]") -> Iterator[tuple[int, Mapping[str, str]]]:
    """Each row with the line that it ends on. A short row has None for what it lacks, which means nothing said."""
    for row in lines:
        yield lines.line_num, {key: value or "" for key, value in row.items() if isinstance(key, str)}


def _offer(row: Mapping[str, str], kind: str, priced_at: datetime | None) -> Offer:
    if row.get("cpu_arch", "") not in ("", "x86"):
        raise InvalidInputError("cpu_arch", row["cpu_arch"], "x86: machines of other architectures are not rented")
    return Offer(
        backend=kind,
        region=_text(row, "location"),
        instance_type=_text(row, "instance_name"),
        resources=Resources(
            cpus=_count(row, "cpu", least=1),
            memory_mib=parse_size_mib(row["memory"], "memory"),
            disk_mib=parse_size_mib(row["disk_size"], "disk_size") if row["disk_size"] else DISK_MIB,
            gpus=_gpus(row),
        ),
        spot=_flag(row, "spot"),
        price=_price(row),
        price_source="gpuhunt",
        priced_at=priced_at,
    )


def _gpus(row: Mapping[str, str]) -> tuple[Gpu, ...]:
    count = _count(row, "gpu_count", least=0) if row["gpu_count"] else 0
    if not count:
        return ()
    vendor = row.get("gpu_vendor", "").casefold() or "nvidia"
    if vendor not in gpus.VENDORS:
        raise InvalidInputError("gpu_vendor", row["gpu_vendor"], f"one of {', '.join(gpus.VENDORS)}")
    memory = gpus.nominal_mib(parse_size_mib(row["gpu_memory"], "gpu_memory"))
    return (Gpu(_text(row, "gpu_name"), memory, count, vendor),)


def _price(row: Mapping[str, str]) -> int:
    """A price of 0 is how some sources write that they know none, and would come first everywhere."""
    price = parse_price(row["price"], "price")
    if not price:
        raise InvalidInputError("price", row["price"], "more than 0")
    return price


def _text(row: Mapping[str, str], field: str) -> str:
    text = row[field].strip()
    if not text or not text.isprintable():
        raise InvalidInputError(field, row[field], "a name")
    return text


def _count(row: Mapping[str, str], field: str, *, least: int) -> int:
    try:
        number = float(row[field])
    except ValueError:
        number = -1.0
    if not number.is_integer() or not least <= number < 1_000_000:
        raise InvalidInputError(field, row[field], f"a whole number from {least} on")
    return int(number)


def _flag(row: Mapping[str, str], field: str) -> bool:
    flag = {"true": True, "false": False}.get(row[field].casefold())
    if flag is None:
        raise InvalidInputError(field, row[field], "True or False")
    return flag

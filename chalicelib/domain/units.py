"""Durations, sizes and money: from what people write to whole numbers and back.

Every parser takes the value as it came (text, or a JSON number) and the name of the field it came from, and raises
`InvalidInputError` with that field, the value, and the form that would be right.
"""

import re
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from math import isfinite
from typing import Final

from chalicelib.domain.errors import InvalidInputError

NEVER: Final = timedelta.max
"""An idle limit that is switched off. Never add it to a moment."""

MAX_DURATION: Final = timedelta(weeks=520)
"""Ten years. A longer wait is a slip, and adding it to a moment could leave the calendar."""

MAX_SIZE_MIB: Final = 1024**4
"""An exbibyte. More is a slip."""

MICROS: Final = 1_000_000
MAX_PRICE_MICROS: Final = 1_000_000 * MICROS

DURATION_FORM: Final = "seconds, or a number with one of s, m, h, d, w, such as 90, 5m, 72h or 1w (at most 520w)"
IDLE_FORM: Final = f"{DURATION_FORM}, or off"
SIZE_FORM: Final = "a number with MB, GB or TB (1GB = 1024MB, no unit = GB), such as 512MB, 16GB or 1TB"
PRICE_FORM: Final = "USD an hour, such as 1.5 or $1.50"

_SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "": 1}
_MIB: Final = {"TB": 1024 * 1024, "GB": 1024, "MB": 1}
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,30})?) *([smhdw]?)", re.ASCII)
_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,30})?) *(MB|GB|TB)?", re.ASCII | re.IGNORECASE)
_BINARY_UNIT: Final = re.compile(r"([0-9.]+) *([MGT])(?:iB?)?", re.ASCII | re.IGNORECASE)
_PRICE: Final = re.compile(r"\$? *([0-9]{1,12}(?:\.[0-9]{1,30})?)", re.ASCII)


def parse_duration(value: object, field: str) -> timedelta:
    """Read a duration: `90`, `5m`, `1.5h`, or a JSON number of seconds. Zero is a duration; a negative one is not."""
    seconds = _number(value) if not isinstance(value, str) else _seconds(value)
    if seconds is None or not 0 <= seconds <= MAX_DURATION.total_seconds():
        raise InvalidInputError(field, value, DURATION_FORM)
    return timedelta(microseconds=int(seconds * MICROS))


def parse_idle_duration(value: object, field: str) -> timedelta:
    """Read an idle limit: a duration, or `off` for `NEVER`.

    `False` is `off` as well: YAML reads a bare `off` so, and taking it for 0 seconds would end machines at once.
    """
    if value is False or (isinstance(value, str) and value.strip().lower() == "off"):
        return NEVER
    try:
        return parse_duration(value, field)
    except InvalidInputError as error:
        raise InvalidInputError(field, value, IDLE_FORM) from error


def format_duration(duration: timedelta) -> str:
    """Write a duration in the largest unit that needs no fraction: `5m`, `3d`, `90s`; `off` for `NEVER`.

    `parse_idle_duration` reads the text back to the same duration.
    """
    if duration == NEVER:
        return "off"
    seconds = Decimal(duration // timedelta(microseconds=1)) / MICROS
    if not seconds:
        return "0s"
    unit = next((unit for unit, size in _SECONDS.items() if unit and seconds % size == 0), "s")
    return f"{_plain(seconds / _SECONDS[unit])}{unit}"


def parse_size_mib(value: object, field: str, *, unit: str = "GB") -> int:
    """Read a size as whole MiB. `unit` is the one meant where none is written.

    The words are the ones that people use for memory: 1 GB is 1024 MB and means 1024 MiB; `8GiB` and `8G` are
    refused, so that there is one spelling.
    """
    text = value.strip() if isinstance(value, str) else _json_text(value)
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidInputError(field, value, _size_form(text))
    mib = Decimal(match[1]) * _MIB[(match[2] or unit).upper()]
    if mib > MAX_SIZE_MIB:
        raise InvalidInputError(field, value, f"at most {format_size(MAX_SIZE_MIB)}")
    return int(mib.to_integral_value(ROUND_HALF_EVEN))


def size_unit(text: str) -> str | None:
    """Name the unit that a size is written with, in upper case, or None."""
    match = _SIZE.fullmatch(text.strip())
    return match[2].upper() if match and match[2] else None


def format_size(mib: int) -> str:
    """Write a size so that `parse_size_mib` reads it back: `512MB`, `16GB`, `1.5GB`, `2TB`."""
    for unit, size in _MIB.items():
        halves, rest = divmod(2 * mib, size)
        if mib >= size and not rest:
            return f"{halves // 2}{'.5' if halves % 2 else ''}{unit}"
    return f"{mib}MB"


def format_measured_size(mib: int) -> str:
    """Write a measured size, which is seldom a round one, with one decimal."""
    exact = format_size(mib)
    return exact if not exact.endswith("MB") or mib < 1024 else f"{mib / 1024:.1f}GB"


def parse_price(value: object, field: str) -> int:
    """Read a price in USD an hour, `1.5` or `$1.50`, as whole micro-dollars, rounded half to even."""
    text = value.strip() if isinstance(value, str) else _json_text(value)
    match = _PRICE.fullmatch(text)
    if match is None:
        raise InvalidInputError(field, value, PRICE_FORM)
    micros = int((Decimal(match[1]) * MICROS).to_integral_value(ROUND_HALF_EVEN))
    if micros > MAX_PRICE_MICROS:
        raise InvalidInputError(field, value, f"at most {MAX_PRICE_MICROS // MICROS} USD an hour")
    return micros


def format_price(micros: int) -> str:
    """Write micro-dollars with four significant digits and at least the cents: `$1.595`, `$98.32`, `$0.0004`."""
    dollars = Decimal(micros) / MICROS
    digits = max(2, 3 - dollars.adjusted()) if dollars else 2
    return _dollars(round(dollars, digits))


def format_price_exactly(micros: int) -> str:
    """Write micro-dollars with every digit they have, and at least the cents."""
    return _dollars(Decimal(micros) / MICROS)


def _dollars(amount: Decimal) -> str:
    text = _plain(amount)
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(value: object) -> Decimal | None:
    """Read a JSON number exactly as it was written. A bool is no number here, though Python says so."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return Decimal(repr(value)) if isinstance(value, float) and isfinite(value) else None


def _json_text(value: object) -> str:
    number = _number(value)
    return "" if number is None else f"{number:f}"


def _seconds(text: str) -> Decimal | None:
    match = _DURATION.fullmatch(text.strip())
    return Decimal(match[1]) * _SECONDS[match[2]] if match else None


def _size_form(text: str) -> str:
    match = _BINARY_UNIT.fullmatch(text)
    return f"{match[1]}{match[2].upper()}B" if match else SIZE_FORM

"""Ranges of whole numbers and of sizes: `n`, `n..`, `..n`, `n..m`, both ends included."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

from chalicelib.domain import units
from chalicelib.domain.errors import InvalidInputError

COUNT_FORM: Final = "a whole number or a range of them, such as 4, 4.., ..8 or 4..8"
SIZE_FORM: Final = "a size in MB, GB or TB or a range of sizes, such as 16GB, 16GB.., ..64GB or 16GB..64GB"

MOST: Final = 9_999_999
"""The largest count. More is a slip."""

_COUNT: Final = re.compile(r"[0-9]{1,7}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """Whole numbers from `low` to `high`, both included. `high` None: no upper end."""

    low: int
    high: int | None = None

    def __contains__(self, number: int) -> bool:
        return self.low <= number and (self.high is None or number <= self.high)

    def beside(self, number: int) -> int:
        """By how much a number lies outside; 0 within."""
        if number < self.low:
            return self.low - number
        return 0 if self.high is None else max(number - self.high, 0)

    def describe(self, write: Callable[[int], str] = str) -> str:
        """Write the span in its grammar, with `write` for each end."""
        if self.high is None:
            return f"{write(self.low)}.."
        if self.low == self.high:
            return write(self.low)
        return f"{write(self.low) if self.low else ''}..{write(self.high)}"


def parse_counts(value: object, field: str, *, exact: bool, zero: bool = False) -> Span:
    """Read a count or a range of counts. A single number means exactly that many, or (`exact` False) at least.

    A span that only 0 fits in is refused, unless `zero` says that it means something.
    """

    def read(end: str, _: str) -> int:
        if not _COUNT.fullmatch(end):
            is_number = end.isascii() and end.isdigit()
            raise InvalidInputError(field, end, f"at most {MOST}" if is_number else COUNT_FORM)
        return int(end)

    span = _parse(value, field, read, exact=exact, form=COUNT_FORM)
    return span if zero else _some(span, value, field)


def parse_sizes(value: object, field: str, *, exact: bool) -> Span:
    """Read a size or a range of sizes as MiB. A unit on one side of a range is enough; no unit at all is GB.

    A span that only 0 fits in is refused.
    """

    def read(end: str, other: str) -> int:
        return units.parse_size_mib(end, field, unit=units.size_unit(other) or "GB")

    return _some(_parse(value, field, read, exact=exact, form=SIZE_FORM), value, field)


def text_of(value: object, field: str, form: str) -> str:
    """Return grammar text without its blanks, also for a JSON number; refuse everything else and the empty text."""
    if isinstance(value, str) and (text := "".join(value.split())):
        return text
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    raise InvalidInputError(field, value, form)


def from_doc(doc: Mapping[str, int | None] | None) -> Span | None:
    """Read the object `{"low", "high"}` that `dataclasses.asdict` makes of a span."""
    return None if doc is None else Span(doc["low"] or 0, doc["high"])


def _some(span: Span, given: object, field: str) -> Span:
    if span.high == 0:
        raise InvalidInputError(field, given, "more than 0")
    return span


def _parse(value: object, field: str, read: Callable[[str, str], int], *, exact: bool, form: str) -> Span:
    text = text_of(value, field, form)
    ends = text.split("..")
    if len(ends) > 2 or not any(ends):
        raise InvalidInputError(field, text, form)
    if len(ends) == 1:
        low = read(text, "")
        return Span(low, low if exact else None)
    first, last = ends
    low = read(first, last) if first else 0
    high = read(last, first) if last else None
    if high is not None and low > high:
        raise InvalidInputError(field, text, f"the smaller end first, {last}..{first}")
    return Span(low, high)

"""The memory of what was sold out: how long an offer that was refused ranks behind the others."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

FIRST: Final = timedelta(minutes=3)
LONGEST: Final = timedelta(minutes=10)
FORGOTTEN: Final = timedelta(hours=1)
"""How long after its cool-down a stock-out still counts as the one before the next."""

REMEMBERED_KINDS: Final = frozenset({"no_capacity", "quota"})
"""Classes of refusals that say something of the offer and not of the call: a later request would meet them too."""


@dataclass(frozen=True, slots=True)
class StockOut:
    """An offer was refused `count` times in a row; until `until` it ranks last."""

    count: int
    until: datetime


def after(known: StockOut | None, now: datetime) -> StockOut | None:
    """The memory after another refusal, or None when it stays as it is.

    Refusals during a cool-down are the same stock-out, met by a crowd; each one after it lasts twice as long.
    """
    if known is not None and now < known.until:
        return None
    count = known.count + 1 if known is not None and now - known.until < FORGOTTEN else 1
    return StockOut(count, now + min(LONGEST, FIRST * 2 ** (count - 1)))

"""What all workers share about providers: what is sold out, and whose turn it is to launch.

Losing any of it costs time, never a machine: so rows expire by themselves and readers pass over what is out of date.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from chalicelib.domain.launch_rate import Bucket
from chalicelib.domain.stock_outs import FORGOTTEN, StockOut
from chalicelib.store import calls
from chalicelib.store.columns import epoch
from chalicelib.store.models import MarketRow

BUCKET: Final = "bucket"
KEEP_BUCKET: Final = timedelta(days=1)
KEEP_TICKET: Final = timedelta(hours=1)
LONGEST_QUEUE: Final = 1000
"""Tickets counted before one. Whoever has more before it waits long anyway, and asks again."""


def stock_outs(project: str, now: datetime) -> dict[str, datetime]:
    """Read which offers of a project's backends are sold out, by `Offer.key`, and until when they rank last."""
    rows = calls.query_all(MarketRow, _stock_topic(project), filter_condition=MarketRow.until > now)
    return {row.entry: row.until for row in map(MarketRow.from_raw_data, rows)}


def stock_out(project: str, offer_key: str) -> StockOut | None:
    """Read what is remembered of one offer."""
    item = calls.get(MarketRow, _stock_topic(project), offer_key, consistent=True)
    if item is None:
        return None
    row = MarketRow.from_raw_data(item)
    return StockOut(int(row.refusals), row.until)


def put_stock_out(project: str, offer_key: str, seen: StockOut | None, new: StockOut) -> bool:
    """Remember a refusal, unless somebody else did so since `seen` was read; returns whether it was written."""
    unchanged = MarketRow.until.does_not_exist() if seen is None else MarketRow.until == seen.until
    row = MarketRow(
        _stock_topic(project), offer_key, refusals=new.count, until=new.until, ttl=epoch(new.until + FORGOTTEN)
    )
    try:
        calls.put(row, unchanged)
    except calls.ConditionFailedError:
        return False
    return True


def forget_stock_out(project: str, offer_key: str) -> None:
    """A launch of the offer worked."""
    calls.delete(MarketRow, _stock_topic(project), offer_key)


def bucket(scope: str) -> Bucket | None:
    """Read the bucket of one launch limit."""
    item = calls.get(MarketRow, _launch_topic(scope), BUCKET, consistent=True)
    if item is None:
        return None
    row = MarketRow.from_raw_data(item)
    return Bucket(float(row.tokens), row.at)


def put_bucket(scope: str, seen: Bucket | None, new: Bucket) -> bool:
    """Write a bucket, if it still is the one that was seen; returns whether it was.

    An answer that was lost reads as a race lost to oneself: then a token is gone without a launch, and no harm done.
    """
    unchanged = MarketRow.at.does_not_exist()
    if seen is not None:
        unchanged = (MarketRow.at == seen.at) & (MarketRow.tokens == seen.tokens)
    row = MarketRow(_launch_topic(scope), BUCKET, tokens=new.tokens, at=new.at, ttl=epoch(new.at + KEEP_BUCKET))
    try:
        calls.put(row, unchanged)
    except calls.ConditionFailedError:
        return False
    return True


def queue(scope: str, place: str, *, until: datetime) -> None:
    """Stand in the queue of a launch limit at `place` (places sort), or say that one still does."""
    attributes: Mapping[str, object] = {
        "topic": _launch_topic(scope),
        "entry": _ticket(place),
        "until": until,
        "ttl": epoch(until + KEEP_TICKET),
    }
    calls.write(MarketRow, attributes)


def ahead(scope: str, place: str, now: datetime) -> int:
    """Count who waits before `place`. Tickets that nobody renewed in time do not count."""
    before = MarketRow.entry.between(_ticket(""), _ticket(place))
    waiting = calls.query_all(
        MarketRow,
        _launch_topic(scope),
        range_key_condition=before,
        filter_condition=MarketRow.until > now,
        consistent_read=True,
        limit=LONGEST_QUEUE,
    )
    return sum(1 for item in waiting if item["entry"]["S"] != _ticket(place))


def leave(scope: str, place: str) -> None:
    """Leave the queue."""
    calls.delete(MarketRow, _launch_topic(scope), _ticket(place))


def _stock_topic(project: str) -> str:
    return f"stock-outs#{project}"


def _launch_topic(scope: str) -> str:
    return f"launches#{scope}"


def _ticket(place: str) -> str:
    return f"ticket#{place}"

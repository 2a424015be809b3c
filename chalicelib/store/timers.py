"""Timers: filed by their due minute, found and deleted by the sweep, and read back from the stream's old image."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from chalicelib.domain.timers import Timer, TimerKind, whole_second
from chalicelib.store import calls
from chalicelib.store.columns import epoch
from chalicelib.store.models import TimerRow

WATERMARK: Final = ("watermark", "sweep")


def put(timer: Timer) -> Timer:
    """File a timer and return it as filed: due on a whole second, rounded up. Filing it again is fine."""
    filed = replace(timer, due_at=whole_second(timer.due_at))
    calls.write(TimerRow, {"due": filed.partition, "timer": filed.sort, "ttl": epoch(filed.due_at)})
    return filed


def due(partition: str, now: datetime, limit: int) -> list[Timer]:
    """Read up to `limit` timers of one partition (`domain.timers.due_partitions` names them) that are due by `now`.

    The minute of `now` may hold some that are not due yet; they are passed over, not counted. A timer gives its own
    key: `timer.partition`, `timer.sort`.
    """
    found: list[Timer] = []
    for item in calls.query_all(
        TimerRow, partition, filter_condition=TimerRow.ttl <= epoch(now), limit=max(limit, 100)
    ):
        found.append(parse(item))
        if len(found) == limit:
            break
    return found


def delete(batch: Sequence[Timer]) -> int:
    """Delete filed timers, which fires them; return how many are certainly gone.

    Those that a throttled partition kept are left for the next sweep. One that somebody else deleted counts as gone:
    its record was written by that deletion, once.
    """
    return calls.delete_many(TimerRow, [{"due": {"S": each.partition}, "timer": {"S": each.sort}} for each in batch])


def parse(old_image: Mapping[str, Mapping[str, Any]]) -> Timer:
    """Read a timer from a raw item, as the stream's old image is one."""
    target, fence, kind = old_image["timer"]["S"].rsplit("#", 2)
    due_at = datetime.fromtimestamp(int(old_image["ttl"]["N"]), tz=UTC)
    return Timer(kind=TimerKind(kind), target=target, fence=int(fence), due_at=due_at)


def watermark() -> datetime | None:
    """The moment up to which a sweep deleted everything, or None before the first."""
    item = calls.get(TimerRow, *WATERMARK, consistent=True)
    return None if item is None else TimerRow.from_raw_data(item).reached


def advance(moment: datetime) -> bool:
    """Move the watermark forward. False: it is there or further already, and stays."""
    behind = TimerRow.reached.does_not_exist() | (TimerRow.reached < moment)
    try:
        calls.update(TimerRow, *WATERMARK, actions=[TimerRow.reached.set(moment)], condition=behind)
    except calls.ConditionFailedError:
        return False
    return True

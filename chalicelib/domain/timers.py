"""Timers: items that make something happen later, and where they are filed.

A timer lives under its due minute and a shard, so that finding what is due costs a few small queries whatever the
number of timers. Nobody cancels one: whoever acts on it re-reads the row, and a stale timer does nothing.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from chalicelib.domain.lifecycle import State

SHARDS: Final = 8
"""Partitions of one due minute: each takes 1,000 writes a second (DynamoDB's limit), and its timers fire beside those
of the others. A sweep asks each of them, every minute. May grow while timers are filed, and must not shrink then."""

OVERLAP: Final = timedelta(minutes=5)
"""How far behind its watermark a sweep looks again, for timers that a slow writer filed late."""


class TimerKind(StrEnum):
    """What is to be looked at when the timer fires."""

    IDLE = "idle"
    LEASE = "lease"
    PROVISIONING = "provisioning"
    TEARDOWN = "teardown"
    PRESENCE = "presence"
    PLACEMENT = "placement"
    INTERRUPTION = "interruption"
    MAX_DURATION = "max-duration"


DEADLINE_KIND: Final[Mapping[State, TimerKind]] = {
    State.PENDING: TimerKind.PROVISIONING,
    State.PROVISIONING: TimerKind.PROVISIONING,
    State.IDLE: TimerKind.IDLE,
    State.BUSY: TimerKind.LEASE,
    State.TERMINATING: TimerKind.TEARDOWN,
}
"""Which timer stands behind the deadline of each state. `TERMINATED` has none: nothing happens to it any more."""


@dataclass(frozen=True, slots=True)
class Timer:
    """One thing to look at later.

    `target` is `instance/<project>/<pool>/<instance id>` or `run/<project>/<run id>`; `fence` is the fence that the
    row will have when the timer is meant (0 for kinds that outlive a change of holder). `due_at` is aware, UTC.
    """

    kind: TimerKind
    target: str
    fence: int
    due_at: datetime

    @property
    def partition(self) -> str:
        """The due minute in epoch minutes, and the shard of the target."""
        return partition(minute_of(self.due_at), zlib.crc32(self.target.encode()) % SHARDS)

    @property
    def sort(self) -> str:
        """Unique within the partition; the same timer written twice is one item."""
        return f"{self.target}#{self.fence}#{self.kind.value}"


def minute_of(moment: datetime) -> int:
    """Whole minutes since the epoch."""
    return int(moment.timestamp()) // 60


def partition(minute: int, shard: int) -> str:
    """The partition key of one shard of one due minute."""
    return f"{minute:010d}#{shard}"


def start_of(partition_key: str) -> datetime:
    """The moment at which the due minute of a partition begins."""
    return datetime.fromtimestamp(int(partition_key.split("#", maxsplit=1)[0]) * 60, tz=UTC)


def due_partitions(*, watermark: datetime, now: datetime) -> Iterator[str]:
    """Name every partition that may hold a timer due by `now`, oldest minute first.

    `watermark` is the moment up to which an earlier sweep deleted everything; the look-back is `OVERLAP` before it.
    """
    first = minute_of(min(watermark, now) - OVERLAP)
    for minute in range(first, minute_of(now) + 1):
        for shard in range(SHARDS):
            yield partition(minute, shard)


def instance_target(project: str, pool: str, instance_id: str) -> str:
    """Name an instance as the target of a timer."""
    return f"instance/{project}/{pool}/{instance_id}"


def run_target(project: str, run_id: str) -> str:
    """Name a run as the target of a timer."""
    return f"run/{project}/{run_id}"


def whole_second(moment: datetime) -> datetime:
    """Round up to the second: TTL attributes have no fractions, and a timer must not fire before its moment."""
    return datetime.fromtimestamp(-(-moment.timestamp() // 1), tz=UTC)

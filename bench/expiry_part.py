"""Runs the clock's two workers: `python -m bench.expiry_part lateness N | rate N ROUNDS | backend-calls N`.

The clock is counted: it shows the processor time that was really used, plus for every call to DynamoDB or Step
Functions the time that such a call is taken to wait. A function has its processor to itself, so processor time is what
would have passed. A stream's records are spread over `ParallelizationFactor` invocations by their partition key.
"""

import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from bench import fleet
from bench.fake_tables import FakeTables, Item
from bench.processes import STAGE
from bench.quiet import answer, quietly
from chalicelib.domain.timers import OVERLAP, Timer, TimerKind, instance_target
from chalicelib.services import expiry
from chalicelib.store import rows, timers
from infra.resources import template
from tests.services.world import World

POOL: Final = "due"
FENCE: Final = 1_234
SWEEP_EVERY: Final = timedelta(minutes=1)
SWEEP_FOR: Final = timedelta(seconds=45)
CALL: Final = timedelta(milliseconds=5)
"""What a call to DynamoDB takes, as the cost model of the goals assumes."""

START_WORKFLOW: Final = timedelta(milliseconds=20)
POLL: Final = timedelta(milliseconds=250)
"""Lambda reads each shard of a stream four times a second (AWS Lambda Developer Guide, "DynamoDB streams")."""

COLD: Final = timedelta(seconds=2)
"""Every invocation is taken to begin with a cold start at half of a core."""


class Clock:
    """Shows the moment it was set to, plus processor time used since, plus what was waited."""

    def __init__(self, moment: datetime) -> None:
        self.set(moment)

    def set(self, moment: datetime) -> None:
        self._moment, self._used = moment, time.process_time()

    def wait(self, duration: timedelta) -> None:
        self._moment += duration

    def now(self) -> datetime:
        return self._moment + timedelta(seconds=time.process_time() - self._used)


class Due:
    """`count` idle instances whose time is up at one moment, and their timers, in tables that answer at once."""

    def __init__(self, count: int) -> None:
        self.world = World()
        self.due_at = self.world.clock
        self.clock = Clock(self.due_at)
        self.fake = FakeTables(STAGE, on_call=lambda operation: self.clock.wait(CALL))
        self.fake.update = self._terminating
        self.deps = replace(self.world.deps, now=self.clock.now, executions=Started(self.clock))
        self.timers = []
        idle_since = self.due_at - fleet.LONG
        for number in range(count):
            one = fleet.instance(number, now=idle_since, pool=POOL, deadline=self.due_at, fence=FENCE)
            item = rows.encode(one, wrote="step", write="w").serialize()
            self.fake.seed("instances", item)
            target = instance_target(fleet.PROJECT, POOL, one.instance_id)
            self.timers.append(timers.put(Timer(TimerKind.IDLE, target, FENCE, self.due_at)))

    @staticmethod
    def _terminating(item: Item) -> Item:
        """What the row is after the one transition that happens here; the watermark's row has no state."""
        if "state" not in item:
            return item
        changed = {"state": {"S": "terminating"}, "reason": {"S": "idle-timeout"}, "fence": {"N": str(FENCE + 1)}}
        return {name: value for name, value in (item | changed).items() if not name.startswith("claim_")}


class Started:
    """Workflows, which are only started here."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.count = 0

    def start(self, arn: str, name: str, payload: dict[str, Any]) -> None:  # noqa: ARG002 - the protocol's signature
        self._clock.wait(START_WORKFLOW)
        self.count += 1

    def running(self, arn: str, name: str) -> bool:  # noqa: ARG002
        return False

    def succeed(self, callback: str, payload: dict[str, Any]) -> None:
        raise AssertionError("no timer completes a callback")


def lateness(count: int) -> dict[str, list[float]]:
    """Seconds from the due moment to each decision, in the worst case: everything is due just after a sweep began."""
    due = Due(count)
    factor = _parallel()
    swept_at = due.due_at + SWEEP_EVERY - timedelta(seconds=1)
    due.clock.set(swept_at)
    # The last sweep was a minute ago; without its watermark this one would look through an hour of partitions.
    due.fake.seed("timers", _watermark(swept_at - SWEEP_EVERY))
    due.clock.set(swept_at)
    deleted = expiry.sweep(due.deps, until=swept_at + SWEEP_FOR)
    assert deleted == count, (deleted, count)
    delivered = due.clock.now() + POLL + COLD
    lanes: dict[int, list[Item]] = defaultdict(list)
    for item in due.fake.deleted:
        lanes[zlib.crc32(item["due"]["S"].encode()) % factor].append(item)
    late: list[float] = []
    for lane in lanes.values():
        due.clock.set(delivered)
        for item in lane:
            verdict = expiry.fire(due.deps, timers.parse(item))
            assert verdict is not None
            assert verdict.action == "terminate", verdict
            late.append((due.clock.now() - due.due_at).total_seconds())
    return {"late_s": late}


def _watermark(moment: datetime) -> Item:
    from chalicelib.store.models import TimerRow

    item: Item = TimerRow(*timers.WATERMARK, reached=moment).serialize()
    return item


def _parallel() -> int:
    """How many invocations may work on the timers' stream at once, as it is deployed."""
    events = template("bench", {})["Resources"]["OnTimer"]["Properties"]["Events"]
    (event,) = events.values()
    return int(event["Properties"]["ParallelizationFactor"])


def rate(count: int, rounds: int) -> dict[str, list[float]]:
    """Decisions per second of processor time, `count` in a row."""
    due = Due(count)
    per_s = []
    for _ in range(rounds):
        due.clock.set(due.due_at + timedelta(seconds=1))
        started = time.process_time()
        for timer in due.timers:
            expiry.fire(due.deps, timer)
        per_s.append(count / (time.process_time() - started))
    return {"per_s": per_s}


def backend_calls(count: int) -> dict[str, int]:
    """Sweep and fire `count` timers beside a backend that would hang; count what is asked of it."""
    due = Due(count)
    asked: list[str] = []
    deps = replace(due.deps, backend=lambda name: asked.append(name))  # type: ignore[arg-type]
    due.fake.seed("timers", _watermark(due.due_at - OVERLAP))
    due.clock.set(due.due_at + timedelta(seconds=1))
    expiry.sweep(deps, until=due.due_at + SWEEP_FOR)
    for item in due.fake.deleted:
        expiry.fire(deps, timers.parse(item))
    started = due.deps.executions
    assert isinstance(started, Started)
    assert started.count == count
    return {"calls": len(asked), "workflows": started.count}


WORK: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "lateness": lateness,
    "rate": rate,
    "backend-calls": backend_calls,
}

if __name__ == "__main__":
    with quietly():
        result = WORK[sys.argv[1]](*map(int, sys.argv[2:]))
    answer(result)

"""Runs the clock's two workers: `python -m bench.expiry_part lateness N | rate N ROUNDS | backend-calls N`.

The clock is counted. It shows the processor time that was really used, stretched to the share of a core that the
function has, plus the time that each call to DynamoDB or Step Functions is taken to wait. The records of the stream
reach as many invocations as there are partitions of a minute, a batch at a time, each of them firing a few at once.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from bench import fleet
from bench.fake_tables import FakeTables, Item
from bench.processes import ROOT, STAGE
from bench.quiet import answer, quietly
from bench.socketless import answer_with
from chalicelib.backends.base import Backend
from chalicelib.domain.timers import OVERLAP, Timer, TimerKind, instance_target
from chalicelib.services import expiry
from chalicelib.store import rows, tables, timers
from chalicelib.store.models import InstanceRow, TimerRow
from chalicelib.workflows.timers import AT_ONCE, SWEEP_FOR
from infra.resources import BATCH
from tests.services.world import World

POOL: Final = "due"
FENCE: Final = 1_234
SWEEP_EVERY: Final = timedelta(minutes=1)
CALL_S: Final = 0.005
"""What a call to DynamoDB waits, as the cost model of the goals assumes."""

START_S: Final = 0.020
"""The same for starting a workflow."""

POLL_S: Final = 0.25
"""Lambda reads each shard of a stream four times a second (AWS Lambda Developer Guide, "DynamoDB streams")."""

COLD_S: Final = 2.0
"""The first invocations begin with a cold start: 0.6 s of a whole core at most, at a third of a core."""

CORE_MB: Final = 1_769
"""The memory at which a function has one core (AWS Lambda Developer Guide)."""


@cache
def stretch(function: str) -> float:
    """How much longer a second of a core takes in a function, by its memory in `.chalice/config.json`."""
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    return CORE_MB / float(config["lambda_functions"][function]["lambda_memory_size"])


class Clock:
    """Shows the moment it was set to, plus what was used of a processor since, plus what was waited."""

    def __init__(self, moment: datetime, factor: float = 1) -> None:
        self.set(moment, factor)

    def set(self, moment: datetime, factor: float = 1) -> None:
        """Show `moment`; from now on a second of the processor counts `factor` seconds."""
        self.waited = 0.0
        self._moment, self._factor, self._began = moment, factor, time.process_time()

    def used(self) -> float:
        """Seconds of the function's processor since it was set."""
        return (time.process_time() - self._began) * self._factor

    def now(self) -> datetime:
        """The moment it shows."""
        return self._moment + timedelta(seconds=self.used() + self.waited)


@dataclass(frozen=True, slots=True)
class Deleted:
    """A timer that the sweep deleted, and when."""

    item: Item
    at: datetime


class Due:
    """`count` idle instances whose time is up at one moment, and their timers, in tables that answer at once."""

    def __init__(self, count: int) -> None:
        self.world = World()
        self.due_at = self.world.clock
        self.clock = Clock(self.due_at)
        self.fake = FakeTables(STAGE, on_call=lambda: self._wait(CALL_S))
        self.fake.update = self._terminating
        self.deps = replace(self.world.deps, now=self.clock.now, executions=Started(lambda: self._wait(START_S)))
        self.timers = []
        idle_since = self.due_at - fleet.LONG
        for number in range(count):
            one = fleet.instance(number, now=idle_since, pool=POOL, deadline=self.due_at, fence=FENCE)
            item = rows.encode(one, wrote="step", write="w").serialize()
            self.fake.seed("instances", item)
            target = instance_target(fleet.PROJECT, POOL, one.instance_id)
            self.timers.append(timers.put(Timer(TimerKind.IDLE, target, FENCE, self.due_at)))

    def _wait(self, seconds: float) -> None:
        self.clock.waited += seconds

    @staticmethod
    def _terminating(item: Item) -> Item:
        """What the row is after the one transition that happens here; the watermark's row has no state."""
        if "state" not in item:
            return item
        changed = {"state": {"S": "terminating"}, "reason": {"S": "idle-timeout"}, "fence": {"N": str(FENCE + 1)}}
        return {name: value for name, value in (item | changed).items() if not name.startswith("claim_")}


class Started:
    """Workflows, which are only started here."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait
        self.count = 0

    def start(self, arn: str, name: str, payload: dict[str, Any]) -> None:  # noqa: ARG002 - the protocol's signature
        self._wait()
        self.count += 1

    def running(self, arn: str, name: str) -> bool:  # noqa: ARG002
        return False

    def succeed(self, callback: str, payload: dict[str, Any]) -> None:  # noqa: ARG002
        raise AssertionError("no timer completes a callback")


def lateness(count: int) -> dict[str, list[float]]:
    """Seconds from the due moment to each decision, in the worst case: everything is due just after a sweep began."""
    due = Due(count)
    deleted = _sweep(due, due.due_at + SWEEP_EVERY - timedelta(seconds=1))
    assert len(deleted) == count, (len(deleted), count)
    client_s = client_cpu_s()
    lanes: dict[str, list[Deleted]] = defaultdict(list)
    for each in deleted:
        lanes[each.item["due"]["S"]].append(each)
    late = [moment - due.due_at for lane in lanes.values() for moment in _drain(due, lane, client_s)]
    return {"late_s": [each.total_seconds() for each in late]}


def _sweep(due: Due, moment: datetime) -> list[Deleted]:
    """Run the sweep of a moment, one minute after the one before."""
    found: list[Deleted] = []
    due.fake.on_delete = lambda item: found.append(Deleted(item, due.clock.now()))
    reached: Item = TimerRow(*timers.WATERMARK, reached=moment - SWEEP_EVERY).serialize()
    due.fake.seed("timers", reached)
    due.clock.set(moment, stretch("sweep"))
    expiry.sweep(due.deps, until=moment + SWEEP_FOR)
    return found


def _drain(due: Due, lane: list[Deleted], client_s: float) -> list[datetime]:
    """Fire the timers of one partition, batch after batch; return when each was decided."""
    decided: list[datetime] = []
    free = lane[0].at + timedelta(seconds=COLD_S)
    for start in range(0, len(lane), BATCH):
        batch = lane[start : start + BATCH]
        began = max(free, batch[-1].at + timedelta(seconds=POLL_S))
        used = 0.0
        for place, each in enumerate(batch):
            due.clock.set(began, stretch("on_timer"))
            calls = due.fake.calls.total()
            verdict = expiry.fire(due.deps, timers.parse(each.item))
            assert verdict is not None
            assert verdict.action == "terminate", verdict
            used += due.clock.used() + (due.fake.calls.total() - calls) * client_s * stretch("on_timer")
            waited = due.clock.waited * (place // AT_ONCE + 1)
            decided.append(began + timedelta(seconds=used + waited))
        free = max(decided[start:])
    return decided


def client_cpu_s() -> float:
    """Processor time of one call in PynamoDB's client and below, down to a socket that is not there."""
    connection = tables.connection(InstanceRow).connection
    answer_with(connection.client, lambda: b"{}")
    call = {"TableName": "t", "Key": {"part": {"S": "p"}, "instance_id": {"S": "i"}}}
    connection._make_api_call("GetItem", call)
    started, repeats = time.process_time(), 300
    for _ in range(repeats):
        connection._make_api_call("GetItem", call)
    return (time.process_time() - started) / repeats


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

    def backend(name: str) -> Backend:
        asked.append(name)
        raise AssertionError("no timer calls a backend")

    deps = due.deps = replace(due.deps, backend=backend)
    for each in _sweep(due, due.due_at + OVERLAP):
        expiry.fire(deps, timers.parse(each.item))
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

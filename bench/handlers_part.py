"""Measures the app in a process of its own: `python -m bench.handlers_part requests|listing ROUNDS`."""

import gc
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bench import fleet
from bench.events import request
from bench.fake_tables import FakeTables, Item
from bench.quiet import answer, quietly
from bench.socketless import answer_with
from chalicelib.domain.lifecycle import State
from chalicelib.store import rows
from tests.builders import make_lease

POOL: Final = "bench"
INDEXED: Final = ("part", "instance_id", "claim_shape", "claim_order", "fence", "seen_at", "name")
"""What an entry of the index `claimable` has."""

REPEATS: Final = 200
PAGE: Final = 1_000


def requests(rounds: int) -> dict[str, list[float]]:
    """CPU in µs and calls to DynamoDB of acquire, release and get; each sample is the mean of `REPEATS` requests."""
    from app import app

    now = datetime.now(UTC)
    fake = FakeTables("bench")
    idle = rows.encode(fleet.instance(1, now=now, pool=POOL), wrote="step", write="w").serialize()
    busy = _busy(now)
    fake.seed("pools", fleet.shape_item(POOL))
    fake.seed("instances", busy)
    partition = f"{fleet.PROJECT}/{POOL}/{fleet.OFFER.shape}"
    entry = {name: idle[name] for name in INDEXED}
    fake.items["tidepool-bench-instances"][partition] = {"": entry}
    fake.items["tidepool-bench-pools"][fleet.PROJECT] = {
        POOL: {"project": {"S": fleet.PROJECT}, "name": {"S": POOL}},
        "shape": fleet.shape_item(POOL),
    }
    lease = f"{POOL}.{busy['instance_id']['S']}.{busy['fence']['N']}"
    asked = {
        "acquire": (request("POST", "/pools/{pool}/leases", {"holder": "bench"}, pool=POOL), 201, busy),
        "release": (request("DELETE", "/leases/{lease_id}", lease_id=lease), 200, idle),
        "get": (request("GET", "/leases/{lease_id}", lease_id=lease), 200, busy),
    }
    measured: dict[str, list[float]] = {}
    for _ in range(rounds + 1):
        for name, (event, status, after) in asked.items():
            fake.update = _giving(after)
            measured.setdefault(name, []).append(_cpu_micros(app, event, status))
            fake.calls.clear()
            with quietly():
                app(event, None)
            measured.setdefault(f"{name} calls", []).append(fake.calls.total())
    return {name: samples[1:] for name, samples in measured.items()}


def _busy(now: datetime) -> Item:
    one = fleet.instance(1, now=now, pool=POOL, state=State.BUSY)
    lease = make_lease(pool=POOL, instance_id=one.instance_id, fence=one.fence, acquired_at=now, holder="bench")
    held = fleet.instance(1, now=now, pool=POOL, state=State.BUSY, lease=lease, deadline=now + timedelta(minutes=2))
    item: Item = rows.encode(held, wrote="step", write="w").serialize()
    return item


def _giving(item: Item) -> Callable[[Item], Item]:
    return lambda _: item


def _cpu_micros(app: Callable[[Any, Any], Any], event: Any, status: int) -> float:
    """The mean CPU time of one request, in µs."""
    with quietly():
        first = app(event, None)
        assert first["statusCode"] == status, first
        started = time.process_time()
        for _ in range(REPEATS):
            app(event, None)
        return (time.process_time() - started) / REPEATS * 1e6


def listing(rounds: int) -> dict[str, Any]:
    """A page of 1,000 long rows through DynamoDB's own client, whose socket is replaced by ready bytes."""
    from app import app
    from chalicelib.store import tables
    from chalicelib.store.models import InstanceRow

    now = datetime.now(UTC)
    tables.configure("bench")
    client = tables.connection(InstanceRow).connection.client
    bodies: dict[str, bytes] = {}
    answer_with(client, lambda: bodies["next"])
    event = request("GET", "/pools/{pool}/instances", query={"limit": str(PAGE)}, pool=POOL)
    ordinary = _page(list(fleet.items(PAGE, now=now, pool=POOL)))
    longest = _page(_longest(now))
    cpu_ms = []
    with quietly():
        bodies["next"] = longest
        largest = app(event, None)
        bodies["next"] = ordinary
        gc.collect()
        for _ in range(rounds + 3):
            started = time.process_time()
            page = app(event, None)
            cpu_ms.append((time.process_time() - started) * 1e3)
    assert page["statusCode"] == largest["statusCode"] == 200, page
    shown = json.loads(page["body"])["items"]
    return {
        "cpu_ms": cpu_ms[3:],
        "bytes": len(page["body"].encode()),
        "largest": len(largest["body"].encode()),
        "rows": len(shown),
    }


def _longest(now: datetime) -> list[Item]:
    """Rows with everything that can be long: a lease, a detail of characters that JSON escapes, long names."""
    made = []
    for number in range(PAGE):
        pool, instance_id = "p" * 63, f"i-{number:026d}"
        lease = make_lease(pool=pool, instance_id=instance_id, fence=9, holder='"' * 200, acquired_at=now)
        one = fleet.instance(
            number, now=now, pool=pool, instance_id=instance_id, state=State.BUSY, lease=lease, detail='"\n' * 500
        )
        made.append(rows.encode(one, wrote="step", write="w").serialize())
    return made


def _page(items: list[Item]) -> bytes:
    return json.dumps({"Items": items, "Count": len(items), "ScannedCount": len(items)}).encode()


if __name__ == "__main__":
    answer({"requests": requests, "listing": listing}[sys.argv[1]](int(sys.argv[2])))

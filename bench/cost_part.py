"""Runs the verbs on real tables and meters them: `python -m bench.cost_part verbs FEW MANY | history DEAD ROUNDS`.

The tables are those of the emulator at `AWS_ENDPOINT_URL`.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import boto3

from bench import fleet
from bench.processes import STAGE
from bench.quiet import answer, quietly
from bench.stack import put_items
from chalicelib.domain.policies import LEASE
from chalicelib.domain.timers import Timer, TimerKind, instance_target
from chalicelib.services import expiry, instances, leases, pools
from chalicelib.services.deps import Deps
from chalicelib.store import listing, tables
from chalicelib.store.models import InstanceRow
from tests.builders import make_policies
from tests.services.world import World
from tests.store.meter import metered

ACTOR: Final = "user:bench"
FREE: Final = 10
"""Two acquires, two removals and an expiry need an instance each."""


class Bench:
    """The verbs of one project on the emulator's tables."""

    def __init__(self) -> None:
        tables.configure(STAGE)
        self.plain = boto3.client("dynamodb")
        known = self.plain.list_tables()["TableNames"]
        for definition in tables.schema(STAGE):
            if definition["TableName"] not in known:
                self.plain.create_table(**{k: v for k, v in definition.items() if k != "TimeToLiveAttribute"})
        self.world = World()
        self.deps: Deps = self.world.deps
        if not known:
            pools.create_project(self.deps, fleet.PROJECT)

    def pool(self, name: str, live: int, dead: int = 0, **rest: Any) -> str:
        """A pool with instances in it; returns its name."""
        pools.create(self.deps, fleet.PROJECT, name)
        self.put("pools", [fleet.shape_item(name)])
        self.put("instances", list(fleet.items(live, now=self.deps.now(), pool=name, **rest)))
        self.put("instances", list(fleet.dead_items(dead, now=self.deps.now(), pool=name)))
        return name

    def put(self, noun: str, items: list[Any]) -> None:
        """Write raw items."""
        put_items(self.plain, tables.table_name(STAGE, noun), items)

    def cost(self, work: Callable[[], Any]) -> dict[str, float]:
        """What a piece of work costs in calls and units."""
        with metered(tables.connection(InstanceRow).connection.client, self.plain) as meter:
            work()
        return {"calls": meter.calls.total(), "reads": meter.reads, "writes": meter.writes}


def verbs(few: int, many: int) -> dict[str, dict[str, dict[str, float]]]:
    """Each verb in a pool of `few` and in one of `many`."""
    bench = Bench()
    return {str(count): _verbs(bench, bench.pool(f"verbs-{count}", count)) for count in sorted({few, many})}


def _verbs(bench: Bench, pool: str) -> dict[str, dict[str, float]]:
    deps, project, policies = bench.deps, fleet.PROJECT, make_policies(defaults=LEASE, gpu="80GB:1..")
    held: list[Any] = []

    def acquire() -> None:
        held.append(leases.acquire(deps, project, pool, policies, holder="bench"))

    costs = {"first acquire": bench.cost(acquire), "acquire": bench.cost(acquire)}
    lease = held[-1].lease.lease_id
    costs["release"] = bench.cost(lambda: leases.release(deps, project, lease, actor=ACTOR))
    members = (fleet.instance(number, now=deps.now(), pool=pool) for number in range(FREE))
    shown, named, expired = [each for each in members if each.instance_id not in {row.instance_id for row in held}][:3]
    bench.put("names", [fleet.name_item(named)])
    end = partial(instances.remove, deps, project, force=False, actor=ACTOR)
    costs["remove"] = bench.cost(lambda: end(shown.instance_id, pool=pool))
    costs["remove by name"] = bench.cost(lambda: end(named.name, pool=None))
    costs["expire"] = bench.cost(lambda: _expire(bench, pool, expired.instance_id))
    costs["list 10"] = bench.cost(lambda: listing.page(project, pool, limit=10, cursor=None))
    return costs


def _expire(bench: Bench, pool: str, instance_id: str) -> None:
    """The part of an expiry after the sweep: one timer that fires."""
    target = instance_target(fleet.PROJECT, pool, instance_id)
    timer = Timer(TimerKind.IDLE, target, 1_234, bench.deps.now())
    bench.world.pass_time(fleet.LONG.total_seconds() + 1)
    verdict = expiry.fire(bench.deps, timer)
    bench.world.pass_time(-fleet.LONG.total_seconds() - 1)
    assert verdict is not None
    assert verdict.action == "terminate", verdict


def history(dead: int, rounds: int) -> dict[str, Any]:
    """A page of a pool with 10 live instances, alone and beside `dead` ended ones."""
    bench = Bench()
    found: dict[str, Any] = {}
    for name, ended in (("alone", 0), ("beside", dead)):
        bench.pool(name, 10, ended)
        found[name] = bench.cost(lambda name=name: listing.page(fleet.PROJECT, name, limit=100, cursor=None))  # type: ignore[misc]
        found[name]["seconds"] = []
    for _ in range(rounds):
        for name, figures in found.items():
            started = time.perf_counter()
            texts, _cursor = listing.page(fleet.PROJECT, name, limit=100, cursor=None)
            figures["seconds"].append(time.perf_counter() - started)
            assert len(texts) == 10
    return found


if __name__ == "__main__":
    with quietly():
        result = {"verbs": verbs, "history": history}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
    answer(result)

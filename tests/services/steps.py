"""What the tests of the services do again and again: ask for something, let the outside go on, look."""

from chalicelib.domain.model import Instance, JobSpec, Run
from chalicelib.domain.policies import POOL_ADD, RUN, parse
from chalicelib.domain.timers import due_partitions, start_of
from chalicelib.services import expiry, instances, pools, reconcile, runs
from chalicelib.store import tables, timers
from chalicelib.store.models import TimerRow
from tests.services.world import World

COMPARED_EVERY = 5
"""Minutes between two comparisons with the cloud."""


def add(world: World, *, name: str = "", **body) -> Instance:
    """Ask for an instance in the default pool; `body` are its policies."""
    policies, _ = parse(body, defaults=POOL_ADD)
    pool = pools.resolve(world.deps, "main", None)
    return instances.add(world.deps, "main", pool.name, policies, name=name, actor="user:me", api_url="")


def submit(world: World, *, pool=None, reuse=False, instance="", key="", nodes=1, image="", **body) -> Run:
    """Submit a run; `body` are its policies. The same `key` again is the same request again."""
    policies, _ = parse(body, defaults=RUN)
    wanted = runs.RunSubmission("", pool, JobSpec(("true",), image), policies, reuse, instance, nodes)
    return runs.submit(world.deps, "main", wanted, actor="user:me", api_url="", request_id=key)


def state_of(world: World, row: Instance) -> Instance:
    """The instance as it is now, ended or not."""
    return instances.show(world.deps, "main", row.instance_id).instance


def run_of(world: World, run: Run) -> Run:
    """The run as it is now, ended or not."""
    return runs.show(world.deps, "main", run.run_id)[0]


def every_run(world: World) -> list[Run]:
    """All runs, newest first."""
    return runs.page(world.deps, "main", limit=9, cursor=None, active=False)[0]


def fire_due(world: World) -> list:
    """What the sweep and the stream do together, without asking the many partitions that hold nothing."""
    fired: list = []
    holding = _partitions_in_use()
    if not holding:
        return fired
    for partition in due_partitions(watermark=start_of(min(holding)), now=world.clock):
        if partition not in holding:
            continue
        due = timers.due(partition, now=world.clock, limit=100)
        timers.delete(due)
        fired += [expiry.fire(world.deps, timer) for timer in due]
        holding = _partitions_in_use() if due else holding
    return fired


def _partitions_in_use() -> set[str]:
    answer = tables.connection(TimerRow).scan()
    assert "LastEvaluatedKey" not in answer, "more timers than one page holds"
    return {item["due"]["S"] for item in answer["Items"]}


def ready(world: World) -> None:
    """Let every instance that was asked for get its machine, and the machine's agent report."""
    world.run_workflows()
    world.boot()
    world.sync_all()
    world.run_workflows()


def settle(world: World, minutes: int = 30) -> None:
    """Let everything go on by itself, a minute at a time."""
    for minute in range(minutes):
        fire_due(world)
        world.run_workflows()
        world.boot()
        world.sync_all()
        if minute % COMPARED_EVERY == 0:
            reconcile.compare(world.deps)
        world.pass_time(60)


def until_deadline(world: World, row: Instance) -> None:
    """Let the time up to an instance's deadline pass, and then act what is due."""
    deadline = state_of(world, row).deadline
    assert deadline is not None
    world.pass_time((deadline - world.clock).total_seconds() + 1)
    fire_due(world)
    world.run_workflows()

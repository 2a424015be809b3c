"""A run on several nodes moves on from a region that cannot give all of them, and leaves nothing behind."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.errors import NoOffersError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import RunReason, RunState
from chalicelib.domain.nodes import blank
from chalicelib.services import gatherings, placement, reconcile, runs, teardown
from chalicelib.store import instances as instance_store
from chalicelib.store import runs as run_store
from tests.builders import make_offer
from tests.services.gangs import A, B, C, live, minute, until
from tests.services.steps import add, ready, run_of, settle, submit
from tests.services.world import World


@pytest.fixture
def world(regional: World) -> World:
    return regional


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_run_that_lost_spot_machines_twice_gets_what_stays_if_there_is_any(world, nodes):
    """The cheapest region has spot machines only."""
    spot = make_offer(backend="sim", region="a", price=5, spot=True)
    world.cloud.shelf[:] = [spot, B]
    run = submit(world, nodes=nodes, spot_policy="auto", retry={"on_events": ["interruption"], "duration": "6h"})
    again = run_store.step(
        run_of(world, run),
        RunState.SUBMITTED,
        now=world.clock,
        reason=RunReason.INTERRUPTED,
        actor="test",
        instance_id="",
        instance_name="",
        tries=replace(run.tries, interruptions=2, number=3),
        jobs=blank(run.jobs),
    )
    placed = placement.place(world.deps, again)
    world.run_workflows()
    ids = [job.instance_id for job in placed.jobs] or [placed.instance_id]
    bought = [world.cloud.shapes[m.ref] for m in world.cloud.alive() if any(i in m.attempt_id for i in ids)]
    assert bought == [B.key] * nodes


def regions(world: World, run) -> set[str]:
    return {instance_store.find("main", job.instance_id).offer.region for job in run.jobs}


@pytest.mark.parametrize("reports_first", [True, False])
def test_a_region_with_one_of_two_machines_is_left_and_what_it_gave_is_removed(world, reports_first):
    """The one machine of region a is there before the other is refused, or still on its way then."""
    world.cloud.stock = {A.key: 1}
    run = submit(world, nodes=2, idle_duration="5m")
    if reports_first:
        first = next(name for name in world.workflows.due() if name.endswith("-0"))
        world.workflows.step(first)
        world.boot()
        world.sync_all()
    ready(world)
    moved = run_of(world, run)
    assert moved.state is RunState.SUBMITTED
    assert moved.detail.endswith("sold out; looking for another cluster")
    running = until(world, run, RunState.RUNNING)
    assert regions(world, running) == {"b"}
    world.pass_time(10)
    world.run_workflows()
    alive = [world.cloud.shapes[machine.ref] for machine in world.cloud.alive()]
    assert alive == [B.key, B.key], "nobody asked for the machine of region a by itself"


@pytest.mark.parametrize("fault", ["quota", "invalid"])
def test_whatever_keeps_a_region_from_giving_machines_the_next_one_is_asked(world, fault):
    world.cloud.faults = [fault]
    run = until(world, submit(world, nodes=2), RunState.RUNNING)
    assert regions(world, run) == {"b"}
    assert run.placements == 2
    assert run.tries.placements == 1, "a region that failed is no machine that did not take its job"


def test_an_account_that_is_refused_is_not_asked_in_its_other_regions(world):
    world.cloud.faults = ["auth"] * 9
    ended = until(world, submit(world, nodes=2), RunState.FAILED)
    assert ended.reason is RunReason.PROVISIONING_FAILED
    assert ended.detail.startswith("no cluster gave the run its 2 nodes: sim: node ")
    assert ended.placements == 1


def test_the_next_run_begins_where_nothing_was_sold_out_a_moment_ago(world):
    world.cloud.sold_out = {A.key}
    until(world, submit(world, nodes=2), RunState.RUNNING)
    launched = len(world.cloud.launched_ids)
    second = submit(world, nodes=3)
    assert {job.cluster for job in second.jobs} == {"sim|b"}
    ready(world)
    assert len(world.cloud.launched_ids) == launched + 3


def test_a_run_that_may_wait_for_capacity_holds_nothing_meanwhile_and_asks_every_region_again(world):
    world.cloud.sold_out = {A.key, B.key, C.key}
    run = submit(world, nodes=2, retry={"on_events": ["no-capacity"], "duration": "2h"})
    for _ in range(10):
        minute(world)
        found = run_of(world, run)
        if found.reason is RunReason.NO_CAPACITY:
            break
    assert found.state is RunState.SUBMITTED
    assert found.tries.retry_at > world.clock
    assert all(region in found.detail for region in ("sim|a", "sim|b", "sim|c"))
    assert [row for row in live(world) if row.state is not State.TERMINATING] == []
    world.pass_time(50 * 60)
    reconcile.compare(world.deps)
    world.cloud.sold_out = {A.key, B.key}
    assert regions(world, until(world, run, RunState.RUNNING, minutes=30)) == {"c"}


def test_a_gang_does_not_wait_for_capacity_of_an_account_that_refuses_it(world):
    """A run on one node ends at once with the provider's words; credentials do not come by waiting."""
    world.cloud.faults = ["auth"] * 40
    run = submit(world, nodes=2, retry={"on_events": ["no-capacity"], "duration": "6h"})
    ended = until(world, run, RunState.FAILED)
    assert ended.reason is RunReason.PROVISIONING_FAILED, ended.detail
    assert ended.placements == 1


def test_waiting_for_capacity_ends_with_the_time_that_the_policy_gives(world):
    world.cloud.sold_out = {A.key, B.key, C.key}
    run = submit(world, nodes=2, retry={"on_events": ["no-capacity"], "duration": "8m"})
    ended = until(world, run, RunState.FAILED, minutes=40)
    assert ended.reason in (RunReason.PROVISIONING_FAILED, RunReason.NO_CAPACITY)
    assert timedelta(minutes=8) <= ended.ended_at - ended.created_at < timedelta(minutes=18)
    settle(world, 3)
    assert live(world) == []


def test_an_image_whose_agents_never_report_is_not_tried_in_every_region(world):
    world.cloud.shelf.append(make_offer(backend="sim", region="d", price=40))
    world.cloud.faults = ["silent"] * 40
    ended = until(world, submit(world, nodes=2), RunState.FAILED, minutes=80)
    assert len(set(world.cloud.shapes.values())) == 3
    assert "node" in ended.detail


def test_a_region_is_left_also_when_the_process_dies_before_it_lets_the_others_go(world, monkeypatch):
    world.cloud.stock = {A.key: 1}
    run = submit(world, nodes=2)
    with monkeypatch.context() as dying:
        dying.setattr(teardown, "_let_go", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ready(world)
    assert regions(world, until(world, run, RunState.RUNNING)) == {"b"}
    settle(world, 20)
    assert len(world.cloud.alive()) == 2


def test_a_region_is_left_also_when_the_process_dies_before_it_says_so(world, monkeypatch):
    world.cloud.stock = {A.key: 1}
    run = submit(world, nodes=2)
    with monkeypatch.context() as dying:
        dying.setattr(gatherings, "again", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ready(world)
    assert regions(world, until(world, run, RunState.RUNNING)) == {"b"}


def test_a_stop_between_two_regions_leaves_nothing(world):
    world.cloud.stock = {A.key: 1}
    run = submit(world, nodes=2, idle_duration="1m")
    ready(world)
    assert run_of(world, run).state is RunState.SUBMITTED
    runs.stop(world.deps, "main", run.name, force=False, actor="user:me")
    settle(world, 8)
    assert live(world) == []
    assert world.cloud.alive() == []


def test_a_run_whose_regions_are_limited_stays_in_them(world):
    world.cloud.sold_out = {A.key}
    ended = until(world, submit(world, nodes=2, regions=["a"]), RunState.FAILED)
    assert "sim|b" not in ended.detail
    with pytest.raises(NoOffersError):
        submit(world, nodes=2, regions=["nowhere"])


def test_an_idle_machine_of_a_region_that_cannot_complete_is_free_again(world):
    mine = add(world, regions=["a"])
    ready(world)
    world.cloud.sold_out = {A.key}
    run = submit(world, nodes=2)
    assert {job.cluster for job in run.jobs} == {"sim|a"}, "one is idle there, so one is to be paid for"
    running = until(world, run, RunState.RUNNING)
    assert regions(world, running) == {"b"}
    assert instance_store.find("main", mine.instance_id).state is State.IDLE

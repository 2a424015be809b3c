"""What was bought for a run on several nodes and never had a job does not bill any longer than it must."""

import pytest

from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import Run, RunState
from chalicelib.domain.policies import RUN, parse
from chalicelib.services import leases, placement, runs, teardown
from chalicelib.store import instances as store
from tests.services.gangs import A, B, C, live, minute, until
from tests.services.steps import add, fire_due, ready, run_of, settle, submit
from tests.services.world import World


@pytest.fixture
def world(regional: World) -> World:
    return regional


def come(world: World, ranks: str) -> None:
    """The machines of these nodes are had, and report."""
    for name in [name for name in world.workflows.due() if name.startswith("up-") and name[-1] in ranks]:
        world.workflows.step(name)
    world.boot()
    world.sync_all()


def left(world: World, **policies) -> tuple[Run, str]:
    """A run that has just left region a, and the id of the machine that it holds there still."""
    world.cloud.stock = {A.key: 1}
    run = submit(world, nodes=2, **policies)
    come(world, "0")
    world.run_workflows()
    (mine,) = [row for row in live(world) if row.state is State.BUSY]
    moved = run_of(world, run)
    assert moved.state is RunState.SUBMITTED
    return moved, mine.instance_id


def test_machines_in_clusters_that_were_left_are_removed_also_where_no_idle_time_ends_them(world):
    """`--idle-duration off` keeps the machines of the job. Nobody asked for those of the regions that were left."""
    world.cloud.stock = {A.key: 2, B.key: 2}
    run = submit(world, nodes=3, idle_duration="off")
    for _ in range(3):
        come(world, "01")
        minute(world)
    until(world, run, RunState.RUNNING, minutes=20)
    settle(world, 5)
    assert sorted(world.cloud.shapes[machine.ref] for machine in world.cloud.alive()) == [C.key] * 3


def test_a_run_that_waits_for_capacity_lets_nothing_bill_meanwhile(world):
    """The pauses are shorter than the idle time, which each round would begin anew."""
    world.cloud.shelf[:] = [A]
    world.cloud.stock = {A.key: 1}
    run = submit(world, nodes=2, idle_duration="5m", retry={"on_events": ["no-capacity"], "duration": "6h"})
    billed = 0
    for _ in range(12):
        come(world, "0")
        minute(world)
        billed += len(world.cloud.alive())
    assert run_of(world, run).detail.startswith("waiting for capacity")
    assert world.cloud.launches == 1
    assert billed <= 2


def test_an_idle_machine_of_the_pool_stays_what_it_was_while_a_run_waits_for_capacity(world):
    mine = add(world, regions=["a"])
    ready(world)
    world.cloud.shelf[:] = [A]
    world.cloud.sold_out = {A.key}
    run = submit(world, nodes=2, retry={"on_events": ["no-capacity"], "duration": "6h"})
    for _ in range(4):
        minute(world)
    assert run_of(world, run).detail.startswith("waiting for capacity")
    assert store.find("main", mine.instance_id).state is State.IDLE


def test_a_machine_that_was_left_and_that_another_took_meanwhile_is_not_touched(world):
    moved, mine = left(world, idle_duration="off")
    row = store.find("main", mine)
    leases.give_back(world.deps, row, row.lease.fence, reason=Reason.RELEASED, actor="agent")
    any_machine, _ = parse({}, defaults=RUN)
    taken = leases.acquire(world.deps, "main", row.pool, any_machine, holder="user:me")
    placement.place(world.deps, moved)
    found = store.find("main", mine)
    assert (found.state, found.lease) == (State.BUSY, taken.lease)


def test_what_a_placement_that_dies_has_not_removed_is_removed_by_the_next(world, monkeypatch):
    moved, mine = left(world, idle_duration="off")
    with monkeypatch.context() as dying:
        dying.setattr(teardown, "begin", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            placement.place(world.deps, moved)
    row = store.find("main", mine)
    leases.give_back(world.deps, row, row.lease.fence, reason=Reason.RELEASED, actor="agent")
    until(world, moved, RunState.RUNNING)
    assert store.find("main", mine).state in (State.TERMINATING, State.TERMINATED)


def test_a_stop_between_two_clusters_removes_what_was_bought_in_the_first(world):
    moved, mine = left(world, idle_duration="off")
    runs.stop(world.deps, "main", moved.name, force=False, actor="user:me")
    assert store.find("main", mine).state is State.TERMINATING


@pytest.fixture
def gathering(world: World) -> tuple[Run, str]:
    """A run of which one of two machines is there; the other never comes. No idle time ends them."""
    run = submit(world, nodes=2, idle_duration="off")
    come(world, "0")
    found = run_of(world, run)
    assert [bool(job.lease_id) for job in found.jobs] == [True, False]
    return found, found.jobs[0].instance_id


def test_a_stop_before_all_nodes_are_there_removes_what_would_stay_for_ever(world, gathering):
    run, mine = gathering
    runs.stop(world.deps, "main", run.name, force=False, actor="user:me")
    settle(world, 5)
    found = store.find("main", mine)
    assert (found.state, found.detail) == (State.TERMINATED, "bought for a run that began without it, or not at all")
    assert world.cloud.alive() == []


def test_a_run_whose_nodes_do_not_come_in_time_leaves_nothing_that_would_stay_for_ever(world, gathering):
    run, _ = gathering
    for _ in range(35):
        world.pass_time(60)
        fire_due(world)
        world.sync_all()
    ended = run_of(world, run)
    assert ended.state is RunState.FAILED
    assert ended.detail.startswith("1 of 2 nodes were ready in time")
    settle(world, 5)
    assert live(world) == []
    assert world.cloud.alive() == []


@pytest.mark.parametrize("comes_late", [True, False])
def test_what_a_dead_stop_did_not_let_go_is_removed_when_its_agent_reports(world, gathering, monkeypatch, comes_late):
    run, _ = gathering
    with monkeypatch.context() as dying:
        dying.setattr(placement, "drop_reserved", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            runs.stop(world.deps, "main", run.name, force=False, actor="user:me")
    if comes_late:
        come(world, "1")
    world.sync_all()
    settle(world, 5)
    ends = {job.instance_id: store.look_up("main", job.instance_id) for job in run.jobs}
    assert {row.state for row in ends.values() if row} == {State.TERMINATED}
    assert world.cloud.alive() == []


def test_what_ends_by_its_idle_time_is_kept_for_the_next_run(world):
    run = submit(world, nodes=2, idle_duration="5m")
    come(world, "0")
    mine = run_of(world, run).jobs[0].instance_id
    runs.stop(world.deps, "main", run.name, force=False, actor="user:me")
    assert store.find("main", mine).state is State.IDLE


def test_machines_on_which_the_job_ran_stay_as_long_as_was_asked_for(world):
    world.obedient = True
    run = submit(world, nodes=2, idle_duration="off")
    running = until(world, run, RunState.RUNNING)
    runs.stop(world.deps, "main", run.name, force=False, actor="user:me")
    for _ in range(3):
        world.sync_all()
    assert run_of(world, run).state is RunState.STOPPED
    assert {store.find("main", job.instance_id).state for job in running.jobs} == {State.IDLE}

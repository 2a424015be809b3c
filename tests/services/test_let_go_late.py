"""A machine that a run lets go of while something else happens to it: who has it by then keeps it, and nobody pays."""

import pytest

from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Run, RunState
from chalicelib.domain.policies import RUN, parse
from chalicelib.services import interruptions, leases, runs, teardown
from chalicelib.store import instances as store
from tests.services.gangs import live, until
from tests.services.steps import run_of, settle, submit
from tests.services.world import World


@pytest.fixture
def world(regional: World) -> World:
    return regional


def launch(world: World, ranks: str = "0123456789") -> None:
    """The machines of these nodes are had; their agents have not reported."""
    for name in [name for name in world.workflows.due() if name.startswith("up-") and name[-1] in ranks]:
        world.workflows.step(name)


def report(world: World) -> None:
    world.boot()
    world.sync_all()


@pytest.mark.parametrize("nodes", [1, 2])
def test_who_took_a_machine_while_its_run_let_go_of_it_keeps_it(world, monkeypatch, nodes):
    run = submit(world, nodes=nodes)
    launch(world)
    any_machine, _ = parse({}, defaults=RUN)
    begin, taken = teardown.begin, []

    def late(deps, seen, *args, **kwargs):
        if not taken:
            report(world)
            taken.append(leases.acquire(deps, "main", seen.pool, any_machine, holder="user:me", instance=seen.name))
        return begin(deps, seen, *args, **kwargs)

    monkeypatch.setattr(teardown, "begin", late)
    runs.stop(world.deps, "main", run.name, force=False, actor="user:me")
    (mine,) = taken
    found = store.find("main", mine.instance_id)
    assert (found.state, found.lease) == (State.BUSY, mine.lease)


@pytest.fixture
def moved(world: World) -> tuple[Run, str]:
    """A run of three nodes that is placed again, because one of two machines is taken; the id of the other."""
    run = submit(world, nodes=3, idle_duration="off")
    launch(world, "01")
    report(world)
    mine, taken = (job.instance_id for job in run_of(world, run).jobs[:2])
    world.pass_time(5)
    interruptions.notice(world.deps, store.find("main", taken), None, source="provider")
    interruptions.gone(world.deps, store.find("main", taken), source="provider")
    assert mine not in run_of(world, run).instance_ids
    return run, mine


def test_a_machine_that_the_run_went_on_without_does_not_stay_for_ever(world, moved):
    run, _ = moved
    found = until(world, run, RunState.RUNNING)
    settle(world, 5)
    assert {row.instance_id for row in live(world)} == set(found.instance_ids)
    assert len(world.cloud.alive()) == 3


def test_a_machine_that_the_run_went_on_without_does_not_stay_when_that_is_stopped(world, moved):
    run, mine = moved
    runs.stop(world.deps, "main", run.name, force=False, actor="user:me")
    settle(world, 5)
    assert live(world) == []
    assert store.find("main", mine).detail == "bought for a run that began without it, or not at all"


def test_a_machine_whose_job_ran_in_an_earlier_try_stays_as_long_as_was_asked_for(world):
    world.obedient = True
    run = submit(world, nodes=2, idle_duration="off", retry={"on_events": ["interruption"], "duration": "1h"})
    before = until(world, run, RunState.RUNNING)
    mine, taken = (job.instance_id for job in before.jobs)
    interruptions.gone(world.deps, store.find("main", taken), source="provider")
    for _ in range(3):
        world.sync_all()
    assert run_of(world, run).tries.number == 2 or run_of(world, run).state is RunState.RUNNING
    assert store.find("main", mine).state in (State.IDLE, State.BUSY)
    settle(world, 5)
    assert store.find("main", mine).state in (State.IDLE, State.BUSY)

"""How long a run may be tried again, on which machine, and how long it may take in all."""

from datetime import timedelta

import pytest

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.model import RunReason, RunState
from chalicelib.domain.policies import LEASE, POOL_ADD, parse
from chalicelib.store import journal
from tests.builders import make_offer
from tests.services.steps import fire_due, ready, run_of, state_of
from tests.services.tries import EVERY, Named, interrupt, machine_of, running, settle


def test_when_the_time_for_tries_is_over_the_last_failure_is_the_end(world):
    run = running(world, retry={"on_events": ["error"], "duration": "3m"})
    for _ in range(50):
        if run_of(world, run).state is RunState.FAILED:
            break
        for ref, agent in world.agents.items():
            if agent.jobs:
                world.finish_job(ref, 3)
        settle(world, minutes=1)
    ended = run_of(world, run)
    assert (ended.state, ended.exit_code) == (RunState.FAILED, 3)
    assert 2 <= ended.tries.number <= 8


def test_a_try_that_ran_long_begins_a_new_series(world):
    run = running(world, retry={"on_events": ["error"], "duration": "3m"})
    for number in (2, 3, 4):
        world.pass_time(181)
        world.finish_job(machine_of(world, run), 3)
        world.sync_all()
        waiting = run_of(world, run)
        assert (waiting.state, waiting.tries.number, waiting.tries.failures) == (RunState.SUBMITTED, number, 1)
        settle(world, minutes=2)
        assert run_of(world, run).state is RunState.RUNNING


def test_after_two_interruptions_a_run_gets_a_machine_that_stays(spot):
    run = running(spot, **EVERY)
    kinds = []
    for _ in range(3):
        kinds.append(state_of(spot, Named(run_of(spot, run).instance_id)).offer.spot)
        interrupt(spot, run)
        ready(spot)
        spot.sync_all()
    assert kinds == [True, True, False]


def test_a_run_that_prefers_a_machine_that_stays_takes_spot_where_that_is_sold_out(spot):
    """More on-demand offers than a pass may try, and a policy that does not wait for capacity."""
    dear = [make_offer(backend="sim", price=9_000_000, zone=f"z{n}") for n in range(30)]
    spot.cloud.shelf = [*(offer for offer in spot.cloud.shelf if offer.spot), *dear]
    run = running(spot, retry={"on_events": ["interruption"], "duration": "1h"})
    for interruptions in (1, 2):
        interrupt(spot, run)
        spot.cloud.sold_out = {offer.key for offer in dear} if interruptions == 2 else set()
        settle(spot, minutes=3)
        assert run_of(spot, run).state is RunState.RUNNING
    assert state_of(spot, Named(run_of(spot, run).instance_id)).offer.spot
    first = journal.attempts(run_of(spot, run).instance_id)[0]
    assert not first.offer.spot, "what stays is tried first"


def test_a_further_try_waits_for_a_machine_no_longer_than_its_window_lasts(spot):
    run = running(spot, **EVERY)
    interrupt(spot, run)
    first_failure = run_of(spot, run).tries.since
    spot.pass_time(50 * 60)
    settle(spot, minutes=2)
    assert run_of(spot, run).state is RunState.RUNNING
    spot.cloud.sold_out = {offer.key for offer in spot.cloud.shelf}
    interrupt(spot, run)
    assert run_of(spot, run).tries.since == first_failure
    settle(spot, minutes=14)
    ended = run_of(spot, run)
    assert (ended.state, ended.reason, ended.tries.number) == (
        RunState.FAILED,
        RunReason.PROVISIONING_FAILED,
        3,
    )
    assert ended.ended_at - first_failure < timedelta(hours=1, minutes=6), "the longest pause of a request that waits"


def test_a_try_that_nobody_placed_within_its_window_is_the_end(world):
    """The timers stand still until the window is over."""
    run = running(world, retry={"duration": "10m"})
    world.finish_job(machine_of(world, run), 3)
    world.sync_all()
    world.pass_time(20 * 60)
    settle(world, minutes=2)
    ended = run_of(world, run)
    assert (ended.state, ended.reason) == (RunState.FAILED, RunReason.NO_CAPACITY)
    assert ended.detail == "try 1 ended with exit code 3; try 2 had no machine within the time for tries"


def test_a_run_that_asks_for_spot_alone_stays_with_it(spot):
    run = running(spot, spot_policy="spot", **EVERY)
    for _ in range(3):
        interrupt(spot, run)
        ready(spot)
        spot.sync_all()
    assert state_of(spot, Named(run_of(spot, run).instance_id)).offer.spot


def test_a_run_is_stopped_when_its_time_is_over_from_the_start_of_its_first_try(world):
    run = running(world, max_duration="10m", **EVERY)
    world.pass_time(200)
    world.finish_job(machine_of(world, run), 3)
    world.sync_all()
    settle(world, minutes=2)
    assert (run_of(world, run).state, run_of(world, run).tries.number) == (RunState.RUNNING, 2)
    assert run_of(world, run).ends_by == run.started_at + timedelta(minutes=10)
    world.pass_time((run.started_at + timedelta(minutes=10) - world.clock).total_seconds() + 1)
    fire_due(world)
    stopping = run_of(world, run)
    assert (stopping.state, stopping.reason) == (RunState.STOPPING, RunReason.MAX_DURATION)
    world.finish_job(machine_of(world, run), 143)
    world.sync_all()
    ended = run_of(world, run)
    assert (ended.state, ended.reason, ended.exit_code) == (RunState.STOPPED, RunReason.MAX_DURATION, 143)


def test_a_run_that_waits_when_its_time_is_over_ends(world):
    run = running(world, max_duration="20s", **EVERY)
    world.pass_time(10)
    world.finish_job(machine_of(world, run), 3)
    world.sync_all()
    world.pass_time(11)
    fire_due(world)
    ended = run_of(world, run)
    assert (ended.state, ended.reason) == (RunState.STOPPED, RunReason.MAX_DURATION)


def test_a_timer_of_the_time_limit_that_was_lost_is_filed_again(world):
    run = running(world, max_duration="10m")
    timers_lost = timedelta(minutes=16)
    world.clock += timers_lost
    settle(world, minutes=4)
    assert run_of(world, run).state in (RunState.STOPPING, RunState.STOPPED)


@pytest.mark.parametrize("defaults", [POOL_ADD, LEASE])
def test_only_a_run_may_have_a_longest_duration(defaults):
    with pytest.raises(InvalidInputError) as refused:
        parse({"max_duration": "1h"}, defaults=defaults)
    assert refused.value.context["field"] == "max_duration"

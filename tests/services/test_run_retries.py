"""Runs that are begun again by their policy, in one stream of output, and runs that may take only so long."""

from datetime import timedelta

import pytest

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import RunReason, RunState
from chalicelib.domain.policies import LEASE, POOL_ADD, parse
from chalicelib.services import agents, leases, pools, reconcile, run_ends, run_output, runs
from chalicelib.services.jobs import LogChunk
from chalicelib.store import journal
from chalicelib.store import runs as run_store
from tests.builders import make_offer
from tests.services.steps import add, fire_due, ready, run_of, state_of, submit
from tests.services.world import World

EVERY = {"retry": {"duration": "1h"}}


@pytest.fixture
def spot(dynamodb):
    """A world whose provider has spot machines, and dearer ones on demand."""
    offers = [make_offer(backend="sim", spot=True, price=n * 100_000, region=f"r{n}") for n in (1, 2, 3)]
    world = World(offers=[*offers, make_offer(backend="sim", price=9_000_000)])
    pools.create_project(world.deps, "main")
    return world


def running(world, **body):
    run = submit(world, **body)
    ready(world)
    world.sync_all()
    assert run_of(world, run).state is RunState.RUNNING
    return run_of(world, run)


def machine_of(world, run):
    return state_of(world, _Named(run_of(world, run).instance_id)).machine_ref


class _Named:
    def __init__(self, instance_id):
        self.instance_id = instance_id


def say(world, run, data, offset=0):
    """The agent stores output of its present job, and the end of the job with it when there is one."""
    world.sync(machine_of(world, run), logs=(LogChunk(run_of(world, run).job_id, offset, data),))


def output(world, run):
    """All that is stored, as a reader finds it who follows the answers."""
    said, after = b"", 0
    while piece := (answer := runs.logs(world.deps, "main", run.run_id, after=after, limit=10_000)).data:
        said, after = said + piece, answer.next
    return said.decode()


def settle(world, minutes):
    """Let everything go on; an agent that was given a job says so within the minute."""
    for _ in range(minutes):
        fire_due(world)
        ready(world)
        world.sync_all()
        reconcile.compare(world.deps)
        ready(world)
        world.sync_all()
        world.pass_time(60)


def interrupt(world, run, exit_code=143):
    ref = machine_of(world, run)
    world.sync(ref, interruption=agents.Notice(world.clock + timedelta(seconds=120)))
    world.interrupt_job(ref, exit_code)
    world.sync_all()


def test_a_run_whose_machine_is_taken_goes_on_elsewhere_in_one_stream_of_output(spot):
    run = running(spot, **EVERY)
    say(spot, run, b"one\n")
    first = run_of(spot, run)
    interrupt(spot, run)
    again = run_of(spot, run)
    assert (again.state, again.tries.number, again.exit_code) == (RunState.PROVISIONING, 2, None)
    assert again.instance_id != first.instance_id
    ready(spot)
    spot.sync_all()
    assert run_of(spot, run).job_id == f"{run.run_id}-2"
    say(spot, run, b"two\n")
    spot.finish_job(machine_of(spot, run))
    spot.sync_all()
    ended = run_of(spot, run)
    assert (ended.state, ended.exit_code, ended.started_at) == (RunState.DONE, 0, first.started_at)
    assert output(spot, run).splitlines() == ["one", "tidepool: try 1 ended: interrupted; try 2 follows", "two"]


def test_a_job_is_told_its_try(spot):
    run = running(spot, **EVERY)
    interrupt(spot, run)
    spot.run_workflows()
    spot.boot()
    answer = spot.sync(machine_of(spot, run))
    assert answer.job.env["TIDEPOOL_TRY"] == "2"
    assert answer.job.env["TIDEPOOL_RUN_ID"] == run.run_id


def test_a_job_that_fails_is_tried_again_after_a_pause_on_the_same_machine(world):
    run = running(world, **EVERY)
    ref = machine_of(world, run)
    say(world, run, b"no newline")
    world.finish_job(ref, 3)
    world.sync_all()
    waiting = run_of(world, run)
    assert (waiting.state, waiting.reason) == (RunState.SUBMITTED, RunReason.EXITED_NON_ZERO)
    assert waiting.tries.last_failure == "try 1 ended with exit code 3"
    pause = waiting.tries.retry_at - world.clock
    assert timedelta(seconds=15) <= pause <= timedelta(seconds=30)
    world.sync_all()
    fire_due(world)
    assert run_of(world, run).state is RunState.SUBMITTED, "nothing begins before its time"
    world.pass_time(pause.total_seconds() + 1)
    fire_due(world)
    world.sync_all()
    world.sync_all()
    assert run_of(world, run).state is RunState.RUNNING
    assert machine_of(world, run) == ref
    say(world, run, b"better\n")
    world.finish_job(ref)
    world.sync_all()
    assert run_of(world, run).state is RunState.DONE
    first, line, last = output(world, run).splitlines()
    assert (first, last) == ("no newline", "better")
    assert line.startswith("tidepool: try 1 ended with exit code 3; try 2 follows in ")


@pytest.mark.parametrize("retry", [False, {"on_events": ["no-capacity", "interruption"]}])
def test_what_the_policy_does_not_cover_ends_the_run(world, retry):
    run = running(world, retry=retry)
    world.finish_job(machine_of(world, run), 3)
    world.sync_all()
    ended = run_of(world, run)
    assert (ended.state, ended.reason, ended.exit_code) == (RunState.FAILED, RunReason.EXITED_NON_ZERO, 3)


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


def test_a_run_that_waits_for_its_next_try_can_be_stopped(world):
    run = running(world, **EVERY)
    world.finish_job(machine_of(world, run), 3)
    world.sync_all()
    stopped = runs.stop(world.deps, "main", run.run_id, force=False, actor="user:me")
    assert (stopped.state, stopped.reason) == (RunState.STOPPED, RunReason.USER_STOPPED)
    settle(world, minutes=4)
    assert run_of(world, run).state is RunState.STOPPED


def test_a_stopped_run_is_not_tried_again(world):
    run = running(world, **EVERY)
    runs.stop(world.deps, "main", run.run_id, force=False, actor="user:me")
    world.finish_job(machine_of(world, run), 143)
    world.sync_all()
    assert run_of(world, run).state is RunState.STOPPED


def test_a_machine_that_vanishes_is_replaced(world):
    run = running(world, **EVERY)
    world.cloud.vanish(machine_of(world, run))
    world.pass_time(90)
    settle(world, minutes=4)
    assert (run_of(world, run).state, run_of(world, run).tries.number) == (RunState.RUNNING, 2)


def test_a_run_whose_machine_is_lost_before_it_had_the_job_needs_no_policy(world, monkeypatch):
    """Bought for it, born held by it, its agent heard; lost before the job was handed over."""
    run = submit(world)
    world.run_workflows()
    with monkeypatch.context() as dying:
        dying.setattr(agents, "_answer", lambda *_: 1 / 0)
        world.boot()
        with pytest.raises(ZeroDivisionError):
            world.sync_all()
    assert run_of(world, run).state is RunState.PROVISIONING
    world.cloud.vanish(machine_of(world, run))
    world.pass_time(90)
    settle(world, minutes=3)
    assert (run_of(world, run).state, run_of(world, run).tries.number) == (RunState.RUNNING, 1)


def test_what_an_agent_says_late_of_an_earlier_try_changes_nothing(world):
    run = running(world, **EVERY)
    ref = machine_of(world, run)
    world.finish_job(ref, 3)
    ended = world.agents[ref].jobs[run.run_id]
    world.sync_all()
    world.pass_time(31)
    fire_due(world)
    world.sync_all()
    world.agents[ref].jobs[run.run_id] = ended
    answer = world.sync(ref, logs=(LogChunk(run.run_id, 0, b"late"),))
    assert run.run_id in answer.acknowledged
    assert answer.log_offsets == {run.run_id: 4}
    assert answer.job.run_id == f"{run.run_id}-2"
    assert "late" not in output(world, run)


@pytest.mark.parametrize("writes", range(4))
def test_a_worker_that_dies_at_the_end_of_a_try_leaves_what_goes_on(world, monkeypatch, writes):
    """Dead before the line, before the row, before the hold is given back, before the run is placed."""
    run = running(world, **EVERY)
    ref = machine_of(world, run)
    world.finish_job(ref, 3)
    where = [
        (run_output, "close"),
        (run_store, "step"),
        (leases, "give_back"),
        (agents.placement, "place_again"),
    ][writes]
    with monkeypatch.context() as dying:
        dying.setattr(*where, lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.sync(ref)
    settle(world, minutes=3)
    again = run_of(world, run)
    assert (again.state, again.tries.number) == (RunState.RUNNING, 2)
    assert len([r for r in [machine_of(world, run)] if r]) == 1
    world.finish_job(machine_of(world, run))
    world.sync_all()
    assert run_of(world, run).state is RunState.DONE


def test_two_who_hear_of_the_same_end_begin_one_try(world):
    run = running(world, **EVERY)
    for _ in range(2):
        run_ends.finish(world.deps, run, RunState.FAILED, RunReason.MACHINE_LOST, actor="x")
    assert run_of(world, run).tries.number == 2


def test_after_two_interruptions_a_run_gets_a_machine_that_stays(spot):
    run = running(spot, **EVERY)
    kinds = []
    for _ in range(3):
        kinds.append(state_of(spot, _Named(run_of(spot, run).instance_id)).offer.spot)
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
    assert state_of(spot, _Named(run_of(spot, run).instance_id)).offer.spot
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
    assert state_of(spot, _Named(run_of(spot, run).instance_id)).offer.spot


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
    settle(world, minutes=2)
    assert run_of(world, run).state in (RunState.STOPPING, RunState.STOPPED)


@pytest.mark.parametrize("defaults", [POOL_ADD, LEASE])
def test_only_a_run_may_have_a_longest_duration(defaults):
    with pytest.raises(InvalidInputError) as refused:
        parse({"max_duration": "1h"}, defaults=defaults)
    assert refused.value.context["field"] == "max_duration"


def test_an_instance_bought_for_a_try_that_is_stopped_goes_too(spot):
    run = running(spot, **EVERY)
    interrupt(spot, run)
    bought = run_of(spot, run).instance_id
    runs.stop(spot.deps, "main", run.run_id, force=False, actor="user:me")
    settle(spot, minutes=4)
    assert state_of(spot, _Named(bought)).state is State.TERMINATED
    assert add(spot).state is State.PENDING

"""Runs that are begun again by their policy, in one stream of output."""

from datetime import timedelta

import pytest

from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import RunReason, RunState
from chalicelib.services import agents, leases, run_ends, run_output, runs
from chalicelib.services.jobs import LogChunk
from chalicelib.store import runs as run_store
from tests.services.steps import add, fire_due, ready, run_of, state_of, submit
from tests.services.tries import EVERY, Named, interrupt, machine_of, output, running, say, settle


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
        dying.setattr(agents, "_answer", lambda *_, **__: 1 / 0)
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


def test_an_instance_bought_for_a_try_that_is_stopped_goes_too(spot):
    run = running(spot, **EVERY)
    interrupt(spot, run)
    bought = run_of(spot, run).instance_id
    runs.stop(spot.deps, "main", run.run_id, force=False, actor="user:me")
    settle(spot, minutes=4)
    assert state_of(spot, Named(bought)).state is State.TERMINATED
    assert add(spot).state is State.PENDING

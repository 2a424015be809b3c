"""A run is stopped whose machine is not heard of: the run may end, and the machine is not given away with that."""

import pytest

from chalicelib.domain.errors import NoMatchError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Run, RunReason, RunState
from chalicelib.services import reconcile, runs
from chalicelib.services.jobs import JobReport
from tests.services.gangs import pass_minutes, pass_minutes_unsaid, row_of, running
from tests.services.sim_hosts import SimHost
from tests.services.steps import run_of, submit
from tests.services.world import World

Boxes = tuple[SimHost, SimHost]


def stop(world: World, run: Run, *, force: bool = False) -> Run:
    return runs.stop(world.deps, "main", run.name, force=force, actor="user:me")


def placed(world: World, *, after_minutes: float = 0) -> Run:
    """A run on the second host, which has been silent for so long by then."""
    pass_minutes(world, after_minutes)
    run = submit(world, instance="box-2", reuse=True)
    assert run.state is RunState.STARTING
    return run


def is_held_by(run: Run) -> bool:
    """Whether nobody else can get the machine, because the run that has ended still holds it."""
    row = row_of("box-2")
    return row.state is State.BUSY and row.lease is not None and row.lease.run_id == run.run_id


def test_a_run_that_never_began_ends_at_its_stop_although_its_host_is_unreachable(world: World, boxes: Boxes):
    boxes[1].cut = True
    run = placed(world, after_minutes=1.5)
    pass_minutes(world, 0.5)
    assert row_of("box-2").unreachable
    stopped = stop(world, run)
    assert (stopped.state, stopped.reason) == (RunState.STOPPED, RunReason.USER_STOPPED)
    assert stopped.detail == "box-2: it is unreachable and was not seen to stop"
    assert is_held_by(run), "it may have got the job, and its answer may have been lost"
    with pytest.raises(NoMatchError):
        submit(world, instance="box-2", reuse=True)


def test_a_stop_before_the_host_is_flagged_ends_the_run_when_it_is(world: World, boxes: Boxes):
    boxes[1].cut = True
    run = placed(world)
    assert stop(world, run).state is RunState.STOPPING, "a blip is waited for"
    pass_minutes(world, 3)
    assert run_of(world, run).state is RunState.STOPPED
    assert is_held_by(run)


def test_a_host_that_got_the_job_all_the_same_ends_it_before_others_get_the_host(world: World, boxes: Boxes):
    silent = boxes[1]
    silent.cut = True
    run = placed(world, after_minutes=1.5)
    silent.jobs = {run.run_id: JobReport(run.run_id, "running")}  # the answer to what said so was lost
    pass_minutes(world, 0.5)
    assert stop(world, run).state is RunState.STOPPED
    silent.cut = False
    world.sync_all()
    assert silent.jobs == {}
    assert is_held_by(run), "its agent has only just been told to end the job"
    world.sync_all()
    assert row_of("box-2").state is State.IDLE
    assert submit(world, instance="box-2", reuse=True).state is RunState.STARTING


def test_a_running_job_on_an_unreachable_host_is_waited_for_and_left_by_force(world: World, boxes: Boxes):
    run = placed(world)
    world.sync_all()
    world.sync_all()
    assert run_of(world, run).state is RunState.RUNNING
    boxes[1].cut = True
    pass_minutes(world, 3)
    waiting = stop(world, run)
    assert waiting.state is RunState.STOPPING
    assert waiting.detail == "waits for box-2, unreachable at present; a stop by force does not"
    forced = stop(world, run, force=True)
    assert (forced.state, forced.detail) == (RunState.STOPPED, "box-2: it is unreachable and was not seen to stop")
    assert is_held_by(run)


def test_the_end_of_the_lease_leaves_an_idle_host_that_takes_no_work(world: World, boxes: Boxes):
    boxes[1].cut = True
    run = placed(world, after_minutes=1.5)
    pass_minutes(world, 0.5)
    stop(world, run)
    pass_minutes(world, 40)
    row = row_of("box-2")
    assert (row.state, row.unreachable, row.lease) == (State.IDLE, True, None)
    assert run_of(world, run).state is RunState.STOPPED
    with pytest.raises(NoMatchError):
        submit(world, instance="box-2", reuse=True)


def test_a_stop_by_force_of_several_nodes_waits_for_those_that_can_be_heard(world: World, boxes: Boxes):
    run = running(world)
    boxes[1].cut = True
    pass_minutes(world, 3)
    assert stop(world, run, force=True).state is RunState.STOPPING, "the other one is told to end its job"
    heard = boxes[0]
    heard.jobs = {job: JobReport(job, "exited", 137) for job in heard.jobs}
    world.sync_all()
    ended = run_of(world, run)
    assert ended.state is RunState.STOPPED
    assert ended.detail.endswith("(box-2): it is unreachable and was not seen to stop")
    assert row_of("box-1").state is State.IDLE
    assert is_held_by(run)


def test_reconcile_ends_the_stopped_run_when_whoever_flagged_its_host_died(
    world: World,
    boxes: Boxes,
    monkeypatch: pytest.MonkeyPatch,
):
    boxes[1].cut = True
    run = placed(world)
    stop(world, run)
    pass_minutes_unsaid(world, 3, monkeypatch)
    assert run_of(world, run).state is RunState.STOPPING
    reconcile.compare(world.deps)
    assert run_of(world, run).state is RunState.STOPPED

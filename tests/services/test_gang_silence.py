"""One node of a run has failed and another is unreachable: the run says so, and the machine is not given away."""

from dataclasses import replace
from datetime import timedelta
from itertools import cycle

import pytest

from chalicelib.domain.errors import NoMatchError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import RunReason, RunState
from chalicelib.domain.nodes import NodeState
from chalicelib.services import reconcile, run_ends
from chalicelib.store import runs as run_store
from tests.services.gangs import exits, pass_minutes, pass_minutes_unsaid, row_of, running
from tests.services.steps import run_of, submit


@pytest.mark.parametrize("silent_first", [True, False])
def test_a_failed_run_does_not_wait_for_a_node_that_is_unreachable(world, boxes, silent_first):
    failing, silent = boxes
    run = running(world)
    silent.cut = True
    if silent_first:
        pass_minutes(world, 4)
        assert row_of("box-2").unreachable
    exits(failing, 7)
    world.sync_all()
    if not silent_first:
        assert run_of(world, run).state is RunState.RUNNING, "a blip is waited for"
        pass_minutes(world, 4)
    ended = run_of(world, run)
    assert (ended.state, ended.reason, ended.exit_code) == (RunState.FAILED, RunReason.EXITED_NON_ZERO, 7)
    assert "(box-1) exited with code 7; " in ended.detail
    assert ended.detail.endswith("(box-2): it is unreachable and was not seen to stop")
    assert {job.state for job in ended.jobs} == {NodeState.FAILED, NodeState.STOPPED}
    assert row_of("box-1").state is State.IDLE
    assert row_of("box-2").lease.holder == f"run:{run.run_id}", "its lease has not ended"


def test_the_unreachable_machine_gets_no_work_before_what_ran_there_has_ended(world, boxes):
    failing, silent = boxes
    run = running(world)
    silent.cut = True
    pass_minutes(world, 4)
    exits(failing, 1)
    world.sync_all()
    assert run_of(world, run).state is RunState.FAILED
    with pytest.raises(NoMatchError):
        submit(world, nodes=1, reuse=True, instance="box-2")
    silent.cut = False
    assert set(silent.jobs) == {run.run_id}, "it ran on, where nobody could reach it"
    world.sync_all()
    back = row_of("box-2")
    assert (back.state, back.unreachable) == (State.BUSY, False), "its agent has only just been told to end the job"
    assert silent.jobs == {}
    world.sync_all()
    assert row_of("box-2").state is State.IDLE
    assert submit(world, nodes=1, reuse=True, instance="box-2").state is RunState.STARTING


def test_a_try_that_another_one_follows_waits_for_the_unreachable_node(world, boxes):
    """Else the same job might run twice at once, with the same checkpoints."""
    failing, silent = boxes
    run = running(world, retry={"on_events": ["error"], "duration": "4h"})
    silent.cut = True
    pass_minutes(world, 4)
    exits(failing, 1)
    pass_minutes(world, 1)
    assert run_of(world, run).state is RunState.RUNNING
    pass_minutes(world, 40)
    assert run_of(world, run).tries.number == 2


def test_chance_does_not_answer_both_ways_whether_another_try_follows(world, boxes, monkeypatch):
    """Near the end of the window the pause decides. Drawn twice, it gave the silent node up and then tried again."""
    failing, silent = boxes
    run = running(world, retry={"on_events": ["error"], "duration": "20s"})
    silent.cut = True
    pass_minutes(world, 4)
    rolls = cycle([0.9, 0.1])
    monkeypatch.setattr(world.deps.rng, "random", lambda: next(rolls))
    exits(failing, 1)
    world.sync_all()
    assert set(silent.jobs) == {run.run_id}, "it runs on, where nobody can reach it"
    assert run_of(world, run).state is RunState.RUNNING, "a try may follow, so the silent node is waited for"


def test_no_try_follows_once_a_node_was_given_up_though_the_window_opens_anew_by_then(world, boxes, monkeypatch):
    """Whoever gave it up died before it ended the run. A try that has run as long as the window begins a new series."""
    failing, silent = boxes
    run = running(world, retry={"on_events": ["error"], "duration": "10m"})
    silent.cut = True
    pass_minutes(world, 4)
    found = run_of(world, run)
    tries = replace(found.tries, since=world.clock - timedelta(hours=1))
    run_store.step(found, RunState.RUNNING, now=world.clock, reason=RunReason.PICKED_UP, actor="test", tries=tries)
    with monkeypatch.context() as dying:
        dying.setattr(run_ends, "finish", lambda *_, **__: 1 / 0)
        exits(failing, 1)
        with pytest.raises(ZeroDivisionError):
            world.sync_all()
    world.pass_time(10 * 60)
    reconcile.compare(world.deps)
    found = run_of(world, run)
    assert (found.state, found.tries.number) == (RunState.FAILED, 1)


def test_reconcile_ends_the_run_when_whoever_flagged_the_node_died(world, boxes, monkeypatch):
    failing, silent = boxes
    run = running(world)
    exits(failing, 1)
    silent.cut = True
    pass_minutes_unsaid(world, 4, monkeypatch)
    assert run_of(world, run).state is RunState.RUNNING
    reconcile.compare(world.deps)
    assert run_of(world, run).state is RunState.FAILED

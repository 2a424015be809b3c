"""Machines that their providers take back: who hears of it, what happens to the instance, and to what runs on it."""

from datetime import timedelta

import pytest

from chalicelib.backends.base import MachineEvent, Phase, Sign
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import RunReason, RunState
from chalicelib.services import agents, interruptions, leases, reconcile
from chalicelib.store import instances as instance_store
from chalicelib.store import machines
from tests.builders import make_offer
from tests.services.steps import add, fire_due, ready, run_of, settle, state_of, submit
from tests.services.world import World

SOON = timedelta(seconds=120)


@pytest.fixture
def spot(dynamodb):
    """A world whose provider has spot machines alone."""
    from chalicelib.services import pools

    world = World(offers=[make_offer(backend="sim", spot=True, price=n * 100_000, region=f"r{n}") for n in (1, 2, 3)])
    pools.create_project(world.deps, "main")
    return world


def idle(world, **body):
    row = add(world, spot_policy="spot", **body)
    ready(world)
    return state_of(world, row)


def running(world, **body):
    run = submit(world, **body)
    ready(world)
    world.sync_all()
    return run_of(world, run)


def tell(world, ref):
    """The machine's agent syncs with a notice."""
    return world.sync(ref, interruption=agents.Notice(world.clock + SOON, "terminate"))


def event(world, ref, sign=Sign.GONE):
    return interruptions.heard(world.deps, MachineEvent(ref, sign, world.clock + SOON))


def counts(world):
    return [
        (each.region, each.launches, each.interruptions)
        for each in machines.spot_counts("main", "sim", since=world.clock.date())
    ]


def test_an_idle_machine_that_is_taken_back_is_removed_at_once(spot):
    row = idle(spot)
    tell(spot, row.machine_ref)
    ended = state_of(spot, row)
    assert (ended.state, ended.reason, ended.actor) == (State.TERMINATING, Reason.INTERRUPTED, "agent")
    settle(spot, minutes=2)
    assert state_of(spot, row).state is State.TERMINATED
    assert spot.cloud.alive() == []


def test_a_notice_whose_worker_died_after_the_flag_is_acted_upon_by_the_next_one_or_the_timer(spot, monkeypatch):
    rows = [idle(spot), idle(spot)]
    with monkeypatch.context() as dying:
        dying.setattr(interruptions, "_act", lambda *_: 1 / 0)
        for row in rows:
            with pytest.raises(ZeroDivisionError):
                tell(spot, row.machine_ref)
    for row in rows:
        flagged = state_of(spot, row)
        assert (flagged.state, flagged.ends_at) == (State.IDLE, spot.clock + SOON)
    tell(spot, rows[0].machine_ref)
    assert state_of(spot, rows[0]).state is State.TERMINATING
    spot.pass_time(200)
    fire_due(spot)
    assert (state_of(spot, rows[1]).state, state_of(spot, rows[1]).reason) == (State.TERMINATING, Reason.INTERRUPTED)


def test_a_timer_without_its_flag_does_nothing(spot, monkeypatch):
    row = idle(spot)
    with monkeypatch.context() as dying:
        dying.setattr(instance_store, "flag", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tell(spot, row.machine_ref)
    spot.pass_time(200)
    spot.sync_all()
    fire_due(spot)
    assert state_of(spot, row).state is State.IDLE


def test_a_lease_on_it_shows_it_and_no_other_is_given(spot):
    row = idle(spot)
    held = leases.acquire(spot.deps, "main", row.pool, _any(), holder="user:me")
    answer = tell(spot, row.machine_ref)
    assert answer.interruption == spot.clock + SOON
    beat = leases.heartbeat(spot.deps, "main", held.lease.lease_id)
    assert (beat.interrupted, beat.ends_at) == (True, spot.clock + SOON)
    leases.release(spot.deps, "main", held.lease.lease_id, actor="user:me")
    assert (state_of(spot, row).state, state_of(spot, row).reason) == (State.TERMINATING, Reason.INTERRUPTED)


def _any():
    from chalicelib.domain.policies import LEASE, parse

    return parse({}, defaults=LEASE)[0]


def test_a_machine_that_stays_after_its_time_is_ended_all_the_same(spot):
    run = running(spot)
    (machine,) = spot.cloud.alive()
    tell(spot, machine.ref)
    spot.pass_time(185)
    fire_due(spot)
    ended = run_of(spot, run)
    assert (ended.state, ended.reason) == (RunState.FAILED, RunReason.INTERRUPTED)
    settle(spot, minutes=2)
    assert spot.cloud.alive() == []


def test_the_job_of_a_run_without_a_policy_ends_with_its_own_code(spot):
    run = running(spot)
    (machine,) = spot.cloud.alive()
    tell(spot, machine.ref)
    assert run_of(spot, run).state is RunState.RUNNING
    spot.interrupt_job(machine.ref, 143)
    spot.sync_all()
    ended = run_of(spot, run)
    assert (ended.state, ended.reason, ended.exit_code) == (RunState.FAILED, RunReason.INTERRUPTED, 143)
    assert [row.reason for row in [instance_store.find("main", run.instance_id)]] == [Reason.INTERRUPTED]


def test_a_provider_that_ends_a_machine_before_its_agent_reported_lets_the_next_offer_be_tried_at_once(spot):
    row = add(spot, spot_policy="spot")
    spot.run_workflows()
    first = state_of(spot, row).machine_ref
    spot.pass_time(10)
    assert event(spot, first) == [row.instance_id]
    spot.cloud.vanish(first)
    spot.run_workflows()
    now = state_of(spot, row)
    assert (now.state, now.attempt, now.interrupted) == (State.PROVISIONING, 2, False)
    assert event(spot, first) == [], "what comes twice, or late, is about a machine that is not its any more"
    ready(spot)
    assert state_of(spot, row).state is State.IDLE


def test_a_notice_before_the_agent_reported_replaces_the_machine_too(spot):
    row = add(spot, spot_policy="spot")
    spot.run_workflows()
    event(spot, state_of(spot, row).machine_ref, Sign.INTERRUPTION)
    for _ in range(4):
        spot.run_workflows()
        spot.pass_time(5)
    assert state_of(spot, row).attempt == 2
    assert len(spot.cloud.alive()) == 1


def test_an_event_before_the_workflow_waits_is_not_lost(spot, monkeypatch):
    """The provider ends it between the row's step and the callback: whoever comes second sees the other."""
    from chalicelib.services import provisioning

    row = add(spot, spot_policy="spot")
    await_agent = provisioning.await_agent

    def late(*arguments, **named):
        monkeypatch.undo()
        event(spot, state_of(spot, row).machine_ref, Sign.INTERRUPTION)
        return await_agent(*arguments, **named)

    monkeypatch.setattr(provisioning, "await_agent", late)
    for _ in range(4):
        spot.run_workflows()
        spot.pass_time(5)
    assert state_of(spot, row).attempt == 2


@pytest.mark.parametrize("sign", list(Sign))
def test_an_event_about_a_strangers_machine_concerns_nobody(spot, sign):
    idle(spot)
    assert event(spot, "eu-1/i-0123", sign) == []


def test_a_recommendation_changes_nothing(spot):
    row = idle(spot)
    assert event(spot, row.machine_ref, Sign.REBALANCE) == [row.instance_id]
    assert state_of(spot, row) == row


def test_events_twice_and_out_of_order_end_an_instance_once(spot):
    row = idle(spot)
    for sign in (Sign.GONE, Sign.INTERRUPTION, Sign.GONE):
        event(spot, row.machine_ref, sign)
    spot.cloud.vanish(row.machine_ref)
    settle(spot, minutes=2)
    assert event(spot, row.machine_ref) == []
    assert state_of(spot, row).state is State.TERMINATED


@pytest.mark.parametrize(("kind", "reason"), [("spot", Reason.INTERRUPTED), ("on-demand", Reason.MACHINE_GONE)])
def test_a_machine_that_is_gone_without_a_word_was_taken_if_it_could_be(world, kind, reason):
    world.cloud.shelf = [make_offer(backend="sim", spot=kind == "spot")]
    row = add(world, spot_policy=kind)
    ready(world)
    world.pass_time(90)
    world.cloud.vanish(state_of(world, row).machine_ref)
    reconcile.compare(world.deps)
    assert state_of(world, row).reason is reason


def test_reconcile_hears_what_the_provider_says_of_a_machine(spot):
    from dataclasses import replace

    row = idle(spot)
    machine = spot.cloud.machines[row.machine_ref]
    spot.cloud.machines[row.machine_ref] = replace(machine, phase=Phase.RUNNING, interrupted=True)
    reconcile.compare(spot.deps)
    assert state_of(spot, row).reason is Reason.INTERRUPTED


def test_launches_and_interruptions_are_counted_once_however_often_they_are_told(spot):
    row = idle(spot)
    assert counts(spot) == [("r1", 1, 0)]
    machines.note(row, row.offer, row.machine_ref, now=spot.clock)
    for sign in (Sign.INTERRUPTION, Sign.INTERRUPTION, Sign.GONE):
        event(spot, row.machine_ref, sign)
    assert counts(spot) == [("r1", 1, 1)]


def test_an_agent_that_is_told_to_end_gets_no_work_until_it_is_back(world):
    row = add(world)
    ready(world)
    ref = state_of(world, row).machine_ref
    world.sync(ref, stopping=True)
    assert state_of(world, row).unreachable
    run = submit(world)
    assert run.instance_id != row.instance_id
    world.sync(ref)
    assert not state_of(world, row).unreachable

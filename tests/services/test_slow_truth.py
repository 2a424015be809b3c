"""Providers that say something else a moment later: a launch that was taken and fails, a machine not known yet."""

from dataclasses import replace
from datetime import timedelta

from chalicelib.backends.base import Machine, Phase
from chalicelib.domain.lifecycle import State
from chalicelib.services import instances, stock_outs
from chalicelib.store import journal
from tests.services.steps import add, ready, settle, state_of


def fail_late(world, ref):
    """The provider took the launch, and now says that it could not start the machine."""
    machine = world.cloud.machines[ref]
    world.cloud.machines[ref] = replace(machine, failure="no_capacity", detail="AllocationFailed: none left")


def test_a_launch_that_fails_after_it_was_taken_is_told_with_its_class_and_the_next_offer_is_tried(world):
    world.cloud.capabilities = replace(world.cloud.capabilities, look_every=timedelta(seconds=60))
    row = add(world)
    world.run_workflows()
    first = state_of(world, row)
    fail_late(world, first.machine_ref)
    world.pass_time(61)
    world.run_workflows()
    world.pass_time(10)
    ready(world)
    assert state_of(world, row).state is State.IDLE
    failed, worked = journal.attempts(row.instance_id)
    assert (failed.kind, failed.detail) == ("no_capacity", "AllocationFailed: none left")
    assert failed.offer.region != worked.offer.region
    assert list(stock_outs.cooled(world.deps, "main")) == [failed.offer.key]
    assert [machine.ref for machine in world.cloud.alive()] == [worked.machine_ref], "what failed was ended first"


def lag(world, monkeypatch, seconds):
    """For a while after a launch the provider does not know what it has made."""
    describe, until = world.cloud.describe, world.clock + timedelta(seconds=seconds)

    def late(ref):
        return describe(ref) if world.clock >= until else Machine(ref, "", Phase.GONE)

    monkeypatch.setattr(world.cloud, "describe", late)


def test_a_machine_that_is_removed_before_its_provider_knows_it_is_ended_when_it_does(world, monkeypatch):
    world.cloud.capabilities = replace(world.cloud.capabilities, settles_within=timedelta(seconds=30))
    row = add(world)
    world.run_workflows()
    lag(world, monkeypatch, 20)
    instances.remove(world.deps, "main", row.name, pool=None, force=True, actor="user:me")
    world.run_workflows()
    assert state_of(world, row).state is State.TERMINATING, "that the provider knows nothing of it proves nothing yet"
    settle(world, minutes=3)
    assert world.cloud.alive() == []
    assert state_of(world, row).state is State.TERMINATED


def test_a_machine_that_was_told_to_end_is_believed_to_be_gone_at_once(world):
    world.cloud.capabilities = replace(world.cloud.capabilities, settles_within=timedelta(minutes=10))
    row = add(world)
    ready(world)
    ref = state_of(world, row).machine_ref
    instances.remove(world.deps, "main", row.name, pool=None, force=True, actor="user:me")
    world.run_workflows()
    del world.cloud.machines[ref], world.cloud.gone_at[ref]
    world.pass_time(20)
    world.run_workflows()
    assert state_of(world, row).state is State.TERMINATED

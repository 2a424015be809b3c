"""Reconcile with half an answer: what it may conclude from a list that is not complete, and what it must not."""

from datetime import timedelta

import pytest

from chalicelib.backends.base import Machine, Phase
from chalicelib.domain.errors import TransientError
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import RunState
from chalicelib.services import reconcile
from chalicelib.store import instances as store
from chalicelib.store import pools as pool_store
from tests.services.steps import add, fire_due, ready, run_of, state_of, submit


@pytest.fixture
def half(world, monkeypatch):
    """After this is called the provider lists only the machines named, and then fails."""

    def only(*refs):
        def owned(owner):
            yield from [machine for machine in listed(owner) if machine.ref in refs]
            raise TransientError("one region is out of order")

        listed = world.cloud.owned
        monkeypatch.setattr(world.cloud, "owned", owned)

    return only


def one_idle(world):
    row = add(world, idle_duration="72h")
    ready(world)
    world.pass_time(120)
    return state_of(world, row)


def stray(world):
    """A machine with our tag whose instance has ended."""
    row = one_idle(world)
    ref = row.machine_ref
    world.cloud.vanish(ref)
    reconcile.compare(world.deps)
    for _ in range(10):
        world.run_workflows()
        fire_due(world)
        world.pass_time(30)
    assert state_of(world, row).state is State.TERMINATED
    world.cloud.machines[ref] = Machine(ref, f"{row.instance_id}-1", Phase.RUNNING, world.clock)
    return ref


def test_an_orphan_is_ended_though_a_part_of_the_account_does_not_answer(world, half):
    ref = stray(world)
    half(ref)
    (report,) = reconcile.compare(world.deps)
    assert report.orphans == (ref,)
    assert report.failed == "one region is out of order"


def test_a_machine_that_a_partial_list_lacks_is_not_taken_for_gone(world, half):
    row = one_idle(world)
    world.cloud.vanish(row.machine_ref)
    half()
    (report,) = reconcile.compare(world.deps)
    assert report.gone == ()
    assert state_of(world, row).state is State.IDLE


def test_an_error_without_words_is_a_failure_too(world, monkeypatch):
    row = one_idle(world)
    world.cloud.vanish(row.machine_ref)

    def owned(_owner):
        yield from ()
        raise TimeoutError

    monkeypatch.setattr(world.cloud, "owned", owned)
    (report,) = reconcile.compare(world.deps)
    assert report.failed == "TimeoutError()"
    assert state_of(world, row).state is State.IDLE


def test_a_machine_whose_row_the_list_of_pools_missed_is_not_ended(world, monkeypatch):
    row = one_idle(world)
    monkeypatch.setattr(pool_store, "everywhere", list)
    (report,) = reconcile.compare(world.deps)
    assert report.orphans == ()
    assert state_of(world, row).state is State.IDLE


def test_the_list_of_pools_is_read_consistently(world, monkeypatch):
    asked = []
    connection = pool_store.calls.tables.connection(pool_store.PoolRow)
    scan = type(connection).scan
    monkeypatch.setattr(
        type(connection), "scan", lambda self, **options: (asked.append(options), scan(self, **options))[1]
    )
    pool_store.everywhere()
    pool_store.projects()
    assert [options["consistent_read"] for options in asked] == [True, True]


def test_runs_that_are_with_their_machines_cost_no_reads_of_their_own(world, monkeypatch):
    run = submit(world)
    ready(world)
    world.sync_all()
    assert run_of(world, run).state is RunState.RUNNING
    reads = []
    find = store.find
    monkeypatch.setattr(store, "find", lambda *names: (reads.append(names), find(*names))[1])
    reconcile.compare(world.deps)
    assert reads == []


def test_a_run_whose_instance_went_before_the_run_named_it_is_ended(world):
    run = submit(world)
    waiting = run_of(world, run)
    ends = world.clock + timedelta(hours=1)
    store.step(
        state_of(world, waiting), Event.REMOVED, now=world.clock, reason=Reason.USER_REMOVED, actor="me", deadline=ends
    )
    reconcile.compare(world.deps)
    assert run_of(world, run).state is RunState.FAILED


def test_a_run_that_cannot_be_looked_at_keeps_nobody_from_other_runs_and_hosts(world, monkeypatch):
    runs = {submit(world).run_id for _ in range(2)}
    looked, swept = set(), []

    def look(_, run):
        looked.add(run.run_id)
        raise TransientError("its backend cannot be opened")

    monkeypatch.setattr(reconcile, "_may_have_lost", lambda *_: True)
    monkeypatch.setattr(reconcile.placement, "end_if_its_instance_did", look)
    monkeypatch.setattr(reconcile.hosts, "sweep", lambda _, project: swept.append(project))
    reconcile.compare(world.deps)
    assert looked == runs
    assert swept == ["main"]

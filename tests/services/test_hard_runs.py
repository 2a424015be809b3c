"""Runs and leases where a process dies, an answer is late, or two of them meet between a decision and its write."""

from datetime import timedelta

import pytest

from chalicelib.domain.errors import ConflictError, NoMatchError, NotFoundError, ThrottledError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import RunReason, RunState
from chalicelib.services import instances, leases, machine_losses, placement, pools, reconcile, run_ends
from chalicelib.store import instances as instance_store
from chalicelib.store import pools as pool_store
from chalicelib.store import runs as run_store
from tests.builders import make_offer
from tests.services.steps import add, every_run, fire_due, ready, run_of, settle, state_of, submit


def throttled(*_arguments, **_options):
    raise ThrottledError("busy")


def start_run(world):
    """A run that runs on the only idle instance."""
    run = submit(world)
    world.sync_all()
    world.sync_all()
    return run_of(world, run)


def test_a_run_for_an_instance_that_is_not_there_is_refused_and_never_runs(world):
    """Refused; then an instance of that name is made: no timer of the refused run may take it."""
    add(world)
    ready(world)
    with pytest.raises(NotFoundError):
        submit(world, instance="gpu-2")
    late = add(world, name="gpu-2")
    ready(world)
    settle(world, minutes=4)
    assert every_run(world) == []
    assert state_of(world, late).lease is None


def test_a_run_for_an_instance_of_another_pool_ends_as_it_is_refused(world):
    row = add(world)
    ready(world)
    pools.create(world.deps, "main", "other")
    with pytest.raises(NotFoundError):
        submit(world, pool="other", instance=row.name)
    (run,) = every_run(world)
    assert (run.state, run.reason) == (RunState.FAILED, RunReason.NO_IDLE_INSTANCE)


@pytest.mark.parametrize("shape", [make_offer().shape, ""])
def test_a_run_in_a_row_that_is_no_pool_is_refused(world, shape):
    """The shapes of a pool are rows behind its own: such a key names a row, and yet no pool."""
    add(world)
    ready(world)
    pool_store.note_shape("main", "default-pool", make_offer())
    with pytest.raises(NotFoundError):
        submit(world, pool=f"default-pool#{shape}")
    assert every_run(world) == []


def test_a_run_whose_pool_was_deleted_before_it_was_placed_ends(world, monkeypatch):
    """Stored; dead before the placement; the pool, which is empty, is deleted; the `placement` timer comes."""
    pools.create(world.deps, "main", "short-lived")
    with monkeypatch.context() as dying:
        dying.setattr(placement, "place", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            submit(world, pool="short-lived")
    assert pools.delete(world.deps, "main", "short-lived", force=False, actor="user:me")
    settle(world, minutes=4)
    assert every_run(world)[0].state is RunState.FAILED
    assert world.cloud.launches == 0


def test_a_run_whose_instance_failed_before_the_run_named_it_ends(world, monkeypatch):
    """The instance is made, its workflow runs and fails, its teardown finds no run that names it; the run names it."""
    request = instances.request

    def slow_request(*arguments, **options):
        row = request(*arguments, **options)
        world.run_workflows()
        world.pass_time(5)
        world.run_workflows()
        return row

    monkeypatch.setattr(instances, "request", slow_request)
    world.cloud.faults = ["quota", "quota"]
    run = submit(world)
    assert (run.state, run.reason) == (RunState.FAILED, RunReason.PROVISIONING_FAILED)
    assert "quota" in run.detail


def test_a_run_whose_process_died_after_its_instance_failed_is_ended_by_reconcile(world, monkeypatch):
    """The instance goes before the run names it; the process dies when the run has named it."""
    world.cloud.faults = ["quota", "quota"]
    run = submit(world)
    with monkeypatch.context() as unheard:
        unheard.setattr(machine_losses, "machine_lost", lambda *_: ())
        world.run_workflows()
        world.pass_time(5)
        world.run_workflows()
    assert run_of(world, run).state is RunState.PROVISIONING
    reconcile.compare(world.deps)
    assert run_of(world, run).state is RunState.FAILED


def test_a_placement_that_is_slower_than_the_agent_leaves_the_run_to_it(world, monkeypatch):
    """The instance is taken but the run not moved; its timer places it again, and the agent syncs in between."""
    row = add(world)
    ready(world)
    with monkeypatch.context() as busy:
        busy.setattr(run_store, "step", throttled)
        with pytest.raises(ThrottledError):
            submit(world, reuse=True)
    world.pass_time(70)
    acquire = leases.acquire

    def slow_acquire(*arguments, **options):
        try:
            return acquire(*arguments, **options)
        finally:
            world.sync_all()
            world.sync_all()

    monkeypatch.setattr(leases, "acquire", slow_acquire)
    fire_due(world)
    (run,) = every_run(world)
    assert (run.state, run.instance_id) == (RunState.RUNNING, row.instance_id)
    assert leases.get(world.deps, "main", run.lease_id).instance_id == row.instance_id


def test_a_request_that_is_repeated_after_its_hold_was_taken_goes_on_with_that_hold(world, monkeypatch):
    """The only instance is taken, the table refuses the run's step; the client sends the same request again."""
    row = add(world)
    ready(world)
    with monkeypatch.context() as busy:
        busy.setattr(run_store, "step", throttled)
        with pytest.raises(ThrottledError):
            submit(world, reuse=True, key="k")
    again = submit(world, reuse=True, key="k")
    assert (again.state, again.instance_id) == (RunState.STARTING, row.instance_id)


def test_a_request_that_found_nothing_is_answered_the_same_when_it_is_repeated(world):
    """Its run has ended, and an ended run is not begun again: what is free now takes a request with a new key."""
    pools.resolve(world.deps, "main", None)
    with pytest.raises(NoMatchError):
        submit(world, reuse=True, key="k")
    row = add(world)
    ready(world)
    with pytest.raises(NoMatchError, match="new key"):
        submit(world, reuse=True, key="k")
    assert [run.state for run in every_run(world)] == [RunState.FAILED]
    assert submit(world, reuse=True, key="l").instance_id == row.instance_id


def test_the_end_of_a_machine_does_not_end_a_run_that_was_placed_elsewhere_meanwhile(world, monkeypatch):
    """Reconcile takes A out and reads the run on A; the run's timer moves it to B; reconcile writes the run's end."""
    first = add(world)
    ready(world)
    run = submit(world)
    assert run.instance_id == first.instance_id
    second = add(world)
    ready(world)
    finish, moved = run_ends.finish, []

    def late_finish(deps, seen, *arguments, **options):
        if not moved:
            moved.append(seen)
            fire_due(world)
        return finish(deps, seen, *arguments, **options)

    monkeypatch.setattr(run_ends, "finish", late_finish)
    world.cloud.vanish("m-1")
    world.pass_time(100)
    reconcile.compare(world.deps)
    now = run_of(world, run)
    assert (now.state, now.instance_id) == (RunState.STARTING, second.instance_id)


def test_a_run_that_is_taken_from_a_machine_outlives_that_machines_end(world):
    """The agent of A does not take the job: the run is moved off A before A ends, and goes on to B."""
    first = add(world)
    ready(world)
    run = submit(world)
    second = add(world)
    ready(world)
    world.pass_time(100)
    fire_due(world)
    now = run_of(world, run)
    assert (now.state, now.instance_id) == (RunState.STARTING, second.instance_id)
    assert state_of(world, first).state is State.TERMINATING


def test_a_users_heartbeat_does_not_keep_the_machine_of_a_run(world):
    """The lease of a run is extended by its agent alone: whoever else did would hide that the machine is dead."""
    add(world)
    ready(world)
    run = start_run(world)
    before = leases.get(world.deps, "main", run.lease_id)
    with pytest.raises(ConflictError):
        leases.heartbeat(world.deps, "main", run.lease_id, duration=timedelta(days=7))
    assert leases.get(world.deps, "main", run.lease_id) == before


def test_instances_that_fell_silent_do_not_hide_one_that_did_not(world):
    """A page of candidates holds sixteen, longest idle first; all of them are silent and not yet flagged so."""
    for _ in range(17):
        add(world)
    ready(world)
    world.pass_time(world.deps.settings.unreachable_after.total_seconds() + 5)
    live, _ = instance_store.live("main", "default-pool", limit=50)
    last = max(live, key=lambda row: (row.changed_at, row.instance_id))
    instance_store.touch(last, now=world.clock)
    assert {row.state for row in live} == {State.IDLE}
    assert submit(world, reuse=True).instance_id == last.instance_id

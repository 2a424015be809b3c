"""Deletions of a pool that die, or are refused, between the mark and what it allows."""

import pytest

from chalicelib.domain.lifecycle import Reason, State
from chalicelib.services import pools, reconcile, teardown
from chalicelib.store import instances as instance_store
from chalicelib.store import pools as pool_store
from tests.services.steps import add, ready, settle, state_of, submit


def busy_instance(world):
    """An instance whose run runs."""
    row = add(world)
    ready(world)
    submit(world)
    world.sync_all()
    world.sync_all()
    assert state_of(world, row).state is State.BUSY
    return row


def test_a_pool_deletion_without_force_that_dies_removes_nothing_and_is_taken_back(world, monkeypatch):
    """The pool is marked; the process dies before it looks into it; reconcile finds the mark."""
    row = busy_instance(world)
    with monkeypatch.context() as dying:
        dying.setattr(instance_store, "live", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pools.delete(world.deps, "main", "default-pool", force=False, actor="user:me")
    assert pools.get(world.deps, "main", "default-pool").deleting
    reconcile.compare(world.deps)
    assert state_of(world, row).state is State.BUSY
    assert not pools.get(world.deps, "main", "default-pool").deleting


def test_a_pool_deletion_that_is_refused_while_reconcile_looks_removes_nothing(world, monkeypatch):
    """A request marks the pool; reconcile reads the mark; the request finds instances and takes the mark back."""
    row = busy_instance(world)
    everywhere = pool_store.everywhere

    def between():
        pool_store.begin_delete("main", "default-pool")
        seen = everywhere()
        pool_store.cancel_delete("main", "default-pool")
        return seen

    monkeypatch.setattr(pool_store, "everywhere", between)
    reconcile.compare(world.deps)
    assert state_of(world, row).state is State.BUSY


def test_a_pool_that_was_deleted_and_made_again_is_not_drained_by_who_saw_the_first_one(world):
    """Reconcile reads that a pool is draining; it is empty and goes; a new one takes its name; reconcile acts."""
    pools.create(world.deps, "main", "default-pool")
    pool_store.begin_delete("main", "default-pool", drain=True)
    (seen,) = pool_store.everywhere()
    pool_store.end_delete("main", "default-pool")
    row = add(world)
    ready(world)
    assert not pools.drain(world.deps, seen.project, seen.name, actor="reconcile")
    assert state_of(world, row).state is State.IDLE


def test_a_forced_pool_deletion_that_dies_is_gone_on_with(world, monkeypatch):
    """The pool is marked; the process dies; a deletion without force is refused: the decision to drain stays."""
    row = busy_instance(world)
    with monkeypatch.context() as dying:
        dying.setattr(pools, "drain", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pools.delete(world.deps, "main", "default-pool", force=True, actor="user:me")
    pool_store.cancel_delete("main", "default-pool")
    settle(world, minutes=4)
    assert state_of(world, row).reason is Reason.POOL_DELETED
    assert pool_store.everywhere() == []


def test_the_last_two_teardowns_of_a_draining_pool_may_end_it_both(world, monkeypatch):
    """A is buried; before it looks at the pool, B is buried too and removes the pool."""
    for _ in range(2):
        add(world)
    ready(world)
    pools.delete(world.deps, "main", "default-pool", force=True, actor="user:me")
    world.run_workflows()
    world.pass_time(60)
    first, second = world.workflows.due()
    bury, buried = teardown.store.bury, []

    def burying(*arguments, **named):
        ended = bury(*arguments, **named)
        if not buried:
            buried.append(ended)
            world.workflows.step(second)
        return ended

    monkeypatch.setattr(teardown.store, "bury", burying)
    world.workflows.step(first)
    assert pools.list_pools(world.deps, "main") == []

"""A host that is silent: nothing for a while, then `unreachable`, and back by itself. No timer ever removes it."""

from datetime import timedelta

import pytest

from chalicelib.domain.errors import InvalidInputError, NoMatchError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import RunReason, RunState
from chalicelib.domain.policies import RUN, parse
from chalicelib.services import hosts, instances, leases, pools, reconcile, run_output
from chalicelib.services.agents import EARLY, Notice
from chalicelib.services.jobs import JobReport, LogChunk
from chalicelib.store import instances as instance_store
from chalicelib.store import runs as run_store
from tests.services.host_steps import add, spend
from tests.services.steps import ready, run_of, state_of, submit
from tests.services.world import World

ANY = parse({}, defaults=RUN)[0]


@pytest.fixture
def world(dynamodb: None) -> World:
    """A control plane whose operator set nothing, so that what these tests say holds of the defaults."""
    world = World(TIDEPOOL_SYNC_S="")
    pools.create_project(world.deps, "main")
    pools.create(world.deps, "main", "lab")
    return world


@pytest.fixture
def box(world: World):
    """A host that is ready, and its instance."""
    host = world.hosts.add()
    row = add(world)
    ready(world)
    return host, row


def work(world: World, host):
    """A run whose job the host has."""
    run = submit(world, pool="lab", reuse=True)
    world.sync_all()
    world.sync_all()
    assert run_of(world, run).state is RunState.RUNNING
    return run


def test_a_host_rests_for_ever(world, box):
    _, row = box
    spend(world, 10)
    world.pass_time(timedelta(days=100).total_seconds())
    spend(world, 10)
    assert state_of(world, row).state is State.IDLE


@pytest.mark.parametrize("silent_s", [1, 600])
def test_a_run_whose_machine_was_restarted_did_not_fail_to_start(world, box, silent_s):
    """What the agent of a host that comes back says of a job that ran when it went down."""
    host, row = box
    run = work(world, host)
    host.cut = True
    spend(world, silent_s / 60, every_s=min(silent_s, 60))
    host.cut = False
    detail = "the machine was restarted while the job ran"
    host.jobs = {run.run_id: JobReport(run.run_id, "failed", detail=detail, lost=True)}
    world.hosts.sync(host)
    ended = run_of(world, run)
    assert (ended.state, ended.reason, ended.detail) == (RunState.FAILED, RunReason.MACHINE_LOST, detail)
    assert state_of(world, row).state is State.IDLE


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_host_that_says_it_is_taken_back_is_not_removed_by_a_timer(world, box, is_busy):
    """An adopted spot machine may hear its provider's notice. Its row is its owner's to remove."""
    host, row = box
    if is_busy:
        work(world, host)
    world.hosts.sync(host, interruption=Notice(world.clock + timedelta(seconds=120), "spot"))
    spend(world, 10)
    assert state_of(world, row).state is (State.BUSY if is_busy else State.IDLE)


def test_a_blip_changes_nothing(world, box):
    host, row = box
    run = work(world, host)
    before = state_of(world, row)
    host.cut = True
    spend(world, 1.5)
    host.cut = False
    spend(world, 1)
    after = state_of(world, row)
    assert (after.state, after.fence, after.unreachable) == (State.BUSY, before.fence, False)
    assert run_of(world, run).state is RunState.RUNNING


@pytest.mark.parametrize(("silent_s", "flagged"), [(30, False), (600, True)])
def test_a_job_lives_through_thirty_seconds_and_through_ten_minutes(world, box, silent_s, flagged):
    """Of ten minutes the user is told while they last; how the job ended is told when the host is back."""
    host, row = box
    run = work(world, host)
    host.cut = True
    spend(world, silent_s / 60, every_s=min(silent_s, 60))
    assert (state_of(world, row).unreachable, run_of(world, run).state) == (flagged, RunState.RUNNING)
    host.jobs = {run.run_id: JobReport(run.run_id, "exited", 7)}
    host.cut = False
    world.hosts.sync(host, logs=(LogChunk(run.run_id, 0, b"said meanwhile\n"),))
    ended = run_of(world, run)
    assert (ended.state, ended.reason, ended.exit_code) == (RunState.FAILED, RunReason.EXITED_NON_ZERO, 7)
    assert run_output.read(world.deps, ended, 0, 100)[1] == b"said meanwhile\n"
    now = state_of(world, row)
    assert (now.state, now.unreachable, now.lease) == (State.IDLE, False, None)


def test_a_silent_host_gets_no_work_and_returns_by_itself(world, box):
    host, row = box
    host.cut = True
    spend(world, 4)
    assert state_of(world, row).unreachable
    with pytest.raises(NoMatchError):
        submit(world, pool="lab", reuse=True)
    spend(world, 24 * 60, every_s=4 * 3600)
    assert state_of(world, row).state is State.IDLE
    host.cut = False
    spend(world, 1)
    assert not state_of(world, row).unreachable
    work(world, host)


@pytest.mark.parametrize(("silent_min", "state"), [(4, State.TERMINATED), (0.5, State.TERMINATING)])
def test_a_host_that_had_been_silent_for_long_is_not_waited_for_when_it_is_removed(world, box, silent_min, state):
    host, row = box
    host.cut = True
    spend(world, silent_min)
    instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    world.run_workflows()
    assert state_of(world, row).state is state
    spend(world, 3)
    (owed,) = hosts.listed(world.deps, "main")
    assert owed.record.owed_since is not None
    host.cut = False
    spend(world, 1)
    assert host.is_clean


def test_a_run_ends_with_the_truth_when_its_host_is_away_for_too_long(world, box):
    host, row = box
    run = work(world, host)
    host.cut = True
    spend(world, 10, every_s=60)
    assert state_of(world, row).unreachable
    assert run_of(world, run).state is RunState.RUNNING
    spend(world, 25, every_s=60)
    ended = run_of(world, run)
    assert (ended.state, ended.reason) == (RunState.FAILED, RunReason.MACHINE_LOST)
    assert "unreachable" in ended.detail
    now = state_of(world, row)
    assert (now.state, now.unreachable, now.lease) == (State.IDLE, True, None)


def test_what_still_runs_on_a_host_that_returns_ends_before_it_gets_new_work(world, box):
    host, row = box
    run = work(world, host)
    host.cut = True
    spend(world, 40, every_s=120)
    host.cut = False
    left_over = dict(host.jobs)
    assert left_over.keys() == {run.run_id}
    host.jobs = {run.run_id: JobReport(run.run_id, "running")}
    world.hosts.sync(host)
    assert state_of(world, row).unreachable
    assert host.jobs == {}
    world.hosts.sync(host)
    assert not state_of(world, row).unreachable


def test_a_run_that_nobody_ended_is_found_by_the_comparison(world, box, monkeypatch):
    """The worker died after it had taken the host from the run."""
    host, row = box
    run = work(world, host)
    current = state_of(world, row)
    leases.give_back(world.deps, current, current.fence, reason=current.reason, actor="timer")
    reconcile.compare(world.deps)
    assert run_of(world, run).reason is RunReason.MACHINE_LOST


def test_a_host_that_does_not_take_a_job_stays(world, box):
    host, row = box
    host.cut = True
    run = submit(world, pool="lab", reuse=True)
    spend(world, 8, every_s=60)
    assert state_of(world, row).state is State.IDLE
    assert run_store.get("main", run.run_id).state is not RunState.STARTING


def test_no_idle_limit_can_be_set_on_a_host(world, box):
    _, row = box
    with pytest.raises(InvalidInputError, match="idle_duration: '5m' is not valid; expected off"):
        instances.change(world.deps, "main", row.name, idle_limit=timedelta(minutes=5), actor="user:me")


def test_fresh_facts_change_what_the_host_is(world, box):
    host, row = box
    host.gpus = 4
    hosts.refresh(world.deps, "main", row.name)
    assert row.instance_id in world.wake.sent
    world.sync_all()
    world.sync_all()
    gpus = state_of(world, row).offer.resources.gpus
    assert [(gpu.name, gpu.count) for gpu in gpus] == [("A100", 4)]
    assert not world.hosts.sync(host).refresh


def test_a_full_disk_is_no_other_shape_until_much_of_it_is_gone(world, box):
    host, row = box
    before = state_of(world, row).offer
    host.disk_mib -= 10_000
    host.facts_told = False
    world.sync_all()
    assert state_of(world, row).offer == before
    host.disk_mib //= 2
    host.facts_told = False
    world.sync_all()
    assert state_of(world, row).offer.resources.disk_mib == host.disk_mib


def test_facts_that_meet_another_change_of_the_row_are_not_lost(world, box, monkeypatch):
    """An agent tells them once: what a host has would be wrong until it starts again."""
    host, row = box
    host.gpus, host.facts_told = 4, False
    renew, met = instance_store.renew, []

    def late(seen, offer):
        if not met:
            met.append(leases.acquire(world.deps, "main", "lab", ANY, holder="user:me"))
        return renew(seen, offer)

    monkeypatch.setattr(instance_store, "renew", late)
    world.sync_all()
    found = state_of(world, row)
    assert found.lease == met[0].lease
    assert [gpu.count for gpu in found.offer.resources.gpus] == [4]


def test_a_host_that_is_removed_in_the_middle_of_a_sync_is_not_told_to_switch_off(world, box, monkeypatch):
    """Its agent would stop its jobs and rest for minutes before it asks again, and is to uninstall itself."""
    host, row = box
    get, reads = instance_store.get, []

    def late(*where, **how):
        reads.append(where)
        if len(reads) == 2:
            instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
        return get(*where, **how)

    with monkeypatch.context() as between:
        between.setattr(instance_store, "get", late)
        answer = world.hosts.sync(host)
    assert (answer.shutdown, answer.interval) == (False, EARLY)
    assert world.hosts.sync(host).uninstall

"""The control plane itself was away: every timer is due at once, every agent looks silent, and all of them are well."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import RunReason, RunState
from chalicelib.domain.policies import LEASE, parse
from chalicelib.services import instances, leases, pools, reconcile
from chalicelib.services.jobs import JobReport
from tests.services import host_steps
from tests.services.steps import add, fire_due, ready, run_of, settle, state_of, submit
from tests.services.world import World

AWAY_S = timedelta(minutes=45).total_seconds()
"""Longer than any silence that is waited for, shorter than what a machine waits for its control plane."""

NAP_S = timedelta(minutes=10).total_seconds()
"""Between two moments in which a laptop is awake that sleeps with its lid closed."""

LAST_TRY_S = 30
"""An agent that was refused for long asks again within this."""


@pytest.fixture
def world(dynamodb: None) -> World:
    """A control plane whose operator set nothing, so that what these tests say holds of the defaults."""
    world = World(TIDEPOOL_SYNC_S="")
    pools.create_project(world.deps, "main")
    pools.resolve(world.deps, "main", None)
    return world


def give(world, backend, **body):
    """Submit a run that has its machine, rented or adopted, whose agent was given the job and has not said so yet."""
    if backend == "ssh":
        pools.create(world.deps, "main", "lab")
        world.hosts.add()
        host_steps.add(world)
        ready(world)
        run = submit(world, pool="lab", reuse=True, **body)
        world.sync_all()
    else:
        run = submit(world, **body)
        ready(world)
    assert run_of(world, run).state is RunState.STARTING
    return run


def machine_of(world, run):
    """The instance that a run is on."""
    return instances.show(world.deps, "main", run_of(world, run).instance_id).instance


def come_back(world):
    """Do all that is due, again and again, while no agent has asked yet."""
    world.pass_time(AWAY_S)
    for _ in range(LAST_TRY_S // 5):
        fire_due(world)
        reconcile.compare(world.deps)
        world.run_workflows()
        world.pass_time(5)


def wake_up(world, compares):
    """Be there again for good after an outage, and let all go on by itself."""
    world.pass_time(AWAY_S)
    look_around(world, compares)
    settle(world, minutes=10)


def look_around(world, compares):
    """Be awake for a moment: the comparison may come before the sweep, and what it files is due at once or not."""
    if compares:
        reconcile.compare(world.deps)
    for _ in range(2):
        fire_due(world)
        world.run_workflows()
        world.pass_time(1)


@pytest.mark.parametrize("has_begun", [True, False])
@pytest.mark.parametrize("backend", ["sim", "ssh"])
def test_a_job_lives_through_an_outage_that_is_longer_than_any_silence_that_is_waited_for(world, backend, has_begun):
    run = give(world, backend)
    if has_begun:
        world.sync_all()
        assert run_of(world, run).state is RunState.RUNNING
    come_back(world)
    settle(world, minutes=10)
    now = run_of(world, run)
    assert (now.state, now.placements) == (RunState.RUNNING, 1)
    assert not machine_of(world, run).unreachable


def test_an_idle_machine_is_there_after_an_outage_unless_its_own_limit_passed(world):
    kept, over = (add(world, name=name, idle_duration=limit) for name, limit in (("kept", "off"), ("over", "5m")))
    ready(world)
    come_back(world)
    settle(world, minutes=10)
    assert (state_of(world, kept).state, state_of(world, over).state) == (State.IDLE, State.TERMINATED)


@pytest.mark.parametrize("backend", ["sim", "ssh"])
def test_a_machine_that_did_not_outlive_the_outage_is_given_up_after_the_grace(world, backend):
    run = give(world, backend)
    world.sync_all()
    for machine in world.cloud.alive():
        del world.agents[machine.ref], world.cloud.user_data[machine.ref]
    for host in world.hosts.known.values():
        host.cut = True
    come_back(world)
    assert run_of(world, run).state is RunState.RUNNING
    settle(world, minutes=10)
    now = run_of(world, run)
    assert (now.state, now.reason) == (RunState.FAILED, RunReason.MACHINE_LOST)


@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize("has_begun", [True, False])
@pytest.mark.parametrize("backend", ["sim", "ssh"])
def test_a_job_lives_through_a_night_in_which_its_control_plane_wakes_for_moments(world, backend, has_begun, compares):
    """What is flagged in one of them is not given up in the next: no agent could say anything in between."""
    run = give(world, backend)
    if has_begun:
        world.sync_all()
    for _ in range(6):
        world.pass_time(NAP_S)
        look_around(world, compares)
    settle(world, minutes=10)
    now = run_of(world, run)
    assert (now.state, now.placements) == (RunState.RUNNING, 1)


@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize("has_begun", [True, False])
def test_so_does_one_on_several_machines(world, has_begun, compares):
    world.cloud.capabilities = replace(world.cloud.capabilities, cluster=True)
    run = give(world, "sim", nodes=2)
    if has_begun:
        world.sync_all()
        world.sync_all()
    for _ in range(6):
        world.pass_time(NAP_S)
        look_around(world, compares)
    settle(world, minutes=10)
    assert run_of(world, run).state is RunState.RUNNING
    assert len(world.cloud.alive()) == 2


@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize("backend", ["sim", "ssh"])
def test_a_job_that_ended_within_its_time_is_done_although_nobody_could_be_told(world, backend, compares):
    run = give(world, backend, max_duration="30m")
    world.sync_all()
    for machine in world.cloud.alive():
        world.finish_job(machine.ref)
    for host in world.hosts.known.values():
        host.jobs = {job: JobReport(job, "exited", 0) for job in host.jobs}
    wake_up(world, compares)
    now = run_of(world, run)
    assert (now.state, now.reason) == (RunState.DONE, RunReason.EXITED)


@pytest.mark.parametrize("compares", [True, False])
def test_a_job_that_runs_on_is_stopped_when_its_time_passed_meanwhile(world, compares):
    run = give(world, "sim", max_duration="30m")
    world.sync_all()
    world.obedient = True
    wake_up(world, compares)
    now = run_of(world, run)
    assert (now.state, now.reason) == (RunState.STOPPED, RunReason.MAX_DURATION)


@pytest.mark.parametrize("is_heard", [True, False])
@pytest.mark.parametrize("compares", [True, False])
def test_a_client_whose_heartbeats_nobody_took_in_keeps_its_lease_for_a_grace(world, compares, is_heard):
    row = add(world)
    ready(world)
    policies, _ = parse({}, defaults=LEASE)
    lease = leases.acquire(world.deps, "main", row.pool, policies, holder="ci").lease
    world.pass_time(AWAY_S)
    look_around(world, compares)
    for _ in range(4):
        world.pass_time(60)
        if is_heard:
            leases.heartbeat(world.deps, "main", lease.lease_id)
        fire_due(world)
    assert state_of(world, row).state is (State.BUSY if is_heard else State.IDLE)


@pytest.mark.parametrize("away_h", [0.75, 5])
@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("is_ready", [True, False])
def test_a_run_whose_machines_were_on_their_way_gets_others_and_pays_for_no_more(
    world, nodes, is_ready, compares, away_h
):
    """Their agents came to a closed door, and their time is over; no provider and no region has failed for that."""
    world.cloud.capabilities = replace(world.cloud.capabilities, cluster=True)
    run = submit(world, nodes=nodes)
    world.run_workflows()
    world.boot()
    if is_ready and nodes > 1:
        world.sync(min(world.agents))
    world.pass_time(timedelta(hours=away_h).total_seconds())
    look_around(world, compares)
    settle(world, minutes=15)
    assert run_of(world, run).state is RunState.RUNNING
    assert len(world.cloud.alive()) == nodes

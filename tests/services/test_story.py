"""The main job, in one process on a counted clock: fill a pool, run on it, reuse it, let it drain."""

import pytest

from chalicelib.domain.errors import NoMatchError, NoOffersError
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import RunReason, RunState
from chalicelib.domain.policies import POOL_ADD, parse
from chalicelib.services import instances, jobs, pools, runs
from chalicelib.store import instances as instance_store
from tests.builders import make_gpu, make_offer
from tests.services.steps import add, fire_due, ready, state_of, submit
from tests.services.world import World


def test_an_added_instance_becomes_idle_and_expires_after_its_idle_time(world):
    row = add(world, idle_duration="10s")
    assert row.state is State.PENDING
    ready(world)
    assert state_of(world, row).state is State.IDLE
    world.pass_time(11)
    fire_due(world)
    world.run_workflows()
    world.pass_time(5)
    world.run_workflows()
    ended = state_of(world, row)
    assert (ended.state, ended.reason) == (State.TERMINATED, Reason.IDLE_TIMEOUT)
    assert world.cloud.alive() == []


def test_a_run_takes_the_idle_instance_and_gives_it_back(world):
    row = add(world)
    ready(world)
    run = submit(world)
    assert (run.state, run.reason, run.instance_id) == (RunState.STARTING, RunReason.REUSED, row.instance_id)
    assert world.wake.sent == [row.instance_id]
    world.sync_all()
    world.sync_all()
    assert runs.show(world.deps, "main", run.run_id)[0].state is RunState.RUNNING
    world.finish_job("m-1", 3)
    world.sync_all()
    ended = runs.show(world.deps, "main", run.name)[0]
    assert (ended.state, ended.exit_code) == (RunState.FAILED, 3)
    assert state_of(world, row).state is State.IDLE


def test_a_run_without_an_idle_instance_gets_one_of_its_own(world):
    run = submit(world)
    assert run.state is RunState.PROVISIONING
    ready(world)
    world.sync_all()
    world.sync_all()
    shown = runs.show(world.deps, "main", run.run_id)[0]
    assert shown.state is RunState.RUNNING
    world.finish_job("m-1")
    world.sync_all()
    assert runs.show(world.deps, "main", run.run_id)[0].state is RunState.DONE
    row = instances.show(world.deps, "main", run.instance_id).instance
    assert (row.state, row.idle_limit.total_seconds()) == (State.IDLE, 300)


GPU = make_offer(backend="sim", instance_type="gpu", gpus=make_gpu(memory_gib=80), price=3_000_000)


def gpu_world(_tables):
    world = World(offers=[GPU])
    pools.create_project(world.deps, "main")
    add(world, requirements={"gpu": "80GB"})
    ready(world)
    return world


def test_a_request_that_names_no_resources_takes_an_idle_gpu_machine(dynamodb):
    assert submit(gpu_world(dynamodb)).reason is RunReason.REUSED


def test_a_request_that_names_resources_without_gpu_leaves_gpu_machines_alone(dynamodb):
    world = gpu_world(dynamodb)
    with pytest.raises(NoMatchError) as refused:
        submit(world, reuse=True, requirements={"cpu": "2.."})
    assert "GPU" in next(iter(refused.value.context["reasons"].values()))
    assert submit(world, reuse=True, requirements={"cpu": "4.."}, allow_gpu=True).reason is RunReason.REUSED


def test_the_machine_is_told_the_shared_memory_that_a_container_needs(world):
    add(world)
    ready(world)
    run = submit(world, requirements={"shared_memory": "8GB"})
    wanted = jobs.wanted(world.deps, instance_store.find("main", run.instance_id), world.clock)
    assert (wanted.shared_memory_mib, wanted.host_network) == (8 * 1024, False)


def test_provisioning_never_buys_a_gpu_for_a_request_without_one(dynamodb):
    world = World(offers=[GPU])
    pools.create_project(world.deps, "main")
    with pytest.raises(NoOffersError):
        submit(world)
    assert world.cloud.launches == 0


def test_a_request_that_is_repeated_after_a_crash_makes_nothing_twice(world, monkeypatch):
    first = submit(world, key="key-1")
    monkeypatch.setattr(world.workflows, "start", lambda *_: pytest.fail("a second workflow"))
    again = submit(world, key="key-1")
    assert (again.run_id, again.instance_id) == (first.run_id, first.instance_id)


def test_an_add_that_died_before_its_workflow_is_finished_by_its_repeat(world, monkeypatch):
    policies, _ = parse({}, defaults=POOL_ADD)
    pools.resolve(world.deps, "main", None)
    ask = {"name": "", "actor": "user:me", "api_url": "", "request_id": "key-2"}
    with monkeypatch.context() as dying:
        dying.setattr(world.workflows, "start", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            instances.add(world.deps, "main", "default-pool", policies, **ask)
    row = instances.add(world.deps, "main", "default-pool", policies, **ask)
    ready(world)
    assert (state_of(world, row).state, world.cloud.launches) == (State.IDLE, 1)


def test_a_run_on_one_machine_is_told_of_the_cluster_of_one_that_it_is(dynamodb):
    """What is written for several nodes must run on one."""
    world = gpu_world(dynamodb)
    run = submit(world)
    env = jobs.wanted(world.deps, instance_store.find("main", run.instance_id), world.clock).env
    assert (env["NNODES"], env["NODE_RANK"], env["DSTACK_NODES_NUM"]) == ("1", "0", "1")
    assert (env["MASTER_ADDR"], env["MASTER_PORT"], env["PET_NPROC_PER_NODE"]) == ("127.0.0.1", "29500", "1")

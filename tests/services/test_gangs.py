"""Runs on several nodes: all machines of one cluster or none, one job a node, one end for all of them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.errors import InvalidInputError, LostRaceError, NoMatchError, NoOffersError
from chalicelib.domain.host_records import Destination, HostRecord
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import Gpu, Resources, RunReason, RunState
from chalicelib.domain.nodes import NodeJob, NodeState
from chalicelib.domain.policies import LEASE, parse
from chalicelib.services import assembly, gangs, hosts, instances, jobs, leases, nodes, pools, reconcile, runs
from chalicelib.services.jobs import JobReport
from chalicelib.store import instances as instance_store
from chalicelib.store import journal
from chalicelib.store import runs as run_store
from tests.builders import NOW
from tests.services.sim_hosts import private_key
from tests.services.steps import add, fire_due, ready, run_of, settle, state_of, submit
from tests.services.world import World

POOL = "default-pool"


@pytest.fixture
def world(world: World) -> World:
    world.cloud.capabilities = replace(world.cloud.capabilities, cluster=True)
    pools.resolve(world.deps, "main", None)
    return world


def idle(world: World, count: int, **body) -> list:
    rows = [add(world, name=f"n{number}", **body) for number in range(count)]
    ready(world)
    return [state_of(world, row) for row in rows]


def adopt(world: World, *names: str, address: str) -> None:
    """Hosts of one network."""
    for number, name in enumerate(names, 5):
        world.hosts.add(name, addresses=(address.format(number),))
        record = HostRecord("", "", "", name, Destination(name, "ubuntu"), "http://api.test", NOW, "user:me")
        hosts.add(world.deps, "main", POOL, record, hosts.Key(private_key()))
    ready(world)


def sync(world: World, times: int = 2) -> None:
    for _ in range(times):
        world.sync_all()


def finish(world: World, row_or_ref, exit_code: int = 0) -> None:
    world.finish_job(row_or_ref if isinstance(row_or_ref, str) else row_or_ref.machine_ref, exit_code)


def live(world: World) -> list:
    return instance_store.live("main", POOL, limit=100)[0]


def states(world: World) -> list[State]:
    return [row.state for row in live(world)]


def running(world: World, nodes: int = 2, **body):
    """A run on idle machines whose agents all have their jobs."""
    rows = idle(world, nodes)
    run = submit(world, nodes=nodes, **body)
    sync(world)
    run = run_of(world, run)
    assert run.state is RunState.RUNNING
    by_id = {row.instance_id: row for row in rows}
    return run, [by_id[job.instance_id] for job in run.jobs]


def test_a_run_on_two_nodes_takes_two_idle_machines_at_once_and_ends_when_both_ended(world):
    run, (master, other) = running(world)
    assert [job.rank for job in run.jobs] == [0, 1]
    assert run.instance_id == master.instance_id
    finish(world, other)
    sync(world)
    assert run_of(world, run).state is RunState.RUNNING
    finish(world, master)
    sync(world)
    ended = run_of(world, run)
    assert (ended.state, ended.reason, ended.exit_code) == (RunState.DONE, RunReason.EXITED, 0)
    assert states(world) == [State.IDLE, State.IDLE]


def test_no_job_begins_before_all_nodes_are_there(world):
    idle(world, 1)
    run = submit(world, nodes=2)
    assert run.state is RunState.PROVISIONING
    sync(world, 3)
    assert all(not agent.jobs for agent in world.agents.values())
    ready(world)
    sync(world, 3)
    assert run_of(world, run).state is RunState.RUNNING
    assert [len(agent.jobs) for agent in world.agents.values()] == [1, 1]
    assert len({job.cluster for job in run_of(world, run).jobs}) == 1


def test_a_gang_is_never_mixed_from_two_regions(world):
    idle(world, 1, regions=["b"])
    idle_a = [add(world, name="a0", regions=[world.cloud.shelf[0].region])]
    ready(world)
    with pytest.raises(NoMatchError) as refused:
        submit(world, nodes=2, reuse=True)
    assert len(refused.value.context["reasons"]) == 2
    assert all("1 of 2 nodes free" in reason for reason in refused.value.context["reasons"].values())
    assert states(world) == [State.IDLE, State.IDLE], "nothing is held when it fails"
    assert state_of(world, idle_a[0]).lease is None


def test_hosts_of_one_network_make_a_gang_and_one_of_another_network_is_left_alone(world):
    adopt(world, "box-1", "box-2", address="10.0.0.{}/24")
    adopt(world, "far-1", address="10.9.0.{}/24")
    world.cloud.shelf = []
    run = submit(world, nodes=2, reuse=True)
    assert {job.instance_name for job in run.jobs} == {"box-1", "box-2"}
    assert {job.cluster for job in run.jobs} == {"remote|10.0.0.0/24"}
    assert {job.address for job in run.jobs} == {"10.0.0.5", "10.0.0.6"}
    with pytest.raises(NoMatchError, match="3 idle"):
        submit(world, nodes=3, reuse=True)
    with pytest.raises(NoOffersError) as refused:
        submit(world, nodes=3)
    (few,) = [line for line in refused.value.context["filters"] if "10.9.0.0/24" in line]
    assert few == "remote|10.9.0.0/24: 1 of 3 nodes free"


def test_machines_of_a_backend_without_clusters_are_no_gang(world):
    world.cloud.capabilities = replace(world.cloud.capabilities, cluster=False)
    idle(world, 2)
    with pytest.raises(NoOffersError):
        submit(world, nodes=2)
    assert states(world) == [State.IDLE, State.IDLE]


def test_each_node_is_told_its_rank_and_where_the_master_is(world):
    idle(world, 2)
    run = submit(world, nodes=2)
    told = []
    for job in run.jobs:
        row = instance_store.find("main", job.instance_id)
        wanted = jobs.wanted(world.deps, row, world.clock)
        assert wanted is not None
        assert wanted.host_network, "a container of its own network would not be found by the others"
        told.append(wanted.env)
    assert [env["NODE_RANK"] for env in told] == ["0", "1"]
    assert {env["MASTER_ADDR"] for env in told} == {run.jobs[0].address} == {"127.0.0.1"}
    assert {env["MASTER_PORT"] for env in told} == {"29500"}
    assert {env["TIDEPOOL_NODES_NUM"] for env in told} == {"2"}


def test_each_node_is_told_how_many_gpus_its_own_machine_has(world):
    for number, (name, gpus) in enumerate((("box-1", 2), ("box-2", 1)), 5):
        world.hosts.add(name, addresses=(f"10.0.0.{number}/24",), gpus=gpus)
    adopt(world, "box-1", "box-2", address="10.0.0.{}/24")
    run = submit(world, nodes=2, reuse=True, allow_gpu=True)
    told = {}
    for job in run.jobs:
        wanted = jobs.wanted(world.deps, instance_store.find("main", job.instance_id), world.clock)
        told[job.instance_name] = [wanted.env[f"TIDEPOOL_{name}"] for name in ("GPUS_PER_NODE", "GPUS_NUM")]
    assert told == {"box-1": ["2", "3"], "box-2": ["1", "3"]}


def test_a_rented_machine_has_as_many_gpus_as_its_agent_sees_and_what_was_sold_where_it_sees_none(world):
    (row,) = idle(world, 1)
    sold = replace(row, offer=replace(row.offer, resources=Resources(8, 65536, 1000, (Gpu("H100", 81920, 8),))))
    card = {"name": "NVIDIA H100 80GB HBM3", "memory_mib": 81559, "count": 7}
    seen = []
    for found in ([card], []):
        journal.put_facts(row.instance_id, {"gpus": found})
        seen.append(nodes.placed(world.deps, NodeJob(0), sold, "sim|bay").gpus)
    assert seen == [7, 8]


def test_a_node_that_is_on_its_way_has_a_name_before_it_joins(world):
    idle(world, 1)
    run = submit(world, nodes=3)
    names = [job.instance_name for job in run.jobs]
    assert names == [instance_store.find("main", job.instance_id).name for job in run.jobs]
    assert not any(name.startswith("i-") for name in names)


def test_one_node_that_fails_ends_the_run_with_its_code_and_its_name_and_stops_the_others(world):
    run, (master, other) = running(world)
    finish(world, other, 7)
    world.sync_all()
    row = instance_store.find("main", master.instance_id)
    wanted = jobs.wanted(world.deps, row, world.clock)
    assert wanted is not None
    assert wanted.stop
    assert master.instance_id in world.wake.sent
    assert run_of(world, run).state is RunState.RUNNING, "it is over when the others have been stopped"
    finish(world, master, 143)
    sync(world)
    ended = run_of(world, run)
    assert (ended.state, ended.reason, ended.exit_code) == (RunState.FAILED, RunReason.EXITED_NON_ZERO, 7)
    assert ended.detail == f"node 1 ({other.name}) exited with code 7"
    assert [job.state for job in ended.jobs] == [NodeState.STOPPED, NodeState.FAILED]
    assert states(world) == [State.IDLE, State.IDLE]


def test_a_node_that_is_lost_ends_the_run_and_stops_the_others(world):
    run, (master, other) = running(world)
    instances.remove(world.deps, "main", other.name, pool=None, force=True, actor="user:me")
    row = instance_store.find("main", master.instance_id)
    assert jobs.wanted(world.deps, row, world.clock).stop
    finish(world, master, 143)
    sync(world)
    ended = run_of(world, run)
    assert (ended.state, ended.reason) == (RunState.FAILED, RunReason.MACHINE_REMOVED)
    assert other.name in ended.detail


def test_a_host_that_falls_silent_ends_the_run_with_that_host_named(world):
    adopt(world, "box-1", "box-2", address="10.0.0.{}/24")
    run = submit(world, nodes=2, reuse=True)
    sync(world)
    world.hosts.known["box-2"].cut = True
    for _ in range(60):
        world.pass_time(30)
        fire_due(world)
        world.sync_all()
        lost = run_of(world, run)
        if any(job.state is NodeState.FAILED for job in lost.jobs):
            break
    box = world.hosts.known["box-1"]
    box.jobs = {run_id: JobReport(run_id, "exited", 143) for run_id in box.jobs}
    sync(world)
    ended = run_of(world, run)
    assert (ended.state, ended.reason) == (RunState.FAILED, RunReason.MACHINE_LOST)
    assert "box-2" in ended.detail


def test_a_stop_reaches_all_nodes(world):
    run, rows = running(world)
    world.wake.sent.clear()
    runs.stop(world.deps, "main", run.name, force=False, actor="user:me")
    assert set(world.wake.sent) == {row.instance_id for row in rows}
    for row in rows:
        finish(world, row, 143)
    sync(world)
    ended = run_of(world, run)
    assert (ended.state, ended.reason) == (RunState.STOPPED, RunReason.USER_STOPPED)
    assert states(world) == [State.IDLE, State.IDLE]


def test_a_stop_while_machines_are_on_their_way_removes_those_and_frees_the_idle_one(world):
    (row,) = idle(world, 1)
    run = submit(world, nodes=3)
    assert state_of(world, row).state is State.BUSY
    stopped = runs.stop(world.deps, "main", run.name, force=False, actor="user:me")
    assert stopped.state is RunState.STOPPED
    assert state_of(world, row).state is State.IDLE
    settle(world, 3)
    assert len(world.cloud.alive()) == 1


def test_max_duration_stops_all_nodes(world):
    run, rows = running(world, max_duration="5m")
    world.pass_time(301)
    fire_due(world)
    assert run_of(world, run).state is RunState.STOPPING
    assert all(jobs.wanted(world.deps, instance_store.find("main", row.instance_id), world.clock).stop for row in rows)


def test_a_gang_that_is_not_complete_in_time_is_released_with_the_reason(world):
    (row,) = idle(world, 1)
    world.cloud.faults = ["silent"] * 40
    run = submit(world, nodes=2)
    world.run_workflows()
    for _ in range(2 * 40):
        world.pass_time(30)
        fire_due(world)
        world.run_workflows()
        world.sync_all()
        if run_of(world, run).state is RunState.FAILED:
            break
    ended = run_of(world, run)
    assert (ended.state, ended.reason) == (RunState.FAILED, RunReason.PROVISIONING_FAILED)
    assert "node 1" in ended.detail
    sync(world)
    assert state_of(world, row).lease is None


def test_regions_that_are_all_sold_out_end_the_run_and_leaves_nothing(world):
    world.cloud.faults = ["no-capacity"] * 40
    run = submit(world, nodes=2)
    world.run_workflows()
    settle(world, 6)
    ended = run_of(world, run)
    assert (ended.state, ended.reason) == (RunState.FAILED, RunReason.PROVISIONING_FAILED)
    assert ended.detail.startswith("no cluster gave the run its 2 nodes: sim|bay: node ")
    assert "; sim|b: node " in ended.detail
    assert live(world) == []


def test_a_retry_begins_all_nodes_anew_behind_what_they_said_before(world):
    run, (master, other) = running(world, retry={"on_events": ["error"], "duration": "1h"})
    world.sync(other.machine_ref, logs=(jobs.LogChunk(run.job_id, 0, b"one\n"),))
    finish(world, other, 1)
    world.sync_all()
    finish(world, master, 143)
    sync(world)
    again = run_of(world, run)
    assert (again.state, again.tries.number) == (RunState.SUBMITTED, 2)
    assert all(not job.lease_id for job in again.jobs)
    first = runs.logs(world.deps, "main", run.run_id, after=0, limit=1000, node=1)
    closing = runs.logs(world.deps, "main", run.run_id, after=first.next, limit=1000, node=1)
    assert first.data == b"one\n"
    assert closing.data.startswith(b"tidepool: try 1 ended")
    world.pass_time(31)
    fire_due(world)
    sync(world, 3)
    assert run_of(world, run).state is RunState.RUNNING


def test_each_node_has_output_of_its_own(world):
    run, rows = running(world)
    for rank, row in enumerate(rows):
        world.sync(row.machine_ref, logs=(jobs.LogChunk(run.job_id, 0, f"I am {rank}\n".encode()),))
    for rank in (0, 1):
        said = runs.logs(world.deps, "main", run.name, after=0, limit=100, node=rank).data
        assert said == f"I am {rank}\n".encode()
    with pytest.raises(InvalidInputError, match="node"):
        runs.logs(world.deps, "main", run.name, after=0, limit=100, node=2)


def test_machines_whose_agents_take_no_job_are_given_up_and_the_run_is_placed_again(world):
    rows = idle(world, 2)
    run = submit(world, nodes=2)
    for row in rows:
        world.agents.pop(row.machine_ref)
        world.cloud.user_data.pop(row.machine_ref)
    for _ in range(6):
        world.pass_time(60)
        fire_due(world)
    again = run_of(world, run)
    assert again.placements >= 2
    assert not {job.instance_id for job in again.jobs} & {row.instance_id for row in rows}


class DeadError(Exception):
    """The process ended here."""


WRITES = [(run_store, "step"), (run_store, "note"), (instance_store, "create"), (assembly.gangs, "take")]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("count", range(3))
@pytest.mark.parametrize(("module", "verb"), WRITES)
def test_a_process_that_dies_beside_any_write_leaves_a_run_that_comes_together_or_ends(
    world, monkeypatch, module, verb, count, after
):
    """One machine is idle, two are bought. Whoever dies where: in the end the run runs on three, or nothing is held."""
    idle(world, 1)
    real, left = getattr(module, verb), [count]

    def dies(*args, **kwargs):
        left[0] -= 1
        if left[0] == -1 and not after:
            raise DeadError
        answer = real(*args, **kwargs)
        if left[0] == -1:
            raise DeadError
        return answer

    monkeypatch.setattr(module, verb, dies)
    run = None
    try:
        run = submit(world, nodes=3)
    except DeadError:
        found = runs.page(world.deps, "main", limit=9, cursor=None, active=False)[0]
        if not found:
            return
        (run,) = found
    for _ in range(12):
        world.pass_time(20)
        try:
            fire_due(world)
            ready(world)
            world.sync_all()
        except DeadError:
            continue
        if run_of(world, run).state is RunState.RUNNING:
            break
    found = run_of(world, run)
    assert found.state is RunState.RUNNING
    held = [row for row in live(world) if row.lease is not None]
    assert {row.instance_id for row in held} == {job.instance_id for job in found.jobs}
    assert len(held) == 3


def test_what_a_dead_placement_held_is_used_by_the_next_one(world, monkeypatch):
    rows = idle(world, 2)
    with monkeypatch.context() as dying:
        dying.setattr(run_store, "step", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            submit(world, nodes=2)
    sync(world)
    (run,) = runs.page(world.deps, "main", limit=9, cursor=None, active=False)[0]
    assert [state_of(world, row).state for row in rows] == [State.BUSY, State.BUSY]
    world.pass_time(61)
    fire_due(world)
    assert run_of(world, run).state is RunState.STARTING
    assert world.cloud.launches == 2


def test_the_leases_of_a_gang_are_prolonged_and_released_one_by_one(world):
    idle(world, 3)
    policies = parse({}, defaults=LEASE)[0]
    held = gangs.acquire(world.deps, "main", POOL, policies, nodes=2, holder="me", duration=timedelta(minutes=1))
    assert len({row.instance_id for row in held}) == 2
    with pytest.raises(NoMatchError) as refused:
        gangs.acquire(world.deps, "main", POOL, policies, nodes=2, holder="you")
    (reason,) = refused.value.context["reasons"].values()
    assert reason.startswith("1 of 2 nodes free; ")
    leases.release(world.deps, "main", held[0].lease.lease_id, actor="user:me")
    assert gangs.acquire(world.deps, "main", POOL, policies, nodes=2, holder="you")


def test_a_run_that_loses_every_race_stays_submitted_and_is_placed_by_its_timer(world, monkeypatch):
    idle(world, 2)

    def lost(*_args, **_kwargs):
        raise LostRaceError("somebody was faster")

    with monkeypatch.context() as crowd:
        crowd.setattr(gangs.gang_store, "claim", lost)
        run = submit(world, nodes=2)
    assert run.state is RunState.SUBMITTED
    world.pass_time(61)
    fire_due(world)
    assert run_of(world, run).state is RunState.STARTING


def test_two_runs_that_want_three_machines_of_four_never_share_or_split_them(world):
    idle(world, 4)
    first = submit(world, nodes=3)
    with pytest.raises(NoMatchError):
        submit(world, nodes=3, reuse=True)
    assert sorted(state.value for state in states(world)) == ["busy", "busy", "busy", "idle"]
    assert len({job.instance_id for job in first.jobs}) == 3


def test_reconcile_finds_a_node_that_was_taken_without_a_word(world):
    adopt(world, "box-1", "box-2", address="10.0.0.{}/24")
    run = submit(world, nodes=2, reuse=True)
    sync(world)
    row = instance_store.find("main", run.jobs[1].instance_id)
    leases.give_back(world.deps, row, row.lease.fence, reason=Reason.AGENT_SILENT, actor="timer")
    reconcile.compare(world.deps)
    lost = run_of(world, run)
    assert lost.jobs[1].state is NodeState.FAILED
    assert lost.jobs[1].reason == "machine-lost"


def test_an_instance_by_name_is_no_gang(world):
    with pytest.raises(InvalidInputError, match="instance"):
        submit(world, nodes=2, instance="n0")

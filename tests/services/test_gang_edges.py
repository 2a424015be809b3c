"""Hard cases of runs on several nodes: who is no neighbour, what is read late, who is away for a while."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.errors import NoMatchError, ThrottledError, UnavailableError
from chalicelib.domain.host_records import Destination, HostRecord
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import RunState
from chalicelib.domain.policies import LEASE, parse
from chalicelib.services import (
    agents,
    assembly,
    gangs,
    hosts,
    instances,
    interruptions,
    leases,
    offers,
    pools,
    provisioning,
    runs,
)
from chalicelib.store import calls
from chalicelib.store import instances as instance_store
from chalicelib.store import runs as run_store
from tests.builders import NOW
from tests.services.sim_hosts import private_key
from tests.services.steps import add, fire_due, ready, run_of, settle, state_of, submit
from tests.services.world import World

POOL = "default-pool"


@pytest.fixture
def world(dynamodb: None) -> World:
    world = World()
    world.cloud.capabilities = replace(world.cloud.capabilities, cluster=True)
    pools.create_project(world.deps, "main")
    pools.resolve(world.deps, "main", None)
    return world


def adopt(world: World, name: str, *addresses: str, region: str = "remote", **facts) -> None:
    world.hosts.add(name, addresses=addresses, **facts)
    record = HostRecord("", "", "", name, Destination(name, "ubuntu"), "http://api.test", NOW, "user:me")
    hosts.add(world.deps, "main", POOL, replace(record, region=region), hosts.Key(private_key()))
    ready(world)


def idle(world: World, count: int, **body) -> list:
    rows = [add(world, name=f"n{number}", **body) for number in range(count)]
    ready(world)
    return [state_of(world, row) for row in rows]


def live(world: World) -> list:
    return instance_store.live("main", POOL, limit=100)[0]


def test_two_hosts_with_the_same_internal_address_are_never_nodes_of_one_run(world):
    """Two sites both use 10.0.2.0/24 (every VirtualBox does); nobody said `--region`. They cannot be one network."""
    adopt(world, "here", "10.0.2.15/24")
    adopt(world, "there", "10.0.2.15/24")
    with pytest.raises(NoMatchError):
        submit(world, nodes=2, reuse=True)


def test_a_node_that_nobody_can_reach_starts_no_run(world):
    """A rented machine whose agent tells no address: the others would be told an empty master address."""
    world.cloud.capabilities = replace(world.cloud.capabilities, simulated=False)
    idle(world, 2)
    run = submit(world, nodes=2)
    world.sync_all()
    found = run_of(world, run)
    assert found.state not in (RunState.STARTING, RunState.RUNNING) or all(job.address for job in found.jobs)


def test_a_host_that_comes_back_with_another_address_is_told_to_the_others_by_that_one(world):
    """Addresses are facts, and facts are read again at each agent start (a lease of DHCP, a new cable)."""
    adopt(world, "box-1", "10.0.0.5/24")
    adopt(world, "box-2", "10.0.0.6/24")
    box = world.hosts.known["box-1"]
    box.addresses = ("10.0.0.77/24",)
    told = world.hosts.facts(box) | {"addresses": ["10.0.0.77"]}
    from chalicelib.services import tokens

    agents.sync(world.deps, tokens.verify(world.deps, box.agent), agents.SyncReport(boot_id="new", facts=told))
    run = submit(world, nodes=2, reuse=True)
    by_name = {job.instance_name: job.address for job in run.jobs}
    assert by_name["box-1"] == "10.0.0.77"


def test_one_node_whose_agent_never_takes_its_job_is_covered_by_a_retry_policy(world):
    """A machine that dies between its claim and its job is an interruption like any other."""
    rows = idle(world, 2)
    run = submit(world, nodes=2, retry={"on_events": ["interruption", "error", "no-capacity"], "duration": "2h"})
    dead = rows[0]
    world.agents.pop(dead.machine_ref)
    world.cloud.user_data.pop(dead.machine_ref)
    world.sync_all()
    for _ in range(10):
        world.pass_time(60)
        world.sync_all()
        fire_due(world)
        for agent in world.agents.values():  # the other one is told to stop, and does
            for _job_id in list(agent.jobs):
                answer = world.sync(agent.ref)
                if answer.job is not None and answer.job.stop:
                    world.finish_job(agent.ref, 143)
        world.sync_all()
        if run_of(world, run).state is RunState.FAILED or run_of(world, run).tries.number > 1:
            break
    assert run_of(world, run).tries.number == 2, run_of(world, run).detail


def test_a_gang_whose_rows_cannot_be_read_back_holds_nothing_for_nobody(world, monkeypatch):
    """The transaction went through, the table was busy then: the caller gets an error and no lease ids."""
    rows = idle(world, 2)
    policies = parse({}, defaults=LEASE)[0]

    def busy(*_args, **_kwargs):
        raise ThrottledError("the tables are busy")

    with monkeypatch.context() as throttled:
        throttled.setattr(calls, "get_many", busy)
        try:
            gangs.acquire(world.deps, "main", POOL, policies, nodes=2, holder="me", duration=timedelta(days=7))
        except ThrottledError:
            assert [state_of(world, row).state for row in rows] == [State.IDLE, State.IDLE]


def test_what_is_left_of_a_dead_placement_is_made_whole_with_idle_machines(world, monkeypatch):
    """Two of three were held when the process died, and one of them is gone: two others are idle in the cluster."""
    for number in (5, 6, 7):
        adopt(world, f"box-{number}", f"10.0.0.{number}/24")
    with monkeypatch.context() as dying:
        dying.setattr(run_store, "step", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            submit(world, nodes=2, reuse=True)
    (run,) = runs.page(world.deps, "main", limit=9, cursor=None, active=False)[0]
    held = [row for row in live(world) if row.state is State.BUSY]
    leases.give_back(world.deps, held[0], held[0].lease.fence, reason=held[0].reason, actor="test")
    world.pass_time(61)
    fire_due(world)
    found = run_of(world, run)
    assert found.state is RunState.STARTING, found.detail


def test_a_machine_that_is_being_taken_back_is_not_started_on(world):
    """Its notice came while the others were on their way; nothing has begun, so it costs nothing to replace it."""
    world.cloud.shelf = [replace(offer, spot=True) for offer in world.cloud.shelf]
    run = submit(world, nodes=2)
    world.run_workflows()
    world.boot()
    first, second = world.agents
    world.sync(first)
    (here,) = [row for row in live(world) if row.state is State.BUSY]
    interruptions.notice(world.deps, here, world.clock + timedelta(seconds=100), source="provider")
    world.sync(second)
    assert run_of(world, run).state not in (RunState.STARTING, RunState.RUNNING)


def test_a_stop_that_comes_after_a_node_has_failed_does_not_hide_the_failure(world):
    """Ctrl-C while the others are being stopped: the run ended because of a node, and that node is named."""
    rows = idle(world, 2)
    run = submit(world, nodes=2)
    for _ in range(2):
        world.sync_all()
    assert run_of(world, run).state is RunState.RUNNING
    by_id = {row.instance_id: row for row in rows}
    master, other = (by_id[job.instance_id] for job in run_of(world, run).jobs)
    world.finish_job(other.machine_ref, 7)
    world.sync_all()
    runs.stop(world.deps, "main", run.name, force=False, actor="user:me")
    world.finish_job(master.machine_ref, 143)
    world.sync_all()
    ended = run_of(world, run)
    assert other.name in ended.detail, (ended.state, ended.reason, ended.detail)


def test_a_gang_looks_at_the_market_as_often_as_a_single_run_does(world, monkeypatch):
    """Asked once for each node, a backend that needs 5 s to fail takes minutes of a function that has 30 s."""
    asked = []
    real = offers.market

    def counted(*args, **kwargs):
        asked.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(offers, "market", counted)
    submit(world, nodes=8)
    assert len(asked) <= 2


def test_a_backend_that_cannot_be_opened_keeps_no_run_from_the_hosts(world):
    """The credentials of a cloud account are away; the hosts of the pool have nothing to do with it."""
    idle(world, 1)
    adopt(world, "box-5", "10.0.0.5/24")
    adopt(world, "box-6", "10.0.0.6/24")

    def closed(project, name):
        raise UnavailableError(f"the credentials of {name} cannot be read")

    broken = replace(world.deps, backend=closed)
    policies = parse({}, defaults=LEASE)[0]
    held = gangs.acquire(broken, "main", POOL, policies, nodes=2, holder="me")
    assert {row.name for row in held} == {"box-5", "box-6"}


def test_a_stop_while_machines_are_being_asked_for_leaves_none_of_them(world, monkeypatch):
    """Whoever asks for 32 machines needs seconds; the stop comes after the second of them."""
    real, asked = instances.request, []

    def request(deps, row, *args, **kwargs):
        asked.append(row.instance_id)
        if len(asked) == 3:
            (run,) = runs.page(world.deps, "main", limit=9, cursor=None, active=True)[0]
            assert runs.stop(world.deps, "main", run.name, force=False, actor="user:me").state is RunState.STOPPED
        return real(deps, row, *args, **kwargs)

    monkeypatch.setattr(instances, "request", request)
    submit(world, nodes=6)
    ready(world)
    settle(world, 2)
    assert [row.state for row in live(world)] == []
    assert world.cloud.alive() == []


def test_an_instance_that_the_index_shows_in_two_shapes_is_taken_once(world, monkeypatch):
    """A host whose facts changed a moment ago: an index may lag. A transaction refuses one row twice, with a crash."""
    adopt(world, "box-5", "10.0.0.5/24")
    adopt(world, "box-6", "10.0.0.6/24", cpus=16)
    adopt(world, "box-7", "10.0.0.7/24", cpus=32)
    real = gangs.store.claimable
    shapes = {row.instance_id: row.offer.shape for row in live(world)}
    late, *_ = shapes

    def lagging(project, pool, shape, *, limit):
        return [*real(project, pool, shapes[late], limit=1), *real(project, pool, shape, limit=limit)][:limit]

    monkeypatch.setattr(gangs.store, "claimable", lagging)
    run = submit(world, nodes=3, reuse=True)
    assert len({job.instance_id for job in run.jobs}) == 3


def test_a_blip_of_one_host_at_the_start_kills_no_job_of_another(world):
    """100 s are less than the grace of 2 minutes. The other host's job runs already."""
    adopt(world, "box-5", "10.0.0.5/24")
    adopt(world, "box-6", "10.0.0.6/24")
    run = submit(world, nodes=2, reuse=True)
    world.hosts.known["box-6"].cut = True
    for _ in range(10):
        world.sync_all()
        world.pass_time(10)
        fire_due(world)
    world.hosts.known["box-6"].cut = False
    world.sync_all()
    world.sync_all()
    found = run_of(world, run)
    assert [job.state.value for job in found.jobs] == ["running", "running"], [job.detail for job in found.jobs]


def test_a_host_that_a_gang_gave_up_for_a_blip_is_not_called_unreachable(world):
    """The same where nothing had begun: a host that was away for 70 s is placed again, not flagged and left out."""
    adopt(world, "box-5", "10.0.0.5/24")
    adopt(world, "box-6", "10.0.0.6/24")
    run = submit(world, nodes=2, reuse=True)
    for name in ("box-5", "box-6"):
        world.hosts.known[name].cut = True
    for _ in range(7):
        world.pass_time(10)
        fire_due(world)
    for name in ("box-5", "box-6"):
        world.hosts.known[name].cut = False
    for _ in range(13):
        world.sync_all()
        world.pass_time(10)
        fire_due(world)
    found = run_of(world, run)
    assert found.state is RunState.RUNNING, (found.state, found.detail)


def test_a_gang_that_loses_machines_while_it_gathers_ends_with_that_truth(world):
    """No job was ever handed out, so no agent failed to take one."""
    world.cloud.shelf = [replace(offer, spot=True) for offer in world.cloud.shelf]
    run = submit(world, nodes=2)
    for _ in range(4):
        world.run_workflows()
        world.boot()
        fresh = list(world.agents)[-1]
        if run_of(world, run).state is not RunState.PROVISIONING:
            break
        world.sync(fresh)
        row = next(row for row in live(world) if row.machine_ref == fresh)
        world.cloud.vanish(fresh)
        interruptions.gone(world.deps, row, source="provider")
        world.pass_time(1)
        fire_due(world)
    found = run_of(world, run)
    assert "none took it" not in found.detail, (found.state, found.reason, found.detail)


def test_a_gang_that_asks_for_no_gpu_leaves_those_with_gpus_alone_while_there_are_others(world):
    """One machine takes GPUs last; so must several."""
    for number in (5, 6):
        adopt(world, f"gpu-{number}", f"10.1.0.{number}/24", gpus=8)
        adopt(world, f"cpu-{number}", f"10.2.0.{number}/24")
    policies = parse({}, defaults=LEASE)[0]
    held = [gangs.acquire(world.deps, "main", POOL, policies, nodes=2, holder="me") for _ in range(2)]
    assert [{row.name[:3] for row in rows} for rows in held] == [{"cpu"}, {"gpu"}]


def test_who_assembles_slowly_does_not_release_the_machines_of_a_run_that_has_started(world, monkeypatch):
    """A look reads a node as `pending` and drives it again; the answer is slow, and meanwhile all nodes come."""
    run = submit(world, nodes=2)
    assert run_of(world, run).state is RunState.PROVISIONING
    real, done = provisioning.drive, []

    def slow(deps, row, *rest, **more):
        answer = real(deps, row, *rest, **more)
        if not done:
            done.append(row.instance_id)
            ready(world)
        return answer

    monkeypatch.setattr(provisioning, "drive", slow)
    assembly.assemble(world.deps, run_of(world, run))
    found = run_of(world, run)
    assert found.state in (RunState.STARTING, RunState.RUNNING)
    rows = [instance_store.find("main", job.instance_id) for job in found.jobs]
    assert [(row.state, row.lease.run_id) for row in rows] == [(State.BUSY, run.run_id)] * 2

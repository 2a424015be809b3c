"""Which hosts are neighbours: equal networks behind different ways, addresses that two have, addresses that change."""

import pytest

from chalicelib.domain.errors import NoMatchError
from chalicelib.domain.host_records import Destination
from chalicelib.domain.lifecycle import State
from chalicelib.services import hosts, instances, neighbours, pools
from chalicelib.services.adoption_claims import machine_claim
from chalicelib.services.jobs import JobReport
from chalicelib.store import hosts as host_store
from tests.services.host_steps import add, codes, record_of, spend, wanted
from tests.services.sim_hosts import SimHost, private_key
from tests.services.steps import ready, state_of, submit
from tests.services.world import World

LAN = "10.0.0.0/24"


@pytest.fixture
def world(world: World) -> World:
    pools.create(world.deps, "main", "lab")
    return world


def adopted(world: World, name: str, *addresses: str, **asked):
    """The instance of a host with these addresses."""
    world.hosts.add(name, addresses=addresses)
    row = add(world, name, name=name, **asked)
    ready(world)
    return state_of(world, row)


def warned(world: World, row) -> list[str]:
    return [check["code"] for check in record_of(world, row).checks if check["status"] == "warn"]


def nodes(world: World, count: int = 2) -> set[str]:
    run = submit(world, pool="lab", nodes=count, reuse=True)
    return {job.instance_name for job in run.jobs}


def restarts(world: World, host: SimHost, *addresses: str) -> None:
    """The host is back, with other addresses; its agent reads the facts anew."""
    host.addresses, host.facts_told = addresses, False
    world.hosts.sync(host)


def test_equal_networks_behind_two_bastions_are_two_networks(world):
    left, right = Destination("bastion-a", "me"), Destination("bastion-b", "me")
    box = adopted(world, "box-7", "10.0.0.7/24", network=LAN, jump=left)
    adopted(world, "other-8", "10.0.0.8/24", network=LAN, jump=right)
    assert box.offer.zone == "10.0.0.0/24 via bastion-a:22"
    with pytest.raises(NoMatchError):
        submit(world, pool="lab", nodes=2, reuse=True)
    adopted(world, "box-8", "10.0.0.8/24", network=LAN, jump=left)
    assert nodes(world) == {"box-7", "box-8"}


def test_a_region_that_is_named_makes_one_network_of_several_ways(world):
    adopted(world, "head", "10.0.0.1/24", region="hall")
    adopted(world, "box-7", "10.0.0.7/24", region="hall", jump=Destination("head", "me"))
    assert nodes(world) == {"head", "box-7"}


def test_behind_a_command_of_the_user_s_own_the_network_is_that_command_s(world):
    world.hosts.add("box-7")
    rows = [add(world, "box-7", from_here=True, way=way) for way in ("command:0a1b", "command:2c3d")]
    assert len({row.instance_id for row in rows}) == 2
    assert record_of(world, rows[0]).via == "command:0a1b"


def test_two_hosts_with_the_same_internal_address_are_never_nodes_of_one_run(world):
    """Every virtual machine of VirtualBox has 10.0.2.15 on its first interface."""
    adopted(world, "here", "10.0.2.15/24")
    there = adopted(world, "there", "10.0.2.15/24")
    assert (there.state, there.offer.zone, record_of(world, there).address) == (State.IDLE, "", "")
    assert "address-shared" in warned(world, there)
    with pytest.raises(NoMatchError):
        submit(world, pool="lab", nodes=2, reuse=True)


def test_a_network_that_was_named_is_refused_where_another_host_has_the_address(world):
    adopted(world, "here", "10.0.0.7/24", network=LAN)
    there = adopted(world, "there", "10.0.0.7/24", network=LAN)
    assert there.state is State.TERMINATED
    assert codes(world, there) == ["address-taken"]
    assert "here" in record_of(world, there).failure
    (told,) = [check for check in record_of(world, there).checks if check["check"] == "network"]
    assert "--region" in told["fix"]
    assert host_store.holder_of("main", machine_claim(world.hosts.known["there"].machine_id)) == ""
    again = adopted(world, "elsewhere", "10.0.0.7/24", network=LAN, region="berlin")
    assert again.state is State.IDLE


def test_a_check_says_who_has_the_address_and_takes_nothing(world):
    world.hosts.add("here", addresses=("10.0.0.7/24",))
    world.hosts.add("there", addresses=("10.0.0.7/24",))
    asked = wanted("there", network=LAN)

    def failed() -> list[str]:
        record = hosts.begin_check(world.deps, "main", asked, hosts.Key(private_key()))
        world.run_workflows()
        found = hosts.get_check(world.deps, "main", record.key).checks
        return [each["code"] for each in found if each["status"] == "fail"]

    world.hosts.known["there"].addresses = ("10.9.0.7/24",)
    assert failed() == ["no-address-in-network"]
    world.hosts.known["there"].addresses = ("10.0.0.7/24",)
    assert failed() == []
    adopted(world, "here", "10.0.0.7/24", network=LAN)
    assert failed() == ["address-taken"]


def test_an_address_is_free_when_its_host_has_ended(world):
    row = adopted(world, "here", "10.0.0.7/24", network=LAN)
    instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    spend(world, 1)
    assert adopted(world, "there", "10.0.0.7/24", network=LAN).state is State.IDLE


def test_a_host_that_comes_back_with_another_address_is_told_to_the_others_by_that_one(world):
    adopted(world, "box-1", "10.0.0.5/24")
    adopted(world, "box-2", "10.0.0.6/24")
    restarts(world, world.hosts.known["box-1"], "10.0.0.77/24", "192.168.5.1/24")
    run = submit(world, pool="lab", nodes=2, reuse=True)
    assert {job.instance_name: job.address for job in run.jobs} == {"box-1": "10.0.0.77", "box-2": "10.0.0.6"}
    assert adopted(world, "box-3", "10.0.0.5/24").offer.zone == LAN  # what it had is free


def test_a_host_that_comes_back_beside_an_old_job_is_known_by_its_new_address(world):
    """What is left over ends first, which the answer is early for; the facts come with this one sync all the same."""
    row = adopted(world, "box-1", "10.0.0.5/24")
    host = world.hosts.known["box-1"]
    host.jobs = {"run-old": JobReport("run-old", "running")}
    restarts(world, host, "10.0.0.77/24")
    assert host.jobs == {}
    assert record_of(world, row).address == "10.0.0.77"


def test_a_host_whose_agent_is_faster_than_the_answer_of_its_installation_has_the_address_it_told(world):
    host = world.hosts.add("box-1", addresses=("10.0.0.5/24",), install_faults=["lost-answer"])
    row = add(world)
    while not host.token:
        world.workflows.step(world.workflows.due()[0])
    assert state_of(world, row).state is State.PENDING
    host.addresses = ("10.0.0.77/24",)
    world.boot()
    world.sync_all()
    spend(world, 1)
    assert (state_of(world, row).state, record_of(world, row).address) == (State.IDLE, "10.0.0.77")


def test_a_host_that_has_left_its_network_is_no_node_until_it_is_back(world):
    row = adopted(world, "box-1", "10.0.0.5/24")
    host = world.hosts.known["box-1"]
    restarts(world, host, "10.9.0.5/24")
    assert (state_of(world, row).offer.zone, record_of(world, row).address) == ("", "")
    restarts(world, host, "10.0.0.5/24")
    assert (state_of(world, row).offer.zone, record_of(world, row).address) == (LAN, "10.0.0.5")


def test_a_host_does_not_take_the_address_of_another_when_it_changes_its_own(world):
    adopted(world, "box-1", "10.0.0.5/24")
    row = adopted(world, "box-2", "10.0.0.6/24")
    restarts(world, world.hosts.known["box-2"], "10.0.0.5/24")
    assert state_of(world, row).offer.zone == ""
    restarts(world, world.hosts.known["box-2"], "10.0.0.6/24")
    assert state_of(world, row).offer.zone == LAN


def test_a_host_whose_interface_was_down_at_one_start_of_its_agent_is_still_known_by_that_address(world):
    host = world.hosts.add("10.0.0.5", addresses=("10.0.0.5/24", "192.168.7.5/24"))
    row = add(world, "10.0.0.5")
    ready(world)
    restarts(world, host, "192.168.7.5/24")
    restarts(world, host, "10.0.0.5/24", "192.168.7.5/24")
    assert record_of(world, row).address == "10.0.0.5"
    assert add(world, "10.0.0.5").instance_id == row.instance_id


def test_a_late_worker_does_not_let_go_what_the_host_has_again(world, monkeypatch):
    """It has written the address that the host told, and is slow; the next sync tells the one of before again."""
    row = adopted(world, "box-1", "10.0.0.5/24")
    host, let_go = world.hosts.known["box-1"], neighbours.let_go

    def late(before, now):
        monkeypatch.setattr(neighbours, "let_go", let_go)
        restarts(world, host, "10.0.0.5/24")
        let_go(before, now)

    monkeypatch.setattr(neighbours, "let_go", late)
    restarts(world, host, "10.0.0.77/24")
    assert record_of(world, row).address == "10.0.0.5"
    assert adopted(world, "box-2", "10.0.0.5/24").offer.zone == "", "box-1 has it"


def test_the_address_of_a_host_that_moved_away_is_free_for_another_machine(world):
    """The lease of its address ended: its agent tells another one, and syncs on."""
    old = world.hosts.add("10.0.0.7", machine_id="a" * 32, addresses=("10.0.0.7/24",))
    row = add(world, "10.0.0.7")
    ready(world)
    assert add(world, "10.0.0.7").instance_id == row.instance_id
    restarts(world, old, "10.0.0.8/24")
    world.hosts.known["10.0.0.8"] = world.hosts.known.pop("10.0.0.7")
    world.hosts.add("10.0.0.7", machine_id="b" * 32, addresses=("10.0.0.7/24",))
    second = add(world, "10.0.0.7")
    assert second.instance_id != row.instance_id
    ready(world)
    assert [state_of(world, each).state for each in (row, second)] == [State.IDLE, State.IDLE]

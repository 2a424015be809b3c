"""What a run on several nodes would get, without taking anything: the very clusters that a placement would try."""

from dataclasses import replace

import pytest

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.host_records import Destination, HostRecord
from chalicelib.domain.policies import RUN, parse
from chalicelib.services import hosts, instances, pools
from tests.builders import NOW, make_offer
from tests.services.sim_hosts import private_key
from tests.services.steps import add, ready, submit
from tests.services.world import World

OFFERS = [make_offer(backend="sim", region=region, price=price) for region, price in (("a", 10), ("b", 20))]


@pytest.fixture
def world(dynamodb) -> World:
    world = World(offers=list(OFFERS))
    pools.create_project(world.deps, "main")
    world.cloud.capabilities = replace(world.cloud.capabilities, cluster=True)
    pools.resolve(world.deps, "main", None)
    return world


def plan(world: World, nodes: int, *, for_run: bool = True, **body) -> instances.Plan:
    policies, _ = parse(body, defaults=RUN)
    return instances.plan(world.deps, "main", None, policies, max_offers=3, for_run=for_run, nodes=nodes)


def adopt(world: World, name: str, address: str) -> None:
    world.hosts.add(name, addresses=(address,))
    record = HostRecord("", "", "", name, Destination(name, "ubuntu"), "http://api.test", NOW, "user:me")
    hosts.add(world.deps, "main", "default-pool", record, hosts.Key(private_key()))


def test_the_plan_says_what_each_node_and_all_of_them_cost_where_and_agrees_with_the_placement(world):
    add(world, name="one", regions=["b"])
    ready(world)
    found = plan(world, 3)
    told = [(each.key, each.free, each.missing, each.price, each.total) for each in found.clusters]
    assert told == [("sim|a", 0, 3, 10, 30), ("sim|b", 1, 2, 20, 60)]
    assert found.instances == [], "the idle one is not in the cluster that costs less"
    (row,) = plan(world, 3, regions=["b"]).instances
    assert row.name == "one"
    assert {job.cluster for job in submit(world, nodes=3).jobs} == {"sim|a"}


def test_idle_machines_that_are_enough_come_first_and_nothing_is_bought(world):
    for name in ("one", "two"):
        add(world, name=name, regions=["b"])
    ready(world)
    first, *others = plan(world, 2).clusters
    assert (first.key, first.free, first.missing, first.price, first.total) == ("sim|b", 2, 0, None, 40)
    assert [each.key for each in others] == ["sim|a"]
    assert {job.cluster for job in submit(world, nodes=2).jobs} == {"sim|b"}


def test_a_network_with_too_few_hosts_is_named_with_how_many_match(world):
    world.cloud.shelf = []
    for name, address in (("box-1", "10.0.0.5/24"), ("box-2", "10.0.0.6/24"), ("far-1", "10.9.0.5/24")):
        adopt(world, name, address)
    ready(world)
    found = plan(world, 2)
    assert [(each.key, each.free, each.total) for each in found.clusters] == [
        ("remote|10.0.0.0/24", 2, 0),
        ("remote|10.9.0.0/24", 1, None),
    ]
    assert {row.name for row in found.instances} == {"box-1", "box-2"}
    none = plan(world, 3)
    assert none.instances == []
    assert any(line.startswith("remote|10.0.0.0/24: 2 of 3 nodes free") for line in none.filters)
    assert any(line.startswith("remote|10.9.0.0/24: 1 of 3 nodes free") for line in none.filters)


def test_offers_of_a_backend_whose_machines_are_no_cluster_are_left_out_and_said(world):
    world.cloud.capabilities = replace(world.cloud.capabilities, cluster=False)
    found = plan(world, 2)
    assert (found.offers, found.total_offers, found.clusters) == ([], 0, [])
    assert found.filters == ["sim: 2 offers fit, but its machines are no cluster"]


def test_only_a_run_has_several_nodes(world):
    with pytest.raises(InvalidInputError, match="nodes"):
        plan(world, 2, for_run=False)

"""What a run on several nodes would get, without taking anything: the very clusters that a placement would try."""

from dataclasses import replace

import pytest

from chalicelib.domain.errors import InvalidInputError, NoMatchError, NotFoundError
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


def plan(
    world: World, nodes: int, *, for_run: bool = True, image="", reuse=False, instance="", **body
) -> instances.Plan:
    policies, _ = parse(body, defaults=RUN)
    return instances.plan(
        world.deps,
        "main",
        None,
        policies,
        max_offers=3,
        for_run=for_run,
        nodes=nodes,
        image=image,
        reuse=reuse,
        instance=instance,
    )


def adopt(world: World, name: str, address: str, **facts) -> None:
    world.hosts.add(name, addresses=(address,), **facts)
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


def test_only_a_run_says_what_it_takes_its_machine_for(world):
    for name, given in (("image", "ubuntu"), ("reuse", True), ("instance", "box")):
        with pytest.raises(InvalidInputError, match=name):
            plan(world, 1, for_run=False, **{name: given})


@pytest.mark.parametrize("nodes", [1, 2])
def test_hosts_without_docker_are_none_that_a_run_in_an_image_could_take(world, nodes):
    """The run buys machines, so its plan must not say that they are there and cost nothing."""
    for name, address in (("box-1", "10.0.0.5/24"), ("box-2", "10.0.0.6/24")):
        adopt(world, name, address, docker=False)
    ready(world)
    assert {row.name for row in plan(world, nodes).instances} == {"box-1", "box-2"}
    found = plan(world, nodes, image="ubuntu")
    assert found.instances == []
    assert found.offers
    if nodes > 1:
        told = {each.key: (each.free, each.why) for each in found.clusters}
        assert told["sim|a"] == (0, "")
        free, why = told["remote|10.0.0.0/24"]
        assert (free, "box-1: has no Docker, and an image was asked for" in why) == (0, True)
    submit(world, nodes=nodes, image="ubuntu")
    world.run_workflows()
    assert len(world.cloud.alive()) == nodes


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_run_that_may_not_buy_is_planned_without_offers_and_refused_in_the_same_words(world, nodes):
    adopt(world, "box-1", "10.0.0.5/24", docker=False)
    ready(world)
    found = plan(world, nodes, reuse=True, image="ubuntu")
    assert (found.instances, found.offers, found.total_offers, found.filters) == ([], [], 0, [])
    with pytest.raises(NoMatchError) as refused:
        submit(world, nodes=nodes, reuse=True, image="ubuntu")
    assert found.refusal is not None
    assert (found.refusal.detail, found.refusal.context) == (refused.value.detail, refused.value.context)
    assert all(each.why for each in found.clusters)


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_run_that_may_not_buy_gets_what_is_idle_and_enough(world, nodes):
    for name, address in (("box-1", "10.0.0.5/24"), ("box-2", "10.0.0.6/24")):
        adopt(world, name, address)
    ready(world)
    found = plan(world, nodes, reuse=True)
    assert (len(found.instances), found.offers, found.refusal) == (2, [], None)
    assert [(each.key, each.missing) for each in found.clusters] == ([("remote|10.0.0.0/24", 0)] if nodes > 1 else [])


def test_a_run_on_a_named_instance_is_planned_with_that_alone_or_says_why_not(world):
    adopt(world, "bare", "10.0.0.5/24", docker=False)
    adopt(world, "box", "10.0.0.6/24")
    ready(world)
    found = plan(world, 1, instance="bare")
    assert ([row.name for row in found.instances], found.offers, found.refusal) == (["bare"], [], None)
    refused = plan(world, 1, instance="bare", image="ubuntu")
    assert (refused.instances, refused.offers) == ([], [])
    with pytest.raises(NoMatchError) as said:
        submit(world, instance="bare", image="ubuntu")
    assert refused.refusal is not None
    assert refused.refusal.context == said.value.context
    assert refused.refusal.context["reasons"] == {"bare": "has no Docker, and an image was asked for"}
    with pytest.raises(NotFoundError, match="nowhere"):
        plan(world, 1, instance="nowhere")
    with pytest.raises(InvalidInputError, match="instance"):
        plan(world, 2, instance="box")


def test_silent_instances_are_none_that_a_run_could_take_and_what_fits_is_taken_first(world):
    world.cloud.shelf = []
    adopt(world, "gpus", "10.0.0.5/24", gpus=8)
    adopt(world, "box", "10.9.0.5/24")
    ready(world)
    assert [row.name for row in plan(world, 1).instances] == ["box", "gpus"]
    world.pass_time(600)
    assert plan(world, 1).instances == []


def test_a_cluster_that_is_passed_over_for_its_gpus_says_so(world):
    world.cloud.shelf = []
    for number in (5, 6):
        adopt(world, f"gpu-{number}", f"10.0.0.{number}/24", gpus=8)
        adopt(world, f"box-{number}", f"10.9.0.{number}/24")
    ready(world)
    first, second = plan(world, 2).clusters
    assert (first.key, first.why) == ("remote|10.9.0.0/24", "")
    assert (second.key, second.free, second.missing) == ("remote|10.0.0.0/24", 2, 0)
    assert second.why.startswith("others fit better; gpu-")
    assert "and no GPU was asked for" in second.why

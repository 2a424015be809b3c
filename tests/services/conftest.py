"""Worlds with the project `main`."""

from dataclasses import replace

import pytest

from chalicelib.domain.host_records import Destination, HostRecord
from chalicelib.services import hosts, pools
from tests.builders import NOW, make_offer
from tests.services.gangs import A, B, C
from tests.services.sim_hosts import SimHost, private_key
from tests.services.steps import ready
from tests.services.world import World


@pytest.fixture
def world(dynamodb: None) -> World:
    """A control plane on empty tables, with the project `main` and no pool yet."""
    world = World()
    pools.create_project(world.deps, "main")
    return world


@pytest.fixture
def regional(dynamodb: None) -> World:
    """A world that rents clusters in three regions."""
    world = World(offers=[A, B, C])
    pools.create_project(world.deps, "main")
    world.cloud.capabilities = replace(world.cloud.capabilities, cluster=True)
    pools.resolve(world.deps, "main", None)
    return world


@pytest.fixture
def boxes(world: World) -> tuple[SimHost, SimHost]:
    """Two hosts of one network, adopted."""
    pools.resolve(world.deps, "main", None)
    for number, name in enumerate(("box-1", "box-2"), 5):
        world.hosts.add(name, addresses=(f"10.0.0.{number}/24",))
        record = HostRecord("", "", "", name, Destination(name, "ubuntu"), "http://api.test", NOW, "user:me")
        hosts.add(world.deps, "main", "default-pool", record, hosts.Key(private_key()))
    ready(world)
    return world.hosts.known["box-1"], world.hosts.known["box-2"]


@pytest.fixture
def spot(dynamodb: None) -> World:
    """A world whose provider has spot machines, and dearer ones on demand."""
    offers = [make_offer(backend="sim", spot=True, price=n * 100_000, region=f"r{n}") for n in (1, 2, 3)]
    world = World(offers=[*offers, make_offer(backend="sim", price=9_000_000)])
    pools.create_project(world.deps, "main")
    return world

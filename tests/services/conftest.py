"""A world with the project `main`."""

import pytest

from chalicelib.services import pools
from tests.builders import make_offer
from tests.services.world import World


@pytest.fixture
def world(dynamodb: None) -> World:
    """A control plane on empty tables, with the project `main` and no pool yet."""
    world = World()
    pools.create_project(world.deps, "main")
    return world


@pytest.fixture
def spot(dynamodb: None) -> World:
    """A world whose provider has spot machines, and dearer ones on demand."""
    offers = [make_offer(backend="sim", spot=True, price=n * 100_000, region=f"r{n}") for n in (1, 2, 3)]
    world = World(offers=[*offers, make_offer(backend="sim", price=9_000_000)])
    pools.create_project(world.deps, "main")
    return world

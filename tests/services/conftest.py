"""A world with the project `main`."""

import pytest

from chalicelib.services import pools
from tests.services.world import World


@pytest.fixture
def world(dynamodb: None) -> World:
    """A control plane on empty tables, with the project `main` and no pool yet."""
    world = World()
    pools.create_project(world.deps, "main")
    return world

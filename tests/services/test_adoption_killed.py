"""A worker that is killed between any two lines of an adoption: the host is adopted once, or left as it was."""

from functools import partial

import pytest

from chalicelib.domain.lifecycle import State
from chalicelib.services import (
    adoption,
    adoption_claims,
    adoption_steps,
    adoption_verdicts,
    host_removal,
    hosts,
    instances,
    pools,
    reconcile,
)
from tests.quick_moto import empty_tables
from tests.services.host_steps import add, spend
from tests.services.reaper import Reaper
from tests.services.steps import state_of
from tests.services.world import World

ADOPTION = {module.__file__ for module in (adoption, adoption_steps, adoption_claims, adoption_verdicts, host_removal)}
FEWEST = 60
"""Lines that an adoption has at the least: fewer would mean that the reaper does not see them."""


def fresh() -> World:
    """A world with a pool and a host that nobody has added yet."""
    world = World()
    pools.create_project(world.deps, "main")
    pools.create(world.deps, "main", "lab")
    world.hosts.add()
    return world


def goes_on(world, row, name):
    """Step Functions calls the task again."""
    spend(world, 2)
    assert state_of(world, row).state is State.IDLE
    assert world.secrets.kept == {}
    assert [each.instance.instance_id for each in hosts.listed(world.deps, "main")] == [row.instance_id]


def is_removed_meanwhile(world, row, name):
    """The user does not want it any more before the task is called again."""
    instances.remove(world.deps, "main", row.name, pool=None, force=True, actor="user:me")
    spend(world, 5)
    assert state_of(world, row).state is State.TERMINATED
    assert world.hosts.known["box-1"].is_clean
    assert world.secrets.kept == {}
    again = add(world)
    spend(world, 2)
    assert state_of(world, again).state is State.IDLE


def loses_its_workflow(world, row, name):
    """The execution is gone with its worker; the row's timer drives the adoption again."""
    world.workflows.executions[name].over = True
    spend(world, 16)
    assert state_of(world, row).state is State.IDLE
    reconcile.compare(world.deps)
    assert world.secrets.kept == {}


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(("then", "every"), [(goes_on, 7), (is_removed_meanwhile, 29), (loses_its_workflow, 59)])
def test_a_worker_may_be_killed_before_any_line_of_an_adoption(then, every):
    for line in range(0, 1000, every):
        with empty_tables():
            world = fresh()
            row = add(world)
            name = f"adopt-{row.instance_id}"
            if not Reaper(line, ADOPTION).kills(partial(world.workflows.step, name)):
                assert line > FEWEST
                return
            then(world, row, name)
    raise AssertionError("an adoption does not end")

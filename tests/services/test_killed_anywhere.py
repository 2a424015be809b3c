"""A worker that is killed between any two lines of a launch: exactly one machine afterwards, or none, never two."""

from contextlib import contextmanager
from functools import partial

import pytest

from chalicelib.backends.base import Rate
from chalicelib.domain.lifecycle import State
from chalicelib.services import instances, launch_limit, launching, pools, provisioning, stock_outs
from tests.quick_moto import empty_tables
from tests.services.reaper import Reaper
from tests.services.steps import add, ready, settle, state_of
from tests.services.world import World

LAUNCH = {module.__file__ for module in (launching, launch_limit, stock_outs, provisioning)}
FEWEST = 80
"""Lines that a launch has at the least: fewer would mean that the reaper does not see them."""


@contextmanager
def request_on_empty_tables():
    """A world with a request and the name of its workflow."""
    with empty_tables():
        world = World()
        world.cloud.limit(Rate(per_s=2, burst=2))
        pools.create_project(world.deps, "main")
        row = add(world)
        yield world, row, f"up-{row.instance_id}"


def goes_on(world, row, name):
    """Step Functions calls the task again."""
    ready(world)
    world.pass_time(60)
    ready(world)
    assert state_of(world, row).state is State.IDLE
    assert len(world.cloud.alive()) == 1
    assert world.cloud.launches == 1, "the attempt that may have worked was found, or it had made nothing"


def is_removed_meanwhile(world, row, name):
    """The user does not want it any more before the task is called again."""
    instances.remove(world.deps, "main", row.name, pool=None, force=True, actor="user:me")
    settle(world, minutes=8)
    assert world.cloud.alive() == []
    assert world.cloud.launches <= 1
    assert state_of(world, row).state is State.TERMINATED


def loses_its_workflow(world, row, name):
    """The execution is gone with its worker; the row's timer drives the request again."""
    world.workflows.executions[name].over = True
    settle(world, minutes=45)
    assert len(world.cloud.alive()) == 1
    assert world.cloud.launches == 1
    assert state_of(world, row).state is State.IDLE


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(("then", "every"), [(goes_on, 1), (is_removed_meanwhile, 8), (loses_its_workflow, 40)])
def test_a_worker_may_be_killed_before_any_line_of_a_launch(then, every):
    for line in range(0, 1000, every):
        with request_on_empty_tables() as (world, row, name):
            if not Reaper(line, LAUNCH).kills(partial(world.workflows.step, name)):
                assert line > FEWEST
                return
            then(world, row, name)
    raise AssertionError("a launch does not end")

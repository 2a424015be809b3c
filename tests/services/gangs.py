"""What the tests of runs on several nodes do again and again, on regions of a cloud and on hosts of a network."""

import pytest

from chalicelib.domain.model import RunState
from chalicelib.services import machine_losses
from chalicelib.services.jobs import JobReport
from chalicelib.store import instances as instance_store
from tests.builders import make_offer
from tests.services.sim_hosts import SimHost
from tests.services.steps import fire_due, ready, run_of, submit
from tests.services.world import World

A, B, C = (make_offer(backend="sim", region=region, price=price) for region, price in (("a", 10), ("b", 20), ("c", 30)))
"""An offer in each of three regions, the cheapest first."""


def live(world: World) -> list:
    return instance_store.live("main", "default-pool", limit=100)[0]


def minute(world: World) -> None:
    world.pass_time(60)
    fire_due(world)
    ready(world)
    for _ in range(3):
        world.sync_all()


def until(world: World, run, *states: RunState, minutes: int = 12):
    """The run when it is in one of the states; what it holds until then is always of one region."""
    for _ in range(minutes):
        found = run_of(world, run)
        if found.state in states:
            return found
        assert len({job.cluster for job in found.jobs}) == 1
        minute(world)
    raise AssertionError(f"{found.state} {found.detail}")


def running(world: World, **body):
    run = submit(world, nodes=2, reuse=True, **body)
    for _ in range(3):
        world.sync_all()
    assert run_of(world, run).state is RunState.RUNNING
    return run


def exits(host: SimHost, code: int) -> None:
    host.jobs = {run_id: JobReport(run_id, "exited", code) for run_id in host.jobs}


def pass_minutes(world: World, minutes: float) -> None:
    for _ in range(round(minutes * 2)):
        world.pass_time(30)
        fire_due(world)
        world.sync_all()


def pass_minutes_unsaid(world: World, minutes: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time goes by, and whoever flags a silent machine dies before saying so to its run."""
    with monkeypatch.context() as dying:
        dying.setattr(machine_losses, "went_silent", lambda *_: None)
        pass_minutes(world, minutes)


def row_of(name: str):
    return instance_store.find("main", name)

"""Each half of the clock alone: TTL with the schedules off, and the sweep with TTL off. A control plane for each.

The sweep's takes the minute that a schedule of one minute takes. It comes up first, and its minute passes during the
other tests of the session: `conftest.py` puts the test that waits for it at the end.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from infra.local.control import Options
from tests.e2e.plane import Plane

LAG_S = 4
LATEST = timedelta(seconds=90)
"""Idle expiry is at most that late with the sweep alone."""


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane without TTL. Its instance is idle, and due, long before the first sweep."""
    plane = Plane(tmp_path_factory.mktemp("swept"), Options(port=0, ttl_lag="off"))
    plane.up()
    try:
        add_short_lived(plane)
        yield plane
    finally:
        plane.down("--erase", "--force")


@pytest.fixture
def lazy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane without schedules, where TTL deletes some seconds late."""
    plane = Plane(tmp_path_factory.mktemp("lazy"), Options(port=0, schedules=False, ttl_lag=str(LAG_S)))
    plane.up()
    try:
        yield plane
    finally:
        plane.down("--erase", "--force")


def add_short_lived(plane: Plane) -> None:
    """Add an instance without watching: it may be idle, and over, between two looks of whoever waits for it."""
    plane.tidepool("pool", "add", "--name", "box", "--idle-duration", "1s", "--no-wait", "-y")


def lateness(plane: Plane, name: str) -> timedelta:
    """From the moment an instance was due to the moment its end began."""
    steps = {step["target"]: step for step in plane.instance(name)["history"]}
    assert (steps["terminating"]["reason"], steps["terminating"]["actor"]) == ("idle-timeout", "timer")
    idle_since, ended = (datetime.fromisoformat(steps[state]["at"]) for state in ("idle", "terminating"))
    return ended - idle_since - timedelta(seconds=plane.instance(name)["idle_limit_s"])


def ended(plane: Plane, name: str) -> bool:
    """Whether an instance is gone, its machine with it, and its history written."""
    seen = plane.instance(name)
    return not plane.machines() and seen["state"] == seen["history"][-1]["target"] == "terminated"


def test_without_the_schedules_an_idle_instance_expires_through_ttl_alone(swept, lazy):
    add_short_lived(lazy)
    lazy.until(lambda: ended(lazy, "box"))
    assert timedelta(seconds=LAG_S) <= lateness(lazy, "box") < LATEST
    assert not [line for line in lazy.said() if " sweep: " in line or " reconcile: " in line]


@pytest.mark.last
def test_without_ttl_an_idle_instance_expires_through_the_sweep_alone(swept):
    swept.until(lambda: ended(swept, "box"), seconds=240)
    assert lateness(swept, "box") <= LATEST
    assert [line for line in swept.said() if " sweep: " in line and '"event": "swept"' in line]

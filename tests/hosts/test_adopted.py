"""A whole control plane and real hosts: added, worked on, cut off, removed, and as they were before."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.local.control import Options
from tests.e2e.plane import DEFAULT_POOL, Plane
from tests.hosts.host import Host
from tests.hosts.keys import Key
from tests.hosts.lab import Lab
from tests.hosts.machine import Machine

SETTINGS = {"TIDEPOOL_SYNC_S": "3", "TIDEPOOL_UNREACHABLE_S": "8", "TIDEPOOL_LOST_S": "30", "TIDEPOOL_PICKUP_S": "15"}
PATIENCE_S = 60
VOLATILE = ("/run", "/tmp", "/proc", "/var/log", "/home", "/root/.ssh")


@pytest.fixture(scope="module")
def plane(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane that may adopt what is in the lab's public network."""
    allowed = ",".join(str(network) for network in lab.public.ranges)
    settings = SETTINGS | {"TIDEPOOL_HOST_NETWORKS": allowed}
    plane = Plane(tmp_path_factory.mktemp("adopted"), Options(port=0, settings=settings))
    plane.up()
    try:
        assert plane.request("POST", "/projects/main/pools", {"name": "default-pool"})[0] == 201
        yield plane
    finally:
        plane.down("--erase")


def until(look: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Look until there is something to see."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.2)
    raise AssertionError(f"{what} within {patience_s} s")


def bare(lab: Lab, plane: Plane, key: Key, name: str, machine: Machine | None = None) -> Host:
    host = lab.host(name, key=key, machine=machine or Machine())
    host.serve(urlsplit(plane.client["TIDEPOOL_URL"]).port or 80)
    return host


def ask(plane: Plane, host: Host, key: Key, **more: Any) -> dict[str, Any]:
    body = {"host": host.address, "user": host.user, "private_key": key.private, "name": host.name, **more}
    status, answer = plane.request("POST", f"{DEFAULT_POOL}/hosts", body)
    assert status == 202, answer
    return answer


def add(plane: Plane, host: Host, key: Key, **more: Any) -> dict[str, Any]:
    """Adopt a host, and wait until it is ready."""
    row = ask(plane, host, key, **more)

    def settled() -> dict[str, Any] | None:
        shown = plane.instance(row["instance_id"])
        assert shown["state"] not in ("terminating", "terminated"), shown["detail"]
        return shown if shown["state"] == "idle" else None

    return until(settled, f"{host.name} is not ready")


def traces(host: Host) -> tuple[Any, Any]:
    """What is on a host that an adoption could change."""
    files = {path: entry for path, entry in host.files().items() if not path.startswith(VOLATILE)}
    return files, host.units()


def test_a_server_is_adopted_runs_a_job_and_is_left_as_it_was(lab, plane, key):
    host = bare(lab, plane, key, "whole-story")
    before = traces(host)
    shown = add(plane, host, key)
    assert (shown["backend"], shown["region"], shown["price_micros"]) == ("ssh", "remote", 0)
    assert shown["host"]["host_key"].startswith("SHA256:")
    assert {check["status"] for check in shown["host"]["checks"]} <= {"pass", "warn"}
    done = plane.tidepool("run", "--reuse", "--", "sh", "-c", "echo from $(hostname)")
    assert f"from {host.name}" in done.out
    status, _ = plane.request("DELETE", f"/projects/main/instances/{host.name}")
    assert status == 202
    until(lambda: plane.instance(shown["instance_id"])["state"] == "terminated", "it is not removed")
    assert plane.instance(shown["instance_id"])["host"]["cleanup_pending_since"] is None
    assert traces(host) == before
    assert not [line for line in host.processes() if "tidepool" in line]

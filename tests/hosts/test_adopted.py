"""A whole control plane and real hosts: added, worked on, cut off, removed, and as they were before."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.local.control import Options
from tests.e2e.plane import DEFAULT_POOL, Plane
from tests.hosts import gpus
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
        plane.down("--erase", "--force")


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


def remove(plane: Plane, shown: dict[str, Any]) -> None:
    status, answer = plane.request("DELETE", f"/projects/main/instances/{shown['name']}?force=true")
    assert status == 202, answer


def failed(plane: Plane, host: Host, key: Key, **more: Any) -> dict[str, Any]:
    """Add a host that cannot be adopted, and wait for the end of that."""
    row = ask(plane, host, key, **more)

    def ended() -> dict[str, Any] | None:
        shown = plane.instance(row["instance_id"])
        assert shown["state"] not in ("idle", "busy")
        return shown if shown["state"] == "terminated" else None

    return until(ended, f"{host.name} is not given up")


def codes(shown: dict[str, Any]) -> set[str]:
    return {check["code"] for check in shown["host"]["checks"] if check["status"] == "fail"}


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_left(lab, plane, key):
    host = bare(lab, plane, key, "unfit", Machine(driver=gpus.ONE_L40S, docker="plain"))
    before = traces(host)
    shown = failed(plane, host, key, gpu="A100:8")
    assert {"gpus-missing"} < codes(shown)
    assert all(check["fix"] for check in shown["host"]["checks"] if check["status"] == "fail")
    assert traces(host) == before


def test_another_host_key_than_the_one_given_refuses_everything(lab, plane, key):
    host = bare(lab, plane, key, "impostor")
    other = lab.host("somebody-else", key=key)
    shown = failed(plane, host, key, host_key=next(iter(other.host_keys.values())))
    assert codes(shown) == {"host-key-mismatch"}
    given = next(iter(host.host_keys.values()))
    remove(plane, add(plane, host, key, host_key=given, name="the-right-one"))


def test_an_address_that_is_not_allowed_is_not_even_tried(plane, key):
    body = {"host": "127.0.0.1", "user": "root", "private_key": key.private, "name": "inside"}
    row = plane.request("POST", f"{DEFAULT_POOL}/hosts", body)[1]
    until(lambda: plane.instance(row["instance_id"])["state"] == "terminated", "it is not given up")
    assert codes(plane.instance(row["instance_id"])) == {"target-refused"}


def test_a_look_at_a_host_changes_nothing_there(lab, plane, key):
    host = bare(lab, plane, key, "looked-at")
    before = traces(host)
    body = {"host": host.address, "user": host.user, "private_key": key.private}
    begun = plane.request("POST", "/projects/main/host-checks", body)[1]
    path = f"/projects/main/host-checks/{begun['check_id']}"
    found = until(lambda: (seen := plane.request("GET", path)[1])["over"] and seen, "the look is not over")
    assert len(found["host"]["checks"]) >= 15
    assert traces(host) == before


def test_a_host_that_is_cut_off_is_flagged_and_comes_back(lab, plane, key):
    host = bare(lab, plane, key, "wanderer")
    shown = add(plane, host, key)
    host.cut()
    until(lambda: plane.instance(host.name)["unreachable"], "nobody noticed")
    assert plane.instance(host.name)["state"] == "idle"
    host.mend()
    until(lambda: not plane.instance(host.name)["unreachable"], "it did not come back")
    remove(plane, shown)


def test_a_host_that_is_away_when_it_is_removed_is_cleaned_when_it_returns(lab, plane, key):
    host = bare(lab, plane, key, "prodigal")
    before = traces(host)
    shown = add(plane, host, key)
    host.cut()
    remove(plane, shown)
    until(lambda: plane.instance(shown["instance_id"])["state"] == "terminated", "it is not given up", 200)
    owed = [each["instance"]["instance_id"] for each in plane.request("GET", "/projects/main/hosts")[1]["items"]]
    assert shown["instance_id"] in owed
    assert plane.instance(shown["instance_id"])["host"]["cleanup_pending_since"]
    host.mend()
    until(lambda: traces(host) == before, "it is not cleaned", 90)
    until(lambda: not plane.instance(shown["instance_id"])["host"]["cleanup_pending_since"], "the note stays")

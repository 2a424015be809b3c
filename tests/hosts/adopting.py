"""A whole control plane that may adopt what is in a lab, and what its user does there: add hosts, look, remove them."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.local.control import Options
from tests.e2e.plane import DEFAULT_POOL, Plane
from tests.hosts.host import Host
from tests.hosts.keys import Key
from tests.hosts.lab import Lab

QUICK = {"TIDEPOOL_SYNC_S": "3", "TIDEPOOL_UNREACHABLE_S": "12", "TIDEPOOL_LOST_S": "40", "TIDEPOOL_PICKUP_S": "30"}
PATIENCE_S = 180
VOLATILE = ("/run", "/tmp", "/proc", "/var/log", "/home", "/root/.ssh")


@contextlib.contextmanager
def control_plane(lab: Lab, folder: Path, settings: Mapping[str, str]) -> Iterator[Plane]:
    """A control plane that may connect to what is in the lab's public network. It has a default pool."""
    allowed = ",".join(str(network) for network in lab.public.ranges)
    plane = Plane(folder, Options(port=0, settings={**settings, "TIDEPOOL_HOST_NETWORKS": allowed}))
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


def serve(plane: Plane, host: Host) -> None:
    """Let a host reach the API."""
    host.serve(urlsplit(plane.client["TIDEPOOL_URL"]).port or 80)


def bare(lab: Lab, plane: Plane, key: Key, name: str, **more: Any) -> Host:
    """A host that reaches the API, and that nobody has adopted."""
    host = lab.host(name, key=key, **more)
    serve(plane, host)
    return host


def ask(plane: Plane, host: Host, key: Key, *, path: str = DEFAULT_POOL, **more: Any) -> dict[str, Any]:
    """Ask for a host to be adopted into the pool at `path`; return its instance as it is then."""
    where = {"host": host.address, "user": host.user, "port": host.port}
    secret = {"private_key": key.private, **({"passphrase": key.passphrase} if key.passphrase else {})}
    status, answer = plane.request("POST", f"{path}/hosts", {**where, **secret, "name": host.name, **more})
    assert status == 202, answer
    return answer


def ready(plane: Plane, row: Mapping[str, Any]) -> dict[str, Any]:
    """Wait until an instance that is being adopted is ready."""

    def settled() -> dict[str, Any] | None:
        shown = plane.instance(row["instance_id"])
        assert shown["state"] not in ("terminating", "terminated"), shown["detail"]
        return shown if shown["state"] == "idle" else None

    return until(settled, f"{row['name']} is not ready")


def add(plane: Plane, host: Host, key: Key, **more: Any) -> dict[str, Any]:
    """Adopt a host, and wait until it is ready."""
    return ready(plane, ask(plane, host, key, **more))


def add_all(plane: Plane, key: Key, *hosts: Host) -> list[dict[str, Any]]:
    """Adopt several side by side."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(lambda host: add(plane, host, key), hosts))


def ended(plane: Plane, row: Mapping[str, Any]) -> dict[str, Any]:
    """Wait until an instance is terminated."""
    path = row["instance_id"]
    return until(
        lambda: (seen := plane.instance(path))["state"] == "terminated" and seen, f"{row['name']} does not end"
    )


def failed(plane: Plane, host: Host, key: Key, **more: Any) -> dict[str, Any]:
    """Add a host that cannot be adopted, and wait for the end of that."""
    return ended(plane, ask(plane, host, key, **more))


def remove(plane: Plane, shown: Mapping[str, Any]) -> None:
    """Ask for an instance to be removed, whatever it does."""
    status, answer = plane.request("DELETE", f"/projects/main/instances/{shown['name']}?force=true")
    assert status == 202, answer


def removed(plane: Plane, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Remove an instance, and wait until it is gone."""
    remove(plane, shown)
    return ended(plane, shown)


def codes(shown: Mapping[str, Any]) -> set[str]:
    """The checks of a host that failed."""
    return {check["code"] for check in shown["host"]["checks"] if check["status"] == "fail"}


def traces(host: Host) -> tuple[Any, Any]:
    """What is on a host that an adoption could change."""
    files = {path: entry for path, entry in host.files().items() if not path.startswith(VOLATILE)}
    return files, host.units()


def ours(host: Host) -> list[str]:
    """The processes on a host that are an agent's, or that one started."""
    return [line for line in host.processes() if "tidepool" in line]

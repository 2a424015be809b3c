"""What the tests of hosts do again and again: ask for one to be adopted, let the outside go on, look."""

from dataclasses import replace

from chalicelib.domain.host_records import Destination, HostRecord
from chalicelib.domain.model import Instance
from chalicelib.services import hosts
from chalicelib.store import hosts as host_store
from tests.builders import NOW
from tests.services.sim_hosts import private_key
from tests.services.steps import fire_due
from tests.services.world import World


def wanted(host: str = "box-1", **changes) -> HostRecord:
    """What a user asks for."""
    blank = HostRecord("", "", "", "", Destination(host, "ubuntu"), "http://api.test", NOW, "user:me")
    return replace(blank, **changes)


def add(world: World, host: str = "box-1", **changes) -> Instance:
    """Ask for a host to be adopted into the pool `lab`."""
    asked = wanted(host, **changes)
    key = None if asked.from_here else hosts.Key(private_key())
    return hosts.add(world.deps, "main", "lab", asked, key).instance


def record_of(world: World, row: Instance) -> HostRecord:
    """The host of an instance as it is now."""
    return host_store.get("main", row.instance_id)


def codes(world: World, row: Instance) -> list[str]:
    """The checks that failed."""
    return [check["code"] for check in record_of(world, row).checks if check["status"] == "fail"]


def spend(world: World, minutes: float, *, every_s: int = 30) -> None:
    """Let time pass, with everything that happens by itself."""
    for _ in range(round(minutes * 60 / every_s)):
        world.pass_time(every_s)
        fire_due(world)
        world.run_workflows()
        world.boot()
        world.sync_all()
        world.run_workflows()

"""A host that prints what none of ours does: its adoption ends with a reason, and what is stored of it stays short."""

import json

import pytest

from chalicelib.domain.host_records import LONGEST_TEXT, Step
from chalicelib.services import adoption, pools
from chalicelib.store import instances as instance_store
from tests.services.host_steps import add, record_of, spend
from tests.services.sim_hosts import Finished, SimHost, said
from tests.services.world import World


@pytest.fixture
def world(world: World) -> World:
    pools.create(world.deps, "main", "lab")
    return world


def prints(monkeypatch: pytest.MonkeyPatch, *lines: tuple[str, str]) -> None:
    """Every host prints these lines in place of those with the same keys."""
    real = SimHost._probe
    keys = {key for key, _ in lines}

    def probe(self, clock):
        kept = [line for line in real(self, clock).splitlines() if line.partition("\t")[0] not in keys]
        return "\n".join([*kept[:-1], *("\t".join(each) for each in lines), kept[-1]]) + "\n"

    monkeypatch.setattr(SimHost, "_probe", probe)


@pytest.mark.parametrize(
    ("line", "adopted"),
    [
        (("ip", "2: eth0    inet 999.1.1.1/24 scope global eth0"), False),
        (("clock_ms", "9" * 15), False),
        (("python", "/opt/my python/bin/python3 3.12.1 yes"), False),
        (("docker_root", '{"Runtimes": 5, "ServerVersion": "1"}'), True),
        (("machine_id", "a" * 3000), True),
    ],
    ids=["address", "clock", "blank-in-python", "docker", "machine-id"],
)
def test_a_probe_that_no_host_would_print_ends_the_adoption_with_a_reason_or_lacks_that_fact(
    world, monkeypatch, line, adopted
):
    world.hosts.add()
    prints(monkeypatch, line)
    row = add(world)
    adoption.advance(world.deps, "main", "lab", row.instance_id, kind="host")
    record = record_of(world, row)
    assert (record.step, bool(record.failure)) == ((Step.AGENT, False) if adopted else (Step.FAILED, True))


@pytest.mark.parametrize("instance_id", ["", "i-" + "x" * 3000])
def test_an_odd_instance_in_the_owner_file_is_no_reason_for_an_error_of_ours(world, instance_id):
    host = world.hosts.add()
    host.owner = dict.fromkeys(("control_plane_url", "since"), "x") | {
        "control_plane": world.deps.settings.owner,
        "project": "main",
        "instance_id": instance_id,
    }
    row = add(world)
    adoption.advance(world.deps, "main", "lab", row.instance_id, kind="host")
    assert record_of(world, row).step is not Step.PREFLIGHT


def test_an_installation_that_says_what_ours_never_says_is_undone_with_a_reason(world, monkeypatch):
    world.hosts.add()
    printed = said("tidepool-install", reason="because", outcome="refused")
    monkeypatch.setattr(SimHost, "_install", lambda *_: Finished(printed))
    row = add(world)
    spend(world, 1)
    assert record_of(world, row).step is Step.FAILED
    assert "because" in record_of(world, row).failure


def test_what_a_check_found_is_kept_short(world, monkeypatch):
    world.hosts.add()
    errors = [("gpu", "Unable to determine the device handle " + "x" * 3000)] * 300
    module = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19"
    prints(monkeypatch, *errors, ("gpu.exit", "15"), ("driver", module))
    row = add(world)
    adoption.advance(world.deps, "main", "lab", row.instance_id, kind="host")
    record = record_of(world, row)
    assert record.step is Step.FAILED
    assert max(len(each["found"]) for each in record.checks) == LONGEST_TEXT
    assert len(json.dumps([dict(each) for each in record.checks])) < 64_000


def test_why_an_installation_is_tried_again_is_kept_short(world, monkeypatch):
    world.hosts.add()
    printed = said("tidepool-install", step="files", reason="x" * 4000, outcome="failed")
    monkeypatch.setattr(SimHost, "_install", lambda *_: Finished(printed))
    row = add(world)
    for name in world.workflows.due():
        world.workflows.step(name)
    record = record_of(world, row)
    assert record.tries == 1
    assert record.trouble.startswith("files: x")
    assert len(record.trouble) <= LONGEST_TEXT
    assert len(instance_store.find("main", row.instance_id).detail) <= LONGEST_TEXT


def test_what_an_owner_file_says_after_a_refusal_is_kept_short(world, monkeypatch):
    world.hosts.add()
    owner = json.dumps({"control_plane_url": "x" * 300_000, "project": "y" * 300_000})
    lines = "".join(f"owner\t{owner[at : at + 4000]}\n" for at in range(0, len(owner), 4000))
    printed = f"tidepool-install\t1\nreason\towner-foreign\n{lines}outcome\trefused\nend\ttidepool-install\n"
    monkeypatch.setattr(SimHost, "_install", lambda *_: Finished(printed))
    row = add(world)
    spend(world, 4)
    assert len(instance_store.find("main", row.instance_id).detail) < 2 * LONGEST_TEXT

"""Hosts whose cable is pulled in the middle of a job, for a blip, for longer and for too long, or while removed.

All of them are cut at the same moment, since each only waits. The silences are those of the documentation, scaled:
`unreachable` after 12 s instead of 2 minutes, given up after 40 s instead of 20 minutes. What the figures themselves
promise is held by tests/services/test_host_health.py.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.plane import Plane
from tests.e2e.test_survival import COUNTING, is_whole
from tests.hosts.adopting import add, add_all, bare, ours, remove, removed, traces, until
from tests.hosts.host import Host
from tests.hosts.machine import Machine

BLIP_S = 4
FLAG = "/run/flag"
JOBS = {"after-blip": "", "after-absence": "", "after-loss": "some-image"}
"""Which hosts have a job, and in which image."""
OFF = "prodigal"
GONE = (OFF, "returnee")
"""Which are removed meanwhile. One of them is not cut off but switched off."""


@dataclass
class Silence:
    """The hosts by name, how they and their instances were before, and what was seen while they were away."""

    plane: Plane
    hosts: dict[str, Host]
    before: dict[str, Any]
    rows: dict[str, dict[str, Any]]
    away: dict[str, str]
    """How far the job of the blip was when that was over; instance and run of the absence, when that was noticed."""

    def run(self, name: str) -> dict[str, Any]:
        return self.plane.request("GET", f"/projects/main/runs/{name}-work")[1]

    def ended(self, name: str) -> dict[str, Any]:
        return until(lambda: (seen := self.run(name))["ended_at"] and seen, f"the job on {name} does not end")

    def log(self, name: str) -> str:
        return self.plane.tidepool("logs", f"{name}-work").out

    def instance(self, name: str) -> dict[str, Any]:
        return self.plane.instance(self.rows[name]["instance_id"])


@pytest.fixture(scope="module")
def silence(lab, first, key) -> Iterator[Silence]:
    """Every host has its job, and then nobody hears of them; two are removed just then. One is back after a blip.

    What must come before a host counts as lost is done here, so that no test has to hurry.
    """
    hosts = [bare(lab, first, key, name, machine=Machine(docker="plain")) for name in (*JOBS, *GONE)]
    before = {host.name: traces(host) for host in hosts}
    rows = add_all(first, key, *hosts)
    found = {host.name: host for host in hosts}
    told = Silence(first, found, before, {row["name"]: row for row in rows}, {})
    for name, image in JOBS.items():
        words = [*(["--image", image] if image else []), "--no-code", "--instance", name, "--name", f"{name}-work"]
        first.tidepool("run", "-d", "--reuse", *words, "--", "sh", "-c", COUNTING.format(flag=FLAG))
    for name in JOBS:
        until(lambda name=name: "line 3" in told.log(name), f"the job on {name} does not begin")
    for host in hosts:
        if host.name == OFF:
            host.power_off()
        else:
            host.cut()
    began = time.monotonic()
    for name in GONE:
        remove(first, told.rows[name])
    time.sleep(max(0.0, began + BLIP_S - time.monotonic()))
    found["after-blip"].mend()
    told.away["blip"] = told.log("after-blip")
    until(lambda: told.instance("after-absence")["unreachable"], "nobody noticed")
    told.away["instance"], told.away["run"] = (
        told.instance("after-absence")["state"],
        told.run("after-absence")["state"],
    )
    found["after-absence"].run(f"touch {FLAG}; until ls /var/lib/tidepool/jobs/*/end.json; do sleep 0.05; done")
    found["after-absence"].mend()
    yield told
    for host in hosts:
        host.power_off()


def test_a_job_lives_through_a_blip_and_ends_with_its_code_and_its_whole_log(silence):
    before = len(silence.away["blip"].splitlines())
    until(lambda: len(silence.log("after-blip").splitlines()) > before, "the log does not go on")
    until(lambda: not silence.instance("after-blip")["unreachable"], "it counts as away")
    silence.hosts["after-blip"].run(f"touch {FLAG}")
    run = silence.ended("after-blip")
    assert (run["state"], run["exit_code"], run["placements"]) == ("failed", 7, 1)
    assert is_whole(silence.log("after-blip"))


def test_a_job_that_ends_while_nobody_hears_of_its_host_tells_how_when_it_is_back(silence):
    assert (silence.away["instance"], silence.away["run"]) == ("busy", "running")
    run = silence.ended("after-absence")
    assert (run["state"], run["exit_code"], run["placements"]) == ("failed", 7, 1)
    assert is_whole(silence.log("after-absence"))
    until(lambda: not silence.instance("after-absence")["unreachable"], "it did not come back")


def test_a_host_that_is_away_for_too_long_loses_its_run_and_what_is_left_of_it_before_new_work(silence):
    host, plane = silence.hosts["after-loss"], silence.plane
    run = silence.ended("after-loss")
    assert (run["state"], run["reason"], run["exit_code"]) == ("failed", "machine-lost", None)
    assert "unreachable" in run["detail"]
    seen = silence.instance("after-loss")
    assert (seen["state"], seen["unreachable"]) == ("idle", True)
    refused = plane.tidepool("run", "--reuse", "--instance", "after-loss", "--", "true", code=6)
    assert "unreachable" in refused.err
    running = "docker ps --format '{{.Names}}'"
    assert host.run(running).stdout, "the job goes on where nobody hears of it"
    host.mend()
    until(lambda: not silence.instance("after-loss")["unreachable"], "it did not come back")
    until(lambda: not host.run(running).stdout, "its container stays")
    words = ("--reuse", "--instance", "after-loss", "--no-code", "--image", "some-image")
    assert plane.tidepool("run", *words, "--", "echo", "as if nothing had been").out == "as if nothing had been\n"
    told = silence.run("after-loss")
    assert (told["state"], told["reason"], told["ended_at"]) == ("failed", "machine-lost", run["ended_at"])


def test_a_host_that_is_away_when_it_is_removed_is_cleaned_when_it_returns(silence):
    until(lambda: silence.instance("prodigal")["state"] == "terminated", "it is not given up")
    listed = silence.plane.request("GET", "/projects/main/hosts")[1]["items"]
    assert silence.rows["prodigal"]["instance_id"] in [each["instance"]["instance_id"] for each in listed]
    assert silence.instance("prodigal")["host"]["cleanup_pending_since"]
    assert "cleanup pending" in silence.plane.tidepool("host", "list").out
    host = silence.hosts["prodigal"]
    host.power_on()
    until(lambda: traces(host) == silence.before["prodigal"], "it is not cleaned")
    until(lambda: not silence.instance("prodigal")["host"]["cleanup_pending_since"], "the note stays")


def test_a_host_that_is_still_to_be_cleaned_is_added_again_and_stays(silence, key):
    """Its old agent asks again just then, and is told to uninstall: it must not take the new one along."""
    plane, host = silence.plane, silence.hosts["returnee"]
    until(lambda: silence.instance("returnee")["state"] == "terminated", "it is not given up")
    host.mend()
    shown = add(plane, host, key)
    assert shown["instance_id"] != silence.rows["returnee"]["instance_id"]
    until(lambda: not silence.instance("returnee")["host"]["cleanup_pending_since"], "the note stays")
    out = plane.tidepool("run", "--reuse", "--no-code", "--instance", "returnee", "--", "echo", "welcome").out
    assert out == "welcome\n"
    assert removed(plane, shown)["host"]["cleanup_pending_since"] is None
    assert (traces(host), ours(host)) == (silence.before["returnee"], [])

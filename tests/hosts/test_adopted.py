"""A whole control plane and real hosts: added, worked on, removed, and as they were before."""

import os
import signal

import pytest

from tests.e2e.plane import DEFAULT_POOL
from tests.hosts import gpus
from tests.hosts.adopting import add, ask, bare, codes, ended, failed, ours, ready, removed, traces, until
from tests.hosts.machine import Machine

ADOPT = "chalicelib.workflows.adopt.adopt"
HELD = "(flock 9; until [ -e /run/go ]; do sleep 0.05; done) 9>/etc/tidepool/lock"
"""Has an installation wait before it changes anything."""


def test_a_server_is_adopted_runs_a_job_is_left_as_it_was_and_is_added_again_by_any_name(lab, plane, key):
    host = bare(lab, plane, key, "whole-story")
    before = traces(host)
    shown = add(plane, host, key)
    assert (shown["backend"], shown["region"], shown["price_micros"]) == ("ssh", "remote", 0)
    assert shown["host"]["host_key"].startswith("SHA256:")
    assert {check["status"] for check in shown["host"]["checks"]} <= {"pass", "warn"}
    done = plane.tidepool("run", "--reuse", "--instance", host.name, "--", "sh", "-c", "echo from $(hostname)")
    assert f"from {host.name}" in done.out
    ready(plane, shown)  # it is given back after the run's end
    status, _ = plane.request("DELETE", f"/projects/main/instances/{host.name}")
    assert status == 202
    assert ended(plane, shown)["host"]["cleanup_pending_since"] is None
    assert (traces(host), ours(host)) == (before, [])
    for name in (host.name, "another-name"):
        again = add(plane, host, key, name=name)
        assert (again["name"], again["host"]["address"]) == (name, host.address)
        assert again["instance_id"] != shown["instance_id"]
        removed(plane, again)
        assert (traces(host), ours(host)) == (before, [])


def test_a_host_is_removed_in_the_middle_of_a_job_and_nothing_of_that_stays_either(lab, plane, key):
    """A job in a container, and beside it a container and a process that outlived a job of the past."""
    host = bare(lab, plane, key, "amid", machine=Machine(docker="plain"))
    before = traces(host)
    shown = add(plane, host, key)
    label = f"tidepool.instance={shown['instance_id']}"
    host.run(f"docker run -d --name stray --label {label} some-image sleep 600")
    host.run("docker run -d --name somebody-elses some-image sleep 600")
    words = ("--reuse", "--no-code", "--instance", host.name, "--image", "some-image", "--name", "amid-work")
    plane.tidepool("run", "-d", *words, "--", "sh", "-c", "echo began; exec sleep 600")
    until(lambda: "began" in plane.tidepool("logs", "amid-work").out, "the job does not begin")
    removed(plane, shown)
    assert (traces(host), ours(host)) == (before, [])
    assert host.run("docker ps -a --format '{{.Names}}'").stdout.split() == ["somebody-elses"]
    assert [line for line in host.processes() if "sleep 600" in line] == ["sleep 600"]
    run = until(
        lambda: (seen := plane.request("GET", "/projects/main/runs/amid-work")[1])["ended_at"] and seen, "no end"
    )
    assert run["state"] in ("failed", "stopped")


def test_an_adoption_whose_worker_is_killed_amid_the_installation_comes_to_one_agent(lab, plane, key):
    """The script that the dead worker sent goes on, and so does the one of the next worker: one waits for the other."""
    host = bare(lab, plane, key, "killed-amid")
    before = traces(host)
    host.run(f"mkdir -p /etc/tidepool; {HELD} >/dev/null 2>&1 &")
    row = ask(plane, host, key)
    until(lambda: [line for line in host.processes() if "LOCK_EX" in line], "nothing is installed")
    for worker in plane.workers(ADOPT):
        os.kill(worker, signal.SIGKILL)
    until(lambda: len([line for line in host.processes() if "LOCK_EX" in line]) > 1, "it is not tried again")
    host.run("touch /run/go")
    shown = ready(plane, row)
    own = "tidepool_agent.py"  # of the agent and of its spawner; what they start looks like them for a moment
    until(lambda: len([line for line in host.processes() if own in line and "-I" in line]) == 2, "not one agent")
    removed(plane, shown)
    assert (traces(host), ours(host)) == (before, [])


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_left(lab, plane, key):
    host = bare(lab, plane, key, "unfit", machine=Machine(driver=gpus.ONE_L40S, docker="plain"))
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
    removed(plane, add(plane, host, key, host_key=given, name="the-right-one"))


@pytest.mark.parametrize(
    ("address", "code"), [("127.0.0.1", "target-never"), ("10.99.99.99", "target-refused")], ids=["never", "unlisted"]
)
def test_an_address_that_is_not_allowed_is_not_even_tried(plane, key, address, code):
    body = {"host": address, "user": "root", "private_key": key.private, "name": f"inside-{code}"}
    row = plane.request("POST", f"{DEFAULT_POOL}/hosts", body)[1]
    until(lambda: plane.instance(row["instance_id"])["state"] == "terminated", "it is not given up")
    assert codes(plane.instance(row["instance_id"])) == {code}


def test_a_look_at_a_host_changes_nothing_there(lab, plane, key):
    host = bare(lab, plane, key, "looked-at")
    before = traces(host)
    body = {"host": host.address, "user": host.user, "private_key": key.private}
    begun = plane.request("POST", "/projects/main/host-checks", body)[1]
    path = f"/projects/main/host-checks/{begun['check_id']}"
    found = until(lambda: (seen := plane.request("GET", path)[1])["over"] and seen, "the look is not over")
    assert len(found["host"]["checks"]) >= 15
    assert traces(host) == before

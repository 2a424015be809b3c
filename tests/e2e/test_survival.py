"""Parts that die at a bad moment: the agent, a Lambda worker, the machine, the whole control plane."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.e2e.test_faults import CPU_LARGE

PROVISION = "chalicelib.workflows.provision.provision"
COUNTING = """
i=0
while [ ! -e {flag} ]; do echo line $i; i=$((i + 1)); sleep 0.1; done
echo ended after $i
exit 7
"""


def counting(flag: Path) -> tuple[str, ...]:
    """A job that counts until a file is there, then says how far it came and exits with 7."""
    return ("sh", "-c", COUNTING.format(flag=flag))


def is_whole(log: str) -> bool:
    """Whether a log of that job has each line once, and its last one."""
    *lines, last = log.splitlines()
    return lines == [f"line {number}" for number in range(len(lines))] and last == f"ended after {len(lines)}"


def run(plane, name: str) -> dict[str, Any]:
    return plane.request("GET", f"/projects/main/runs/{name}")[1]


def kill_agent(plane, machine_id: str) -> None:
    """End the agent without a word, and return when its successor is there."""
    agent = plane.until(lambda: plane.agent_of(machine_id))
    os.kill(agent, signal.SIGKILL)
    plane.until(lambda: plane.agent_of(machine_id) not in (None, agent))


def test_an_idle_machine_whose_agent_is_killed_takes_the_next_run(plane):
    plane.tidepool("pool", "add", "--name", "box", "-y")
    (machine,) = plane.machines()
    kill_agent(plane, machine["id"])
    ran = plane.tidepool("run", "--reuse", "--no-code", "--", "echo", "still here")
    assert ran.out == "still here\n"
    detail = plane.instance("box")
    assert [attempt["state"] for attempt in detail["attempts"]] == ["launched"]
    assert [each["id"] for each in plane.machines()] == [machine["id"]]


def test_a_job_outlives_its_agent_and_ends_with_its_whole_log_and_its_exit_code(plane, tmp_path):
    flag = tmp_path / "flag"
    running = plane.start("run", "--no-code", "--name", "orphan", "--", *counting(flag))
    plane.until(lambda: "line 3" in plane.tidepool("logs", "orphan", code=None).out)
    (machine,) = plane.machines()
    kill_agent(plane, machine["id"])
    flag.touch()
    out, err = running.communicate(timeout=180)
    assert running.returncode == 7, err
    assert is_whole(out), out
    ended = run(plane, "orphan")
    assert (ended["state"], ended["exit_code"], ended["placements"]) == ("failed", 7, 1)


def test_a_provision_worker_that_is_killed_while_it_launches_leaves_one_machine(plane):
    plane.rehearse({"fault": "slow", "type": "cpu-large", "value": 6, "count": 1})
    plane.tidepool("pool", "add", *CPU_LARGE, "--name", "box", "--no-wait", "-y")
    seen = plane.until(lambda: has_asked(plane.instance("box")))
    workers = plane.workers(PROVISION)
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    assert plane.made_for(seen["instance_id"]) == [], "the worker was killed too late"
    plane.until(lambda: plane.instance("box")["state"] == "idle")
    (attempt,) = plane.instance("box")["attempts"]
    assert attempt["state"] == "launched"
    assert plane.made_for(seen["instance_id"]) == [attempt["attempt_id"]]


def has_asked(detail: dict[str, Any]) -> dict[str, Any] | None:
    """An instance whose first attempt is being asked for."""
    return detail if [attempt["state"] for attempt in detail["attempts"]] == ["intent"] else None


def test_a_preempted_machine_ends_its_run_with_that_truth_and_leaves_nothing(plane):
    # Not a shell that waits for its child: some print a word of their own when the end takes that first.
    name = plane.tidepool("run", "-d", "--no-code", "--", "sh", "-c", "echo began; exec sleep 600").out.strip()
    plane.until(lambda: plane.tidepool("logs", name).out == "began\n")
    (machine,) = plane.machines()
    plane.cloud("POST", f"/machines/{machine['id']}/preempt", {"after_s": 0})
    ended = plane.until(lambda: (seen := run(plane, name))["ended_at"] and seen)
    # Who notices first: the comparison with the provider, which says why, or the silence of the agent.
    assert (ended["state"], ended["exit_code"]) == ("failed", None)
    assert ended["reason"] in ("interrupted", "machine-lost")
    told = plane.tidepool("logs", "-f", name, code=None)
    assert (told.code != 0, told.out) == (True, "began\n")
    assert ended["reason"] in told.err
    plane.until(lambda: not plane.instances() and not plane.machines())
    assert plane.instance(ended["instance"]["name"])["state"] == "terminated"


def test_a_control_plane_that_is_away_for_a_while_learns_how_its_runs_went(plane, tmp_path):
    """One job ends while nobody is there to be told; the other goes on, and so does the command that follows it."""
    soon, later = tmp_path / "soon", tmp_path / "later"
    following = plane.start("run", "--no-code", "--name", "goes-on", "--", *counting(later))
    plane.tidepool("run", "-d", "--no-code", "--name", "ends", "--", *counting(soon))
    for name in ("goes-on", "ends"):
        plane.until(lambda name=name: "line 3" in plane.tidepool("logs", name, code=None).out)
    machines = {machine["id"] for machine in plane.machines()}
    folder = f"**/jobs/{run(plane, 'ends')['run_id']}/end.json"

    plane.down("--leave-machines")
    soon.touch()
    (end,) = plane.until(lambda: list(plane.folder.machines.glob(folder)))
    assert json.loads(end.read_text())["exit_code"] == 7
    plane.up()

    ended = plane.until(lambda: (seen := run(plane, "ends"))["ended_at"] and seen)
    assert (ended["state"], ended["exit_code"], ended["placements"]) == ("failed", 7, 1)
    assert is_whole(plane.tidepool("logs", "ends").out)
    assert run(plane, "goes-on")["state"] == "running"
    later.touch()
    out, err = following.communicate(timeout=180)
    assert following.returncode == 7, err
    assert is_whole(out), out
    plane.until(lambda: {row["state"] for row in plane.instances()} == {"idle"})
    assert {machine["id"] for machine in plane.machines()} == machines

"""Spot machines that the local cloud takes back, with the agent, the functions and the command line as they are."""

from typing import Any

SPOT = ("--cpu", "16..", "--memory", "64GB..", "--spot", "--no-code")
NOTICE_S = 60
"""Long enough for an agent that looks every 5 s, and for its job to end in peace."""


def run(plane, name: str) -> dict[str, Any]:
    status, found = plane.request("GET", f"/projects/main/runs/{name}")
    return found if status == 200 else {}


def preempt(plane, name: str) -> str:
    """Wait until a run's job runs, and let its machine be taken back; returns the machine's attempt."""
    plane.until(lambda: run(plane, name).get("state") == "running")
    plane.until(lambda: "begun" in plane.tidepool("logs", name).out)  # before that a shell has set no trap
    (machine,) = plane.machines()
    plane.cloud("POST", f"/machines/{machine['id']}/preempt", {"after_s": NOTICE_S})
    return str(machine["name"])


def test_a_run_with_a_retry_policy_goes_on_elsewhere_with_its_output_in_one_stream(plane):
    script = 'echo "begun $TIDEPOOL_TRY $TIDEPOOL_RUN_ID"; [ "$TIDEPOOL_TRY" = 2 ] || exec sleep 300; echo done'
    follower = plane.start("run", *SPOT, "--retry", "--name", "survivor", "--", "sh", "-c", script)
    taken = preempt(plane, "survivor")
    out, err = follower.communicate(timeout=240)
    assert follower.returncode == 0, err
    ended = run(plane, "survivor")
    assert (ended["state"], ended["exit_code"], ended["tries"]) == ("done", 0, 2)
    assert ended["last_failure"].startswith("try 1 ended: interrupted")
    first, told, between, *rest = out.splitlines()
    assert first == f"begun 1 {ended['run_id']}"
    assert told.startswith("tidepool: this machine is taken back in ")
    assert between.startswith("tidepool: try 1 ended: interrupted")
    assert rest == [f"begun 2 {ended['run_id']}", "done"]
    plane.until(lambda: taken not in {machine["name"] for machine in plane.machines()})


def test_a_run_without_a_policy_ends_as_interrupted_with_its_own_exit_code(plane):
    script = 'trap "cat $TIDEPOOL_INTERRUPTION_FILE; exit 9" TERM; echo begun; while :; do sleep 0.1; done'
    follower = plane.start("run", *SPOT, "--name", "lost", "--", "sh", "-c", script)
    preempt(plane, "lost")
    out, err = follower.communicate(timeout=240)
    assert follower.returncode == 9, err
    ended = run(plane, "lost")
    assert (ended["state"], ended["reason"], ended["exit_code"]) == ("failed", "interrupted", 9)
    assert '"seconds_left"' in out
    plane.until(lambda: not plane.instances())
    assert plane.instance(ended["instance"]["name"])["reason"] == "interrupted"


def test_an_idle_machine_that_is_taken_back_goes_at_once(plane):
    plane.tidepool("pool", "add", *SPOT[:5], "--name", "taken", "-y")
    (machine,) = plane.machines()
    plane.cloud("POST", f"/machines/{machine['id']}/preempt", {"after_s": 120})
    plane.until(lambda: not plane.instances())
    assert plane.instance("taken")["reason"] == "interrupted"
    assert plane.machines() == []

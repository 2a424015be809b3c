"""What a provider does wrong, scripted at the local cloud, and what a user then sees."""

import os
import signal
from typing import Any

import pytest

CPU_LARGE = ("--cpu", "16..", "--memory", "64GB..", "--spot-auto")
"""Fits two offers of the local cloud, one machine type as spot and on demand, and no GPU machine."""


@pytest.fixture(autouse=True)
def restocked(plane):
    """What an earlier test found sold out is not remembered: here the cheapest offer is the first."""
    plane.write_rows("restocked")


def attempts(detail: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Region, type, state and class of each attempt, in the order of the attempts."""
    assert [each["number"] for each in detail["attempts"]] == list(range(1, len(detail["attempts"]) + 1))
    return [
        (each["offer"]["region"], each["offer"]["instance_type"], each["state"], each["kind"])
        for each in detail["attempts"]
    ]


def history(detail: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["target"], step["reason"]) for step in detail["history"]]


def test_a_launch_whose_answer_is_lost_makes_one_machine_and_the_run_succeeds(plane):
    plane.rehearse({"fault": "lost-answer", "count": 1})
    ran = plane.tidepool("run", "--cpu", "2..", "--no-code", "--json", "--", "echo", "here")
    assert "here" in ran.err
    (machine,) = plane.machines()
    detail = plane.instance(ran.json["instance"]["name"])
    assert attempts(detail) == [("local-north", "cpu-medium", "launched", "")]
    assert [line for line in plane.said() if "attempt-unknown" in line and detail["instance_id"] in line]
    assert machine["name"] == detail["attempts"][0]["attempt_id"]
    assert plane.made_for(detail["instance_id"]) == [machine["name"]]


def test_after_a_machine_that_never_reports_and_after_odd_answers_the_next_offer_is_tried(plane):
    """Two instances at the same time, because both take their time: a deadline, and looking twice for a machine."""
    plane.rehearse({"fault": "silent", "count": 1, "type": "cpu-large"}, {"fault": "unforeseen", "type": "gpu-a100-40"})
    plane.tidepool("pool", "add", *CPU_LARGE, "--name", "silent", "--no-wait", "-y")
    plane.tidepool("pool", "add", "--gpu", "A100", "--on-demand", "--name", "odd", "--no-wait", "-y")

    plane.until(lambda: plane.instance("silent")["state"] == "idle")
    detail = plane.until(lambda: with_history_to("idle", plane.instance("silent")))
    assert attempts(detail) == [
        ("local-north", "cpu-large", "cleaned", "provisioning-deadline"),
        ("local-north", "cpu-large", "launched", ""),
    ]
    assert [each["offer"]["spot"] for each in detail["attempts"]] == [True, False]
    assert history(detail) == [
        ("pending", "pool-add"),
        ("provisioning", "launched"),
        ("pending", "provisioning-deadline"),
        ("provisioning", "launched"),
        ("idle", "agent-ready"),
    ]

    plane.until(lambda: plane.instance("odd")["state"] == "idle")
    detail = plane.instance("odd")
    assert attempts(detail) == [
        ("local-north", "gpu-a100-40", "refused", "unknown"),
        ("local-north", "gpu-a100-40", "refused", "unknown"),
        ("local-north", "gpu-a100-80", "launched", ""),
    ]
    assert "500" in detail["attempts"][0]["detail"]
    silent = plane.instance("silent")
    assert plane.made_for(silent["instance_id"]) == [attempt["attempt_id"] for attempt in silent["attempts"]]
    assert plane.made_for(detail["instance_id"]) == [detail["attempts"][-1]["attempt_id"]]
    live = {each["attempts"][-1]["attempt_id"] for each in (silent, detail)}
    assert {machine["name"] for machine in plane.machines()} == live


def with_history_to(state: str, detail: dict[str, Any]) -> dict[str, Any] | None:
    """An instance whose history, which is written behind its row, has reached a state."""
    return detail if detail["history"][-1]["target"] == state else None


def test_an_offer_without_capacity_is_followed_by_the_next_one(plane):
    plane.rehearse({"fault": "no-capacity", "type": "cpu-medium", "region": "local-north"})
    added = plane.tidepool("pool", "add", "--cpu", "2..", "--name", "second", "-y")
    assert "no_capacity" in added.err
    assert attempts(plane.instance("second")) == [
        ("local-north", "cpu-medium", "refused", "no_capacity"),
        ("local-south", "cpu-medium", "launched", ""),
    ]


def test_without_any_capacity_a_run_fails_and_lists_each_attempt_with_class_and_reason(plane):
    plane.rehearse({"fault": "no-capacity", "type": "cpu-large"})
    failed = plane.tidepool("run", *CPU_LARGE, "--no-code", "--", "true", code=7)
    for number, offer in ((1, "local local-north cpu-large"), (2, "local local-north cpu-large")):
        (line,) = [line for line in failed.err.splitlines() if f"attempt {number}: " in line]
        assert offer in line
        assert "no_capacity" in line
        assert "none of that type there now" in line
    refused = plane.tidepool("pool", "add", *CPU_LARGE, "--name", "none", "-y", code=7)
    assert refused.err.count("no_capacity") >= 2
    plane.until(lambda: plane.instance("none")["state"] == "terminated")
    assert plane.instance("none")["reason"] == "provisioning-failed"
    assert plane.machines() == []


def test_with_retry_a_run_waits_and_goes_on_when_capacity_returns(plane):
    plane.rehearse({"fault": "no-capacity", "type": "cpu-large"})
    waiting = plane.start("run", *CPU_LARGE, "--retry", "--no-code", "--name", "patient", "--", "echo", "at last")
    plane.until(lambda: len(run(plane, "patient").get("attempts", [])) >= 2)
    assert run(plane, "patient")["state"] == "provisioning"
    plane.rehearse()
    out, err = waiting.communicate(timeout=180)
    assert (waiting.returncode, out) == (0, "at last\n"), err
    assert len(plane.machines()) == 1


def test_what_waits_for_capacity_can_be_cancelled_and_leaves_nothing(plane):
    plane.rehearse({"fault": "no-capacity", "type": "cpu-large"})
    plane.tidepool("run", *CPU_LARGE, "--retry", "--no-code", "--name", "stopped", "-d", "--", "true")
    plane.tidepool("pool", "add", *CPU_LARGE, "--retry", "--name", "removed", "--no-wait", "-y")
    plane.until(lambda: len(plane.instance("removed")["attempts"]) >= 2 and run(plane, "stopped").get("attempts"))
    plane.tidepool("stop", "stopped")
    plane.tidepool("pool", "rm", "removed", "-y")
    plane.until(lambda: not plane.instances())
    plane.rehearse()
    ended = run(plane, "stopped")
    assert (ended["state"], ended["reason"]) == ("stopped", "user-stopped")
    assert plane.instance(ended["instance"]["name"])["reason"] == "run-stopped"
    assert plane.instance("removed")["reason"] == "user-removed"
    assert plane.machines() == []


def run(plane, name: str) -> dict[str, Any]:
    """A run by name, or an empty document while there is none."""
    status, found = plane.request("GET", f"/projects/main/runs/{name}")
    return found if status == 200 else {}


def test_a_machine_that_cannot_be_ended_stays_terminating_and_costs_until_it_is_gone(plane):
    plane.tidepool("pool", "add", "--cpu", "2..", "--name", "stubborn", "-y")
    (machine,) = plane.machines()
    agent = plane.until(lambda: plane.agent_of(machine["id"]))
    os.kill(agent, signal.SIGSTOP)  # it would switch its machine off itself
    plane.rehearse({"fault": "terminate-fails"})
    removing = plane.start("pool", "rm", "stubborn", "-y")
    first = plane.until(lambda: (seen := plane.instance("stubborn"))["state"] == "terminating" and seen)
    plane.until(lambda: [line for line in plane.said() if "teardown-failing" in line and first["instance_id"] in line])
    assert len(plane.machines()) == 1
    later = plane.until(lambda: (seen := plane.instance("stubborn"))["spent_micros"] > first["spent_micros"] and seen)
    assert later["state"] == "terminating"
    plane.rehearse()
    out, err = removing.communicate(timeout=180)
    assert (removing.returncode, out) == (0, "stubborn terminated\n"), err
    assert plane.machines() == []
    ended = plane.instance("stubborn")
    assert ended["spent_micros"] >= later["spent_micros"]
    assert plane.instance("stubborn")["spent_micros"] == ended["spent_micros"]


def test_credentials_that_are_not_valid_any_more_are_reported_as_that_and_tried_once(plane):
    plane.rehearse({"fault": "auth", "type": "cpu-medium"})
    refused = plane.tidepool("pool", "add", "--cpu", "2..", "--name", "locked-out", "-y", code=7)
    assert "auth" in refused.err
    assert "the key is not valid any more" in refused.err
    detail = plane.instance("locked-out")
    assert attempts(detail) == [("local-north", "cpu-medium", "refused", "auth")]

    plane.rehearse({"fault": "auth"})
    refused = plane.tidepool("run", "--cpu", "2..", "--no-code", "--", "true", code=7)
    assert "the key is not valid any more" in refused.err
    plane.rehearse()
    assert plane.machines() == []

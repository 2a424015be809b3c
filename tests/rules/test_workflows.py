"""The workflow definitions: nothing without a retry, a catch and a time limit, and no state that nobody reaches."""

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEFINITIONS = sorted((ROOT / "infra/asl").glob("*.json"))


def states(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text())["States"]


def successors(state: dict[str, Any]) -> set[str]:
    choices = {choice["Next"] for choice in state.get("Choices", [])}
    catches = {catch["Next"] for catch in state.get("Catch", [])}
    return choices | catches | {state[key] for key in ("Next", "Default") if key in state}


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_every_task_has_a_retry_with_jitter_a_catch_and_a_time_limit(path):
    for name, state in states(path).items():
        if state["Type"] != "Task":
            continue
        assert state["Catch"], name
        assert "TimeoutSeconds" in state or "TimeoutSecondsPath" in state, name
        for retry in state["Retry"]:
            assert retry["JitterStrategy"] == "FULL", name
            assert retry["MaxAttempts"] <= 10, name


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_every_state_is_reached_and_every_target_exists(path):
    definition = json.loads(path.read_text())
    named = {definition["StartAt"]} | {target for state in states(path).values() for target in successors(state)}
    assert named == set(states(path))


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_a_retry_names_the_throttle_under_both_its_names(path):
    for name, state in states(path).items():
        for errors in (retry["ErrorEquals"] for retry in state.get("Retry", [])):
            if "Lambda.TooManyRequestsException" in errors:
                assert "Lambda.Unknown" in errors, name


def test_a_provision_takes_at_most_the_promised_transitions():
    """Success: Advance, Decide, AwaitAgent, Heard, Done. A failed offer adds Advance and Decide."""
    provision = states(ROOT / "infra/asl/provision.json")
    assert provision["Advance"]["Next"] == "Decide"
    assert {choice["StringEquals"]: choice["Next"] for choice in provision["Decide"]["Choices"]} == {
        "again": "Advance",
        "await": "AwaitAgent",
        "wait": "Pause",
    }
    assert provision["AwaitAgent"]["Next"] == "Heard"
    assert (provision["Heard"]["Default"], provision["Heard"]["Choices"][0]["Next"]) == ("Done", "Advance")

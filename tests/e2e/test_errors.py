"""What a wrong request is told, by the deployed API; and what nobody is told, because it is secret."""

import json
import uuid
from typing import Any

import pytest

from tests.e2e.plane import DEFAULT_POOL

RUNS = "/projects/main/runs"
INSTANCES = f"{DEFAULT_POOL}/instances"
NOTHING_FITS = {"fault": "no-capacity"}

MISTAKES = {
    "unknown project": ("GET", "/projects/nowhere/pools", None, 404, "not-found", None),
    "unknown pool": ("GET", "/projects/main/pools/nowhere/instances", None, 404, "not-found", None),
    "a run in an unknown pool": ("POST", RUNS, {"argv": ["true"], "pool": "nowhere"}, 404, "not-found", None),
    "unknown instance": ("GET", "/projects/main/instances/nobody", None, 404, "not-found", None),
    "unknown run": ("GET", f"{RUNS}/nobody", None, 404, "not-found", None),
    "unknown lease": ("GET", "/projects/main/leases/default-pool.i-nobody.3", None, 404, "not-found", None),
    "a pool twice": ("POST", "/projects/main/pools", {"name": "default-pool"}, 409, "already-exists", None),
    "no duration": ("POST", INSTANCES, {"idle_duration": "soon"}, 422, "invalid-input", "idle_duration"),
    "a lease of no length": (
        "POST",
        f"{DEFAULT_POOL}/leases",
        {"holder": "me", "duration_s": 0},
        422,
        "invalid-input",
        "duration_s",
    ),
    "no size": (
        "POST",
        INSTANCES,
        {"requirements": {"memory": "lots"}},
        422,
        "invalid-input",
        "requirements.memory",
    ),
    "no name": ("POST", INSTANCES, {"name": "Not_A_Name"}, 422, "invalid-input", "name"),
    "no command": ("POST", RUNS, {"argv": []}, 422, "invalid-input", "argv"),
    "an unknown field": ("POST", RUNS, {"argv": ["true"], "colour": "red"}, 422, "invalid-input", "colour"),
    "an unknown parameter": ("GET", f"{RUNS}?colour=red", None, 422, "invalid-input", "colour"),
    "not JSON": ("POST", RUNS, b"{argv: true", 400, "malformed-body", None),
    "not an object": ("POST", RUNS, ["true"], 400, "malformed-body", None),
    "too large": ("POST", RUNS, {"argv": ["x" * 1_100_000]}, 413, "body-too-large", None),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_with_a_problem_that_names_it(running, mistake):
    method, path, body, status, code, field = MISTAKES[mistake]
    answered, headers, text = running.exchange(method, path, body)
    problem = json.loads(text)
    assert (answered, headers["Content-Type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"/problems/{code}")
    assert problem["detail"]
    if field:
        assert problem["field"] == field
        assert problem["expected"]


def test_a_body_that_is_announced_as_something_else_is_refused(running):
    status, headers, text = running.exchange("POST", RUNS, {"argv": ["true"]}, headers={"Content-Type": "text/plain"})
    assert (status, headers["Content-Type"]) == (415, "application/problem+json")
    assert json.loads(text)["code"] == "unsupported-media-type"


def test_without_a_good_token_there_is_401_and_nothing_else(running):
    good = running.client["TIDEPOOL_TOKEN"]
    for token in ("", "nonsense", good[:-1] + ("a" if good[-1] != "a" else "b"), good.rsplit(".", 1)[0]):
        assert running.request("GET", "/projects/main/pools", token=token) == (401, {"message": "Unauthorized"})


def test_a_token_reaches_its_own_project_in_its_own_role(running):
    running.request("POST", "/projects", {"name": "other"})
    status, made = running.request("POST", "/projects/other/tokens", {"name": "looker", "role": "viewer"})
    assert status == 201
    assert running.request("GET", "/projects/other/pools", token=made["token"])[0] == 200
    for path in ("/projects/main/pools", f"{INSTANCES}", "/projects/nowhere/pools"):
        status, problem = running.request("GET", path, token=made["token"])
        assert (status, problem["code"]) == (404, "not-found")
    status, problem = running.request("POST", "/projects/other/runs", {"argv": ["true"]}, token=made["token"])
    assert (status, problem["code"]) == (403, "forbidden")


def test_a_name_that_is_taken_is_a_conflict_and_a_busy_instance_needs_force(plane):
    plane.rehearse(NOTHING_FITS)
    wanted = {"name": "twin", "retry": True}
    assert plane.request("POST", INSTANCES, wanted)[0] == 202
    status, problem = plane.request("POST", INSTANCES, wanted)
    assert (status, problem["code"]) == (409, "already-exists")
    refused = plane.tidepool("pool", "add", "--cpu", "2..", "--name", "twin", "--retry", "-y", code=5)
    assert "twin" in refused.err

    (row,) = plane.write_rows("idle", "1", "3600")
    status, _ = plane.request("POST", f"{DEFAULT_POOL}/leases", {"holder": "me", "instance": row["instance_id"]})
    assert status == 201
    status, problem = plane.request("DELETE", f"/projects/main/instances/{row['instance_id']}")
    assert (status, problem["code"]) == (409, "busy")
    assert "me" in problem["detail"]
    assert plane.request("DELETE", f"/projects/main/instances/{row['instance_id']}?force=true")[0] == 202


def test_what_is_asked_twice_with_one_key_is_done_once(plane):
    plane.rehearse(NOTHING_FITS)
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = plane.exchange("POST", INSTANCES, {"retry": True}, headers=key)
    again = plane.exchange("POST", INSTANCES, {"retry": True}, headers=key)
    assert (first[0], again[0]) == (202, 202)
    assert json.loads(first[2]) == json.loads(again[2])
    assert (first[1]["Idempotent-Replay"], again[1]["Idempotent-Replay"]) == (None, "true")
    assert len(plane.instances()) == 1
    status, problem = plane.request("POST", INSTANCES, {"retry": False}, headers=key)
    assert (status, problem["code"]) == (409, "idempotency-mismatch")


def test_the_command_line_says_which_field_is_wrong_and_ends_with_2(running):
    for words, named in (
        (("pool", "add", "--idle-duration", "soon", "-y"), "idle_duration"),
        (("pool", "add", "--memory", "lots", "-y"), "memory"),
        (("pool", "create", "Not_A_Name"), "Not_A_Name"),
    ):
        refused = running.tidepool(*words, code=2)
        assert named in refused.err
    assert "nowhere" in running.tidepool("pool", "ps", "--pool", "nowhere", code=4).err


def test_no_secret_of_anybody_is_in_a_log_or_in_an_answer(plane):
    """The secrets of a user, of a new token, of a job, of a machine's agent and of the provider's account."""
    status, made = plane.request("POST", "/projects/main/tokens", {"name": "shown-once", "role": "user"})
    assert status == 201
    plane.request("GET", RUNS, token=made["token"] + "x")
    answers: list[Any] = [plane.request("GET", "/projects/main/tokens")]
    answers.append(plane.request("POST", RUNS, {"argv": ["true"], "env": {"PASSWORD": ["open-sesame"]}}))
    answers.append(plane.request("POST", RUNS, {"argv": ["true"], "env": {"1": "open-sesame"}}))
    ran = plane.tidepool("run", "--no-code", "-e", "PASSWORD=open-sesame", "--json", "--", "true")
    name = ran.json["instance"]["name"]
    answers += [plane.instance(name), plane.instances(), plane.request("GET", f"{RUNS}/{ran.json['name']}")]

    (machine,) = plane.machines()
    home = plane.folder.machines / machine["id"]
    (identity,) = home.rglob("agent.json")
    agent = [text for text in json.loads(identity.read_text()).values() if isinstance(text, str) and len(text) >= 43]
    assert agent
    script = (home / "user-data").read_text()
    bootstrap = script.partition("TIDEPOOL_BOOTSTRAP=")[2].split()[0].strip("'\"")
    secrets = [text.rsplit(".", 1)[-1] for text in (*agent, bootstrap, made["token"], plane.client["TIDEPOOL_TOKEN"])]
    said = plane.logs() + json.dumps(answers) + ran.out + ran.err
    assert len(said) > 10_000
    for secret in (*secrets, "open-sesame", plane.client["TIDEPOOL_LOCAL_CLOUD_KEY"], plane.emulator.key):
        assert secret not in said, secret

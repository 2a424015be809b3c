"""The agent's routes, spoken as the agent speaks them."""

import base64
import hashlib
import re

import pytest

SECRET = "s" * 43


@pytest.fixture
def bootstrap(api):
    """The bootstrap token of a machine that has just booted."""
    api("POST", "/projects/acme/pools/main/instances", {})
    api.world.run_workflows()
    (user_data,) = api.world.cloud.user_data.values()
    return re.search(r"TIDEPOOL_BOOTSTRAP='?([^'\s]+)", user_data)[1]


@pytest.fixture
def agent(api, bootstrap):
    """The token of a registered agent."""
    registered = register(api, bootstrap)
    return f"tpa.{registered.body['token_id']}.{SECRET}"


def register(api, token, secret=SECRET):
    return api("POST", "/agent/register", {"proposed_token": secret}, token=token)


def sync(api, token, **report):
    return api("POST", "/agent/sync", {"boot_id": "boot-1", "jobs": [], "logs": [], **report}, token=token)


def test_the_program_is_served_with_its_hash(api):
    answer = api("GET", "/agent/program", token="")
    assert answer.headers["content-type"].startswith("text/x-python")
    assert hashlib.sha256(answer.text.encode()).hexdigest() == answer.headers["x-tidepool-sha256"]


def test_an_agent_registers_with_a_secret_of_its_own(api, bootstrap):
    first = register(api, bootstrap)
    assert (first.status, first.body["token"], first.body["sync_s"]) == (200, None, 30)
    assert register(api, bootstrap).body == first.body
    assert register(api, bootstrap, "t" * 43).status == 401


@pytest.mark.parametrize("secret", ["short", "s" * 129, "has space " * 5, 7])
def test_a_weak_secret_is_422_and_not_echoed(api, bootstrap, secret):
    answer = register(api, bootstrap, secret)
    assert (answer.status, answer.body["field"]) == (422, "proposed_token")
    assert str(secret) not in answer.text


def test_a_bootstrap_token_registers_and_does_nothing_else(api, bootstrap, agent):
    assert sync(api, bootstrap).code == "forbidden"
    assert register(api, agent).code == "forbidden"


def test_a_first_sync_makes_the_instance_ready(api, agent):
    facts = {"hostname": "box", "cpus": 4}
    answer = sync(api, agent, facts=facts)
    assert answer.status == 200
    assert answer.body["job"] is None
    assert answer.body["shutdown"] is False
    assert answer.body["wake_url"].startswith("http")
    shown = api("GET", f"/projects/acme/instances/{answer.body['instance_id']}").body
    assert (shown["state"], shown["facts"]) == ("idle", facts)


def test_a_job_is_handed_out_reported_and_acknowledged(api, agent):
    sync(api, agent)
    run = api("POST", "/projects/acme/runs", {"argv": ["echo", "hi"], "env": {"A": "b"}, "kill_after_s": 2.5}).body
    job = sync(api, agent).body["job"]
    assert (job["run_id"], job["argv"], job["kill_after_s"]) == (run["run_id"], ["echo", "hi"], 2.5)
    assert job["env"]["A"] == "b"
    logs = [{"run_id": run["run_id"], "offset": 0, "data": base64.b64encode(b"hi\n").decode()}]
    running = [{"run_id": run["run_id"], "state": "running", "exit_code": None, "detail": "", "log_size": 3}]
    assert sync(api, agent, jobs=running, logs=logs).body["log_offsets"] == {run["run_id"]: 3}
    over = sync(api, agent, jobs=[{"run_id": run["run_id"], "state": "exited", "exit_code": 0}]).body
    assert over["acknowledged"] == [run["run_id"]]
    assert over["job"] is None
    shown = api("GET", f"/projects/acme/runs/{run['run_id']}/logs").body
    assert (base64.b64decode(shown["data"]), shown["run"]["state"]) == (b"hi\n", "done")


def test_an_agent_of_another_version_is_not_cut_off(api, agent):
    assert sync(api, agent, mood="fine").status == 200


@pytest.mark.parametrize(
    ("report", "field"),
    [
        ({"jobs": [{"run_id": "run-1", "state": "dreaming"}]}, "jobs.0.state"),
        ({"logs": [{"run_id": "run-1", "offset": -1, "data": ""}]}, "logs.0.offset"),
        ({"logs": [{"run_id": "run-1", "offset": 0, "data": "!"}]}, "logs.0.data"),
        ({"logs": [{"run_id": "../../x", "offset": 0, "data": ""}]}, "logs.0.run_id"),
        ({"logs": [{"run_id": "run-1", "offset": 0, "data": "A" * 700_000}]}, "logs.0.data"),
        ({"facts": {"x": "y" * 40_000}}, "facts"),
    ],
)
def test_a_wrong_report_is_422_and_named(api, agent, report, field):
    answer = sync(api, agent, **report)
    assert (answer.status, answer.body["field"]) == (422, field)


def test_a_sync_may_be_larger_than_other_bodies(api, agent):
    chunks = [{"run_id": "run-1", "offset": n, "data": "A" * 524_288} for n in range(3)]
    assert sync(api, agent, logs=chunks).status == 200
    assert sync(api, agent, logs=chunks * 2).code == "body-too-large"


def test_the_agent_of_a_removed_instance_is_told_to_shut_down_and_then_unknown(api, agent):
    instance = sync(api, agent).body["instance_id"]
    api("DELETE", f"/projects/acme/instances/{instance}")
    assert sync(api, agent).body["shutdown"] is True
    for _ in range(3):
        api.world.run_workflows()
        api.world.pass_time(10)
    assert sync(api, agent).status == 401

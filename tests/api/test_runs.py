"""Runs over HTTP: submitted, executed by a simulated agent, followed and stopped."""

import base64

import pytest

from chalicelib.api import http
from chalicelib.services.jobs import LogChunk
from tests.api.conftest import settle

RUNS = "/projects/acme/runs"


def submit(api, **body):
    return api("POST", RUNS, {"argv": ["true"], **body})


def test_a_run_takes_an_idle_instance_at_once(api, ready):
    name = ready()["name"]
    run = submit(api, name="job").body
    assert (run["state"], run["reason"], run["instance"]["name"]) == ("starting", "reused-idle-instance", name)
    api.world.sync_all()
    assert api("GET", f"{RUNS}/job").body["state"] == "starting"
    api.world.sync_all()
    assert api("GET", f"{RUNS}/{run['run_id']}").body["state"] == "running"
    (ref,) = api.world.agents
    api.world.finish_job(ref, 3)
    api.world.sync_all()
    shown = api("GET", f"{RUNS}/job").body
    assert (shown["state"], shown["reason"], shown["exit_code"]) == ("failed", "exited-non-zero", 3)


def test_a_run_without_an_idle_instance_gets_one_of_its_own(api):
    run = submit(api).body
    assert (run["state"], run["reason"]) == ("provisioning", "no-idle-instance")
    settle(api.world)
    shown = api("GET", f"{RUNS}/{run['name']}").body
    assert shown["state"] == "starting"
    assert [attempt["state"] for attempt in shown["attempts"]] == ["launched"]


def test_a_run_is_answered_with_what_looks_like_a_slip_in_its_request(api):
    gpus = {"gpu": "80"}
    planned = api("POST", "/projects/acme/plan", {"requirements": gpus, "for_run": True}).body["warnings"]
    run = submit(api, requirements=gpus, retry=True).body
    assert run["warnings"] == planned
    assert "80" in planned[0]
    assert submit(api).body["warnings"] == []
    assert "warnings" not in api("GET", f"{RUNS}/{run['name']}").body


def test_reuse_with_nothing_free_is_409(api):
    refused = submit(api, reuse=True)
    assert (refused.status, refused.code) == (409, "no-match")


def test_no_offer_is_422(api):
    refused = submit(api, max_price=0.0001)
    assert (refused.status, refused.code) == (422, "no-offers")


def test_a_name_in_use_is_409(api, ready):
    ready()
    submit(api, name="job")
    assert submit(api, name="job").code == "already-exists"


def test_runs_are_listed_newest_first(api, ready):
    ready()
    names = []
    for _ in range(3):
        names.append(submit(api).body["name"])
        api.world.pass_time(1)
    listed = api("GET", RUNS).body
    assert [run["name"] for run in listed["items"]] == names[::-1]
    first = api("GET", f"{RUNS}?limit=2").body
    rest = api("GET", f"{RUNS}?limit=2&cursor={first['next']}").body
    assert [run["name"] for run in first["items"] + rest["items"]] == names[::-1]


def test_active_runs_are_listed_alone(api):
    over, going = submit(api).body["name"], submit(api).body["name"]
    api("POST", f"{RUNS}/{over}/stop")
    assert [run["name"] for run in api("GET", f"{RUNS}?active=true").body["items"]] == [going]


def test_a_stopped_run_ends_and_stays_as_it_is(api):
    name = submit(api).body["name"]
    stopped = api("POST", f"{RUNS}/{name}/stop", {"force": True})
    assert (stopped.status, stopped.body["state"], stopped.body["reason"]) == (202, "stopped", "user-stopped")
    assert api("POST", f"{RUNS}/{name}/stop").body == stopped.body


def test_an_unknown_run_is_404(api):
    assert api("GET", f"{RUNS}/nothing").code == "not-found"
    assert api("POST", f"{RUNS}/nothing/stop").code == "not-found"
    assert api("GET", f"{RUNS}/nothing/logs").code == "not-found"


def test_logs_are_read_from_any_byte_on(api, ready):
    ready()
    run = submit(api).body
    (ref,) = api.world.agents
    api.world.sync(ref, logs=(LogChunk(run["run_id"], 0, b"one\ntwo\n"),))
    chunk = api("GET", f"{RUNS}/{run['name']}/logs?after=4&limit=100").body
    assert base64.b64decode(chunk["data"]) == b"two\n"
    assert (chunk["offset"], chunk["next"], chunk["complete"]) == (4, 8, False)
    assert chunk["run"]["run_id"] == run["run_id"]


def test_the_environment_of_a_job_is_never_shown(api, ready):
    ready()
    run = submit(api, env={"PASSWORD": "hunter2hunter2"})
    assert "hunter2" not in run.text
    for path in (RUNS, f"{RUNS}/{run.body['name']}", f"{RUNS}/{run.body['name']}/logs"):
        assert "hunter2" not in api("GET", path).text


def test_a_page_of_long_runs_is_cut_to_the_limit_in_bytes(api, ready, monkeypatch):
    """With the real limit the same page would hold a megabyte."""
    monkeypatch.setattr(http, "MAX_PAGE", 5_000)
    names = [submit(api, argv=["x" * 1_000]).body["name"] for _ in range(8)]
    seen, cursor, pages = [], "", 0
    while True:
        page = api("GET", f"{RUNS}?limit=1000{cursor}")
        assert len(page.text) <= 5_100
        seen += [run["name"] for run in page.body["items"]]
        pages += 1
        if page.body["next"] is None:
            break
        cursor = f"&cursor={page.body['next']}"
    assert sorted(seen) == sorted(names)
    assert pages > 1


def test_the_limit_of_a_page_leaves_its_body_below_a_mebibyte():
    longest_envelope = len('{"items":[],"next":""}') + 600 + 1000
    assert http.MAX_PAGE + longest_envelope < 2**20


@pytest.mark.parametrize("present", [True, False])
def test_an_archive_is_uploaded_unless_it_is_there(api, present):
    sha256 = "ab" * 32
    if present:
        api.world.objects.chunks[f"code/acme/{sha256}"] = {}
    upload = api("POST", "/projects/acme/uploads", {"sha256": sha256, "size": 10}).body
    assert upload["present"] is present
    assert (upload["url"] is None) is present
    assert upload["expires_at"] == (None if present else "2030-01-02T03:19:05.000Z")

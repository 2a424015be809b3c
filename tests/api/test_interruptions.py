"""What a provider does to a machine, as agents say it and as users see it."""

from datetime import timedelta

import pytest

from tests.api.test_agent import agent, bootstrap, sync

__all__ = ["agent", "bootstrap"]

INSTANCES = "/projects/acme/pools/main/instances"
RUNS = "/projects/acme/runs"


def test_an_agents_notice_is_answered_with_its_receipt_and_shown(api, agent):
    at = api.world.clock + timedelta(seconds=120)
    sync(api, agent)
    api("POST", "/projects/acme/pools/main/leases", {"holder": "me"})
    answer = sync(api, agent, interruption={"at": at.isoformat(), "kind": "terminate"}).body
    assert answer["interruption"] == {"at": "2030-01-02T03:06:05.000Z"}
    (shown,) = api("GET", INSTANCES).body["items"]
    assert (shown["interrupted"], shown["ends_at"]) == (True, "2030-01-02T03:06:05.000Z")
    assert api("GET", f"/projects/acme/instances/{shown['name']}").body["interrupted"] is True


@pytest.mark.parametrize("at", ["soon", "2030-01-02T03:06:05", ""])
def test_a_notice_without_a_moment_is_refused_by_its_field(api, agent, at):
    refused = sync(api, agent, interruption={"at": at})
    assert (refused.status, refused.body["field"]) == (422, "interruption.at")


def test_a_run_shows_its_tries_and_when_the_next_one_begins(api, ready):
    ready()
    run = api("POST", RUNS, {"argv": ["true"], "retry": True, "max_duration": "2h"}).body
    assert (run["tries"], run["last_failure"], run["retry_at"], run["ends_by"]) == (1, "", None, None)
    for _ in range(2):
        api.world.sync_all()
    (ref,) = api.world.agents
    api.world.finish_job(ref, 3)
    api.world.sync_all()
    waiting = api("GET", f"{RUNS}/{run['run_id']}").body
    assert (waiting["state"], waiting["reason"], waiting["tries"]) == ("submitted", "exited-non-zero", 2)
    assert waiting["last_failure"] == "try 1 ended with exit code 3"
    assert waiting["retry_at"] > waiting["changed_at"]
    assert waiting["ends_by"] == "2030-01-02T05:04:05.000Z"


@pytest.mark.parametrize("path", [INSTANCES, "/projects/acme/pools/main/leases", "/projects/acme/plan"])
def test_what_is_no_run_has_no_longest_duration(api, path):
    refused = api("POST", path, {"max_duration": "1h", **({"holder": "me"} if "leases" in path else {})})
    assert (refused.status, refused.body["field"]) == (422, "max_duration")


@pytest.mark.parametrize("limit", [0, "never", -1, "400d"])
def test_a_longest_duration_that_is_none_is_refused(api, limit):
    refused = api("POST", RUNS, {"argv": ["true"], "max_duration": limit})
    assert (refused.status, refused.body["field"]) == (422, "max_duration")


def test_spot_machines_are_counted_by_day_and_kind(api):
    path = "/projects/acme/backends/sim/spot-statistics"
    assert api("GET", path).body == {"backend": "sim", "since": "2029-12-04", "days": []}
    assert api("GET", f"{path}?days=1").body["since"] == "2030-01-02"
    assert api("GET", f"{path}?days=91").status == 422

"""Instances over HTTP: from the plan to the end."""

import pytest

from tests.api.conftest import settle

POOL = "/projects/acme/pools/main/instances"


def test_a_plan_lists_offers_by_price_and_changes_nothing(api):
    plan = api("POST", "/projects/acme/plan", {"max_offers": 1}).body
    assert [offer["price_micros"] for offer in plan["offers"]] == [1_000_000]
    assert plan["total_offers"] == 2
    assert plan["pool"] == "main"
    assert plan["requirements"] == "2..xCPU, 8GB.."
    assert plan["instances"] == plan["filters"] == plan["warnings"] == []
    assert api("GET", POOL).body["items"] == []


def test_a_plan_without_offers_says_which_filter_took_the_last(api):
    plan = api("POST", "/projects/acme/plan", {"regions": ["moon"]}).body
    assert plan["offers"] == []
    assert any("moon" in line or "region" in line for line in plan["filters"])


def test_a_plan_of_a_run_shows_the_idle_instances_it_could_take(api, ready):
    name = ready()["name"]
    plan = api("POST", "/projects/acme/plan", {"for_run": True}).body
    assert [each["name"] for each in plan["instances"]] == [name]


def test_a_plan_of_a_run_that_buys_nothing_says_how_it_would_be_refused(api, ready):
    asked = {"for_run": True, "reuse": True, "requirements": {"cpu": "500.."}}
    name = ready()["name"]
    plan = api("POST", "/projects/acme/plan", asked).body
    refused = api("POST", "/projects/acme/runs", {"argv": ["true"], "reuse": True, "requirements": {"cpu": "500.."}})
    assert (plan["instances"], plan["offers"]) == ([], [])
    assert plan["refusal"] == {key: refused.body[key] for key in ("code", "detail", "reasons")}
    assert list(plan["refusal"]["reasons"]) == [name]
    found = api("POST", "/projects/acme/plan", {"for_run": True, "instance": name, "image": "ubuntu"}).body
    assert ([each["name"] for each in found["instances"]], found["offers"]) == ([name], [])
    assert found["refusal"] is None
    answer = api("POST", "/projects/acme/plan", {"reuse": True})
    assert (answer.status, answer.body["field"]) == (422, "reuse")


def test_an_added_instance_is_pending_at_once_and_idle_later(api, ready):
    added = api("POST", POOL, {"name": "box", "idle_duration": "off"})
    assert (added.status, added.body["state"], added.body["name"]) == (202, "pending", "box")
    assert added.body["actor"] == "user:admin-of-acme"
    settle(api.world)
    shown = api("GET", "/projects/acme/instances/box").body
    assert (shown["state"], shown["expires_at"], shown["idle_limit_s"]) == ("idle", None, None)
    assert [attempt["state"] for attempt in shown["attempts"]] == ["launched"]
    assert [step["target"] for step in shown["history"]][-1] == "idle"
    assert shown["price_micros"] == 1_000_000


def test_a_listing_has_the_same_fields_and_values_as_a_look_at_one(api, ready):
    shown = ready()
    (listed,) = api("GET", POOL).body["items"]
    assert listed == {name: shown[name] for name in listed}


def test_a_name_in_use_is_409(api):
    api("POST", POOL, {"name": "box"})
    answer = api("POST", POOL, {"name": "box"})
    assert (answer.status, answer.code) == (409, "already-exists")


def test_nothing_on_offer_is_422_with_the_filters(api):
    answer = api("POST", POOL, {"max_price": 0.0001})
    assert (answer.status, answer.code) == (422, "no-offers")
    assert answer.body["filters"]


def test_with_a_retry_policy_nothing_on_offer_is_waited_for(api):
    assert api("POST", POOL, {"max_price": 0.0001, "retry": True}).status == 202


def test_an_unknown_instance_is_404(api):
    for method, body in (("GET", None), ("PATCH", {"cordoned": True}), ("DELETE", None)):
        assert api(method, "/projects/acme/instances/nobody", body).code == "not-found"


def test_an_instance_of_another_pool_is_not_removed(api, ready):
    name = ready()["name"]
    assert api("DELETE", f"/projects/acme/instances/{name}?pool=other").code == "not-found"


def test_an_id_is_removed_from_the_pool_it_is_in_and_from_no_other(api, ready):
    instance_id = ready()["instance_id"]
    path = f"/projects/acme/instances/{instance_id}"
    assert api("DELETE", f"{path}?pool=other").code == "not-found"
    assert api("DELETE", f"{path}?pool=main").body["state"] == "terminating"
    for _ in range(3):
        api.world.run_workflows()
        api.world.pass_time(10)
    assert api("DELETE", f"{path}?pool=main").body["state"] == "terminated"


def test_a_busy_instance_is_removed_only_by_force(api, ready):
    name = ready()["name"]
    api("POST", "/projects/acme/pools/main/leases", {"holder": "me"})
    refused = api("DELETE", f"/projects/acme/instances/{name}")
    assert (refused.status, refused.code) == (409, "busy")
    forced = api("DELETE", f"/projects/acme/instances/{name}?force=true")
    assert (forced.status, forced.body["state"], forced.body["reason"]) == (202, "terminating", "user-removed")


def test_the_idle_limit_is_changed_and_switched_off(api, ready):
    path = f"/projects/acme/instances/{ready()['name']}"
    assert api("PATCH", path, {"idle_duration": "10m"}).body["idle_limit_s"] == 600
    assert api("PATCH", path, {"idle_duration": False}).body["idle_limit_s"] is None
    assert api("PATCH", path, {}).body["idle_limit_s"] is None


def test_a_cordoned_instance_takes_no_work(api, ready):
    path = f"/projects/acme/instances/{ready()['name']}"
    assert api("PATCH", path, {"cordoned": True}).body["cordoned"] is True
    refused = api("POST", "/projects/acme/pools/main/leases", {"holder": "me"})
    assert (refused.status, refused.code) == (409, "no-match")
    assert "cordoned" in str(refused.body["reasons"])


def test_an_ended_instance_is_listed_on_request_with_its_reason(api, ready):
    name = ready()["name"]
    api("DELETE", f"/projects/acme/instances/{name}")
    for _ in range(3):
        api.world.run_workflows()
        api.world.pass_time(10)
    assert api("GET", POOL).body["items"] == []
    (ended,) = api("GET", f"{POOL}?ended_since_s=3600").body["items"]
    assert (ended["name"], ended["state"]) == (name, "terminated")


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_follow_one_another_without_a_gap_or_an_overlap(api, limit):
    names = {api("POST", POOL, {}).body["name"] for _ in range(5)}
    seen, cursor = [], ""
    while True:
        page = api("GET", f"{POOL}?limit={limit}{cursor}").body
        assert len(page["items"]) <= limit
        seen += [instance["name"] for instance in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert sorted(seen) == sorted(names)

"""Leases over HTTP."""

import pytest

POOL = "/projects/acme/pools/main/leases"


def acquire(api, **body):
    return api("POST", POOL, {"holder": "me", **body})


def test_a_lease_is_taken_shown_extended_and_given_back(api, ready):
    name = ready()["name"]
    taken = acquire(api, duration_s=60)
    assert taken.status == 201
    lease = taken.body
    assert (lease["holder"], lease["instance"]["name"], lease["instance"]["state"]) == ("me", name, "busy")
    assert lease["expires_at"] == "2030-01-02T03:05:05.000Z"
    path = f"/projects/acme/leases/{lease['lease_id']}"
    assert api("GET", path).body == lease
    api.world.pass_time(30)
    assert api("POST", f"{path}/heartbeat", {"duration_s": 60}).body["expires_at"] == "2030-01-02T03:05:35.000Z"
    released = api("DELETE", path)
    assert released.body["instance"]["state"] == "idle"
    assert released.body["released_at"] == "2030-01-02T03:04:35.000Z"
    assert api("DELETE", path).status == 200
    assert api("GET", path).code == "lease-lost"
    assert api("POST", f"{path}/heartbeat").code == "lease-lost"


def test_a_lease_takes_only_what_fits_and_says_why_not(api, ready):
    name = ready()["name"]
    refused = acquire(api, requirements={"gpu": "H100"})
    assert (refused.status, refused.code, refused.body["retryable"]) == (409, "no-match", True)
    assert name in refused.body["reasons"]


def test_the_second_of_two_holders_is_refused(api, ready):
    ready()
    acquire(api)
    assert acquire(api, holder="you").code == "no-match"


def test_a_named_instance_is_the_only_one_that_is_taken(api, ready):
    names = [ready()["name"], ready()["name"]]
    assert acquire(api, instance=names[1]).body["instance"]["name"] == names[1]
    assert acquire(api, instance=names[1]).code == "no-match"


@pytest.mark.parametrize("duration_s", [0, -1, 8 * 24 * 3600, "60"])
def test_a_wrong_duration_is_422_and_named(api, duration_s):
    answer = acquire(api, duration_s=duration_s)
    assert (answer.status, answer.body["field"]) == (422, "duration_s")


@pytest.mark.parametrize("holder", ["", "x" * 101, "line\nbreak", "run:run-0"])
def test_a_wrong_holder_is_422_and_named(api, holder):
    answer = acquire(api, holder=holder)
    assert (answer.status, answer.body["field"]) == (422, "holder")


def test_what_is_no_lease_id_is_404(api):
    for lease_id in ("x", "main.i-0.x", "main.i-0.1.2"):
        assert api("GET", f"/projects/acme/leases/{lease_id}").code == "not-found"

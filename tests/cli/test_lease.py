"""A lease as a `with` block: kept alive, given back, and honest about being lost."""

import time

import pytest

import tidepool
from tests.cli.stub import Problem


def wait_for(condition, within_s=60.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def test_a_lease_is_kept_alive_and_given_back(stub, client):
    with client.lease(requirements={"gpu": "80GB"}, holder="ann", duration_s=2) as lease:
        assert (lease.instance["name"], lease.fence) == ("calm-heron-10", 4)
        wait_for(lambda: len(stub.seen("POST", "/heartbeat")) >= 4)
        lease.check()
    assert len(stub.seen("DELETE", "/leases/default-pool.i-1.4")) == 1
    assert stub.seen("POST", "/leases")[0].body == {
        "holder": "ann",
        "requirements": {"gpu": "80GB"},
        "duration_s": 2,
    }


def hold_until_lost(client, duration_s, lose):
    with client.lease(duration_s=duration_s) as lease:
        lose()
        wait_for(lambda: lease.is_lost)


def test_a_lease_that_the_api_calls_lost_is_lost_at_once(stub, client):
    with pytest.raises(tidepool.LeaseLost, match="has ended"):
        hold_until_lost(client, 3, stub.leases.clear)
    assert stub.seen("DELETE", "/leases/default-pool.i-1.4") == []


def test_a_lease_without_a_heartbeat_for_its_duration_counts_as_lost(stub, client):
    client.tries = 1
    with pytest.raises(tidepool.LeaseLost, match="no heartbeat"):
        hold_until_lost(client, 0.2, lambda: stub.faults.extend(["drop"] * 500))


def test_a_missed_heartbeat_is_made_up_for(stub, client):
    client.tries = 1
    with client.lease(duration_s=3) as lease:
        stub.faults = ["drop", "503"]
        wait_for(lambda: len(stub.seen("POST", "/heartbeat")) >= 4)
        lease.check()


def test_the_failure_of_the_block_is_the_one_to_hear_of(stub, client):
    def fail():
        stub.leases.clear()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        hold_until_lost(client, 60, fail)


def test_none_free_raises_with_the_reasons(stub, client):
    reasons = {"calm-heron-10": "is busy"}
    stub.refusals[("POST", "leases")] = Problem(409, "no-match", reasons=reasons)
    with pytest.raises(tidepool.NoMatchError) as caught, client.lease():
        raise AssertionError("never reached")
    assert caught.value.context["reasons"] == reasons


def test_a_lease_is_held_inside_its_block_only(client):
    with pytest.raises(RuntimeError):
        _ = client.lease().instance

"""Pointers from machines to instances, and counts that nobody adds to twice."""

from datetime import timedelta

import pytest

from chalicelib.domain.errors import ThrottledError
from chalicelib.store import calls, machines
from tests.builders import NOW, later, make_instance, make_offer

pytestmark = pytest.mark.usefixtures("dynamodb")

SPOT = make_offer(spot=True, region="bay", zone="bay-1", instance_type="large")


TODAY = NOW.date()


def counts(day=TODAY):
    found = machines.spot_counts("acme", "local", since=day)
    return [(each.day, each.region, each.zone, each.instance_type, each.launches, each.interruptions) for each in found]


def note(ref, *, offer=SPOT, at=NOW):
    machines.note(make_instance(offer=offer), offer, ref, now=at)


def test_a_machine_leads_to_its_instance():
    note("m-1")
    (found,) = machines.find("m-1")
    assert (found.project, found.backend, found.pool, found.instance_id) == ("acme", "local", "main", "i-1")
    assert machines.find("m-2") == []


def test_a_launch_that_is_noted_again_is_counted_once():
    for ref in ("m-1", "m-1", "m-2"):
        note(ref)
    assert counts() == [("2030-01-02", "bay", "bay-1", "large", 2, 0)]


def test_an_interruption_that_is_told_again_is_counted_once():
    note("m-1")
    for _ in range(2):
        machines.count_interruption("acme", "local", "m-1", now=later(days=1))
    assert counts() == [("2030-01-02", "bay", "bay-1", "large", 1, 0), ("2030-01-03", "bay", "bay-1", "large", 0, 1)]
    assert counts(NOW.date() + timedelta(days=1)) == [("2030-01-03", "bay", "bay-1", "large", 0, 1)]


def test_machines_that_stay_and_machines_of_nobody_are_not_counted():
    note("m-1", offer=make_offer(spot=False))
    machines.count_interruption("acme", "local", "m-1", now=NOW)
    machines.count_interruption("acme", "local", "m-9", now=NOW)
    assert counts() == []


def test_a_launch_whose_counter_is_contended_is_remembered_all_the_same(monkeypatch):
    tries = []

    def contended(_):
        tries.append(1)
        raise ThrottledError("the row is being written by others")

    monkeypatch.setattr(calls.Transaction, "commit", contended)
    note("m-1")
    assert len(tries) == machines.COUNT_TRIES
    assert machines.find("m-1")[0].instance_id == "i-1"

"""Hosts as rows: each change stands on the write that was read, and a claim has one holder."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.errors import LostRaceError
from chalicelib.domain.host_records import Destination, HostRecord, Step, differences
from chalicelib.store import hosts
from tests.builders import NOW

pytestmark = pytest.mark.usefixtures("dynamodb")

RECORD = HostRecord("main", "i-1", "lab", "box", Destination("10.0.0.7", "ubuntu", 2222), "http://api.test", NOW)


def test_a_record_comes_back_as_it_was_stored():
    whole = replace(
        RECORD,
        jump=Destination("bastion", "me"),
        gpu={"name": "A100", "count": 2},
        step=Step.AGENT,
        tries=3,
        checks=({"check": "sudo", "status": "pass", "code": "ok", "found": "root", "fix": ""},),
        removed_at=NOW + timedelta(minutes=5),
        refresh=True,
    )
    stored = hosts.put(whole)
    assert hosts.get("main", "i-1") == stored
    assert replace(stored, write="") == whole


def test_the_second_of_two_writers_loses():
    """Both take the same answer in."""
    seen = hosts.put(RECORD)
    hosts.change(seen, step=Step.INSTALL)
    with pytest.raises(LostRaceError):
        hosts.change(seen, step=Step.FAILED)
    assert hosts.get("main", "i-1").step is Step.INSTALL


def test_a_key_is_taken_once():
    hosts.put(RECORD)
    with pytest.raises(LostRaceError):
        hosts.put(RECORD)


def test_a_check_is_no_host():
    hosts.put(replace(RECORD, is_check=True))
    assert hosts.get("main", "i-1") is None
    assert hosts.list_hosts("main") == []
    assert hosts.check("main", "i-1").is_check


def test_a_claim_has_one_holder_until_it_is_let_go():
    assert hosts.claim("main", "machine#a", "i-1") == "i-1"
    assert hosts.claim("main", "machine#a", "i-1") == "i-1"
    assert hosts.claim("main", "machine#a", "i-2") == "i-1"
    hosts.release("main", "machine#a", "i-2")
    assert hosts.holder_of("main", "machine#a") == "i-1"
    hosts.release("main", "machine#a", "i-1")
    assert hosts.claim("main", "machine#a", "i-2") == "i-2"


def test_a_claim_is_taken_over_from_the_holder_that_was_seen_alone():
    hosts.claim("main", "machine#a", "i-1")
    assert hosts.claim("main", "machine#a", "i-2", instead_of="i-0") == "i-1"
    assert hosts.claim("main", "machine#a", "i-2", instead_of="i-1") == "i-2"


def test_another_project_has_claims_of_its_own():
    hosts.claim("main", "machine#a", "i-1")
    assert hosts.claim("other", "machine#a", "i-2") == "i-2"


def test_what_is_not_said_contradicts_nothing():
    known = replace(RECORD, region="rack-1", network="10.0.0.0/24")
    assert differences(known, RECORD) == {}
    assert differences(known, replace(RECORD, region="rack-2")) == {"region": {"is": "rack-1", "asked": "rack-2"}}

"""Stream delivery and expiry, on the emulator that they stand in for."""

import os
import time
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from infra.local.deploy import Emulator
from infra.local.expiry import SERVICE, Expiry
from infra.local.streams import Consumer
from tests.infra.probe import Probe, make_probe

QUIET = Event()


def make_consumer(probe: Probe, expiry: Expiry | None = None, *, after: int = 0) -> Consumer:
    stamp = expiry.stamp if expiry else lambda _record: None
    return Consumer(probe.emulator, probe.mapping, stamp=stamp, after=after)


def make_expiry(probe: Probe, *, lag_s: float = 0) -> Expiry:
    tables = {probe.name: "ttl"}
    return Expiry(probe.emulator, tables, streamed=set(tables), lag=timedelta(seconds=lag_s))


def keys(probe: Probe) -> list[str]:
    return [each["key"] for each in probe.seen]


@pytest.fixture(params=["reports what failed", "raises"])
def probe(emulator: Emulator, tmp_path: Path, request: pytest.FixtureRequest) -> Probe:
    return make_probe(emulator, tmp_path, reports=request.param != "raises")


@pytest.fixture
def reporting(emulator: Emulator, tmp_path: Path) -> Probe:
    return make_probe(emulator, tmp_path)


def test_a_record_that_always_fails_is_isolated_capped_and_kept(probe):
    probe.put("a", "b", "poison", "c", "d")
    probe.delete("a", "b", "poison", "c", "d")
    make_consumer(probe).deliver_once(QUIET)

    # Delivery is at least once where a batch fails whole, and exactly once where the function names what failed.
    assert {"a", "b", "poison", "c", "d"} == set(keys(probe))
    assert [key for key in dict.fromkeys(keys(probe)) if key != "poison"] == ["a", "b", "c", "d"]
    (failure,) = probe.failures()
    assert failure["DDBStreamBatchInfo"]["batchSize"] == 1
    assert failure["requestContext"]["approximateInvokeCount"] == 1 + probe.mapping.retries


def test_neighbours_of_a_reported_record_are_delivered_once(reporting):
    reporting.put("a", "poison", "b", "c")
    reporting.delete("a", "poison", "b", "c")
    make_consumer(reporting).deliver_once(QUIET)
    assert [key for key in keys(reporting) if key != "poison"] == ["a", "b", "c"]


def test_a_record_that_fails_once_is_delivered_again_and_not_given_up(probe):
    probe.put("a", "once")
    probe.delete("a", "once")
    make_consumer(probe).deliver_once(QUIET)
    assert keys(probe).count("once") == 2
    assert probe.failures() == []


def test_records_that_the_filter_does_not_name_do_not_reach_the_function(reporting):
    reporting.put("a", "b")
    reporting.delete("b")
    make_consumer(reporting).deliver_once(QUIET)
    assert reporting.seen == [{"key": "b", "name": "REMOVE", "by": None}]


def test_a_consumer_goes_on_where_an_earlier_one_ended(reporting):
    reporting.put("a")
    reporting.delete("a")
    first = make_consumer(reporting)
    first.deliver_once(QUIET)
    reporting.put("b")
    reporting.delete("b")
    make_consumer(reporting, after=first.passed).deliver_once(QUIET)
    assert keys(reporting) == ["a", "b"]


def test_a_stop_delivers_what_is_there_first(reporting):
    reporting.put("a")
    reporting.delete("a")
    stop = Event()
    stop.set()
    make_consumer(reporting).run(stop)
    assert keys(reporting) == ["a"]


def test_the_emulators_own_mapping_stays_silent(reporting):
    reporting.put("a")
    reporting.delete("a")
    time.sleep(0.5)
    assert reporting.seen == []


def test_an_expired_item_is_deleted_by_the_service_and_another_by_its_owner(reporting):
    past = int(time.time()) - 10
    reporting.put("expired", ttl=past)
    reporting.put("removed", ttl=past + 3600)
    expiry = make_expiry(reporting)
    assert expiry.delete_expired(reporting.name) == 1
    reporting.delete("removed")
    make_consumer(reporting, expiry).deliver_once(QUIET)
    by = {each["key"]: each["by"] for each in reporting.seen}
    assert by == {"expired": SERVICE, "removed": None}


def test_a_lazy_expiry_leaves_an_item_until_it_is_that_late(reporting):
    reporting.put("late", ttl=int(time.time()) - 100)
    assert make_expiry(reporting, lag_s=3600).delete_expired(reporting.name) == 0
    assert reporting.keys() == {"late"}
    assert make_expiry(reporting, lag_s=60).delete_expired(reporting.name) == 1
    assert reporting.keys() == set()


def test_items_without_a_time_of_the_future_or_of_long_ago_stay(reporting):
    reporting.put("none")
    reporting.put("future", ttl=int(time.time()) + 100)
    reporting.put("six-years-old", ttl=int(time.time()) - 6 * 365 * 24 * 3600)
    assert make_expiry(reporting).delete_expired(reporting.name) == 0
    assert reporting.keys() == {"none", "future", "six-years-old"}


def test_nothing_of_the_callers_environment_reaches_a_function(reporting):
    reporting.put("a")
    reporting.delete("a")
    make_consumer(reporting).deliver_once(QUIET)
    environ = reporting.environ
    assert environ["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert environ["AWS_SECRET_ACCESS_KEY"] != "personal"
    assert environ["AWS_SHARED_CREDENTIALS_FILE"] == environ["AWS_CONFIG_FILE"] == os.devnull
    assert not {"AWS_PROFILE", "GITHUB_TOKEN", "SSH_AUTH_SOCK"} & environ.keys()
    assert environ["HOME"] != os.environ["HOME"]

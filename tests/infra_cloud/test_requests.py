"""What the local cloud accepts: rehearsals and orders, field by field, and the HTTP around them."""

from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from infra.local.cloud import catalog, orders, rehearsal
from infra.local.cloud.refusals import RefusedError
from infra.local.cloud.rehearsal import Fault, Rehearsal, Rule
from tests.infra_cloud.process import KEY, CloudProcess


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    server = CloudProcess(tmp_path_factory.mktemp("cloud") / "state").start()
    yield server
    server.stop()


@pytest.mark.parametrize(
    "row",
    [
        {"fault": "no-capacity"},
        {"fault": "no-capacity", "type": "cpu-small", "region": "local-north", "count": 3},
        {"fault": "capacity", "value": 0},
        {"fault": "slow", "value": 0.5, "count": None},
    ],
)
def test_a_rehearsal_reads_back_as_it_was_written(row):
    (rule,) = rehearsal.parse([row])
    assert rule.to_json() == {"count": None, **row}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"fault": "silent"}, "body"),
        (None, "body"),
        ([{"fault": "silent"}] * 101, "body"),
        (["silent"], "[0]"),
        ([{"fault": "silent"}, {"fault": "earthquake"}], "[1].fault"),
        ([{}], "[0].fault"),
        ([{"fault": ["silent"]}], "[0].fault"),
        ([{"fault": "silent", "colour": "red"}], "[0].colour"),
        ([{"fault": "silent", "type": "cpu-gigantic"}], "[0].type"),
        ([{"fault": "silent", "type": ["cpu-small"]}], "[0].type"),
        ([{"fault": "silent", "region": "local-east"}], "[0].region"),
        ([{"fault": "silent", "count": 0}], "[0].count"),
        ([{"fault": "silent", "count": True}], "[0].count"),
        ([{"fault": "silent", "count": 1.5}], "[0].count"),
        ([{"fault": "silent", "value": 1}], "[0].value"),
        ([{"fault": "slow"}], "[0].value"),
        ([{"fault": "slow", "value": -1}], "[0].value"),
        ([{"fault": "slow", "value": "1"}], "[0].value"),
        ([{"fault": "slow", "value": True}], "[0].value"),
        ([{"fault": "slow", "value": float("nan")}], "[0].value"),
        ([{"fault": "slow", "value": 3601}], "[0].value"),
        ([{"fault": "capacity", "value": 1.5}], "[0].value"),
        ([{"fault": "capacity", "value": 1, "count": 1}], "[0].count"),
    ],
)
def test_a_rehearsal_that_makes_no_sense_is_refused_by_its_field(body, field):
    with pytest.raises(RefusedError) as caught:
        rehearsal.parse(body)
    assert (caught.value.status, caught.value.code) == (422, "invalid-rehearsal")
    assert caught.value.context["field"] == field
    assert caught.value.context["expected"] in caught.value.message


def test_a_rule_is_used_up_and_the_next_one_takes_its_place():
    script = Rehearsal()
    script.replace([Rule(Fault.SLOW, count=2, value=1), Rule(Fault.SLOW, value=9)])
    waits = [rule.value for rule in (script.take(Fault.SLOW) for _ in range(4)) if rule]
    assert waits == [1, 1, 9, 9]


def test_a_rule_of_a_region_meets_no_call_that_is_about_no_machine():
    script = Rehearsal()
    script.replace([Rule(Fault.THROTTLE, region="local-north")])
    assert script.take(Fault.THROTTLE) is None
    assert script.take(Fault.THROTTLE, "cpu-small", "local-south") is None
    assert script.take(Fault.THROTTLE, "cpu-small", "local-north") is not None


def make_order(**changes):
    return {"name": "a", "type": "cpu-small", "region": "local-north", "user_data": "true", **changes}


def test_an_order_needs_a_name_a_type_a_region_and_user_data():
    assert orders.parse(make_order()).kind == catalog.type_named("cpu-small", "local-north")
    for field in make_order():
        with pytest.raises(RefusedError) as caught:
            orders.parse({key: value for key, value in make_order().items() if key != field})
        assert caught.value.context["field"] == field


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"type": "cpu-gigantic"}, "unknown-type", "type"),
        ({"type": "cpu-large", "region": "local-south"}, "unknown-type", "type"),
        ({"zone": "local-north-z"}, "unknown-type", "type"),
        ({"region": "local-south", "spot": True}, "unknown-type", "spot"),
        ({"spot": 1}, "invalid-request", "spot"),
        ({"name": "x" * 129}, "invalid-request", "name"),
        ({"user_data": "x" * 65537}, "invalid-request", "user_data"),
        ({"tags": {"a": 1}}, "invalid-request", "tags"),
        ({"tags": ["a"]}, "invalid-request", "tags"),
        ({"colour": "red"}, "invalid-request", "colour"),
    ],
)
def test_an_order_that_cannot_be_filled_is_refused_by_its_field(changes, code, field):
    with pytest.raises(RefusedError) as caught:
        orders.parse(make_order(**changes))
    assert (caught.value.status, caught.value.code, caught.value.context["field"]) == (422, code, field)


@pytest.mark.parametrize("body", [{"after_s": -1}, {"after_s": "1"}, {"after_s": True}, {"in": 1}, [1]])
def test_a_notice_that_makes_no_sense_is_refused(body):
    with pytest.raises(RefusedError):
        orders.notice_s(body)


def test_no_two_types_are_sold_under_one_name_in_a_region():
    assert len({(kind.name, kind.region) for kind in catalog.TYPES}) == len(catalog.TYPES)
    assert all(kind.price_micros > (kind.spot_price_micros or 0) for kind in catalog.TYPES)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nothing", None, 404, "unknown-route"),
        ("PATCH", "/machines", None, 501, None),
        ("DELETE", "/machines", None, 404, "unknown-route"),
        ("GET", "/machines/m-1", None, 404, "unknown-machine"),
        ("POST", "/machines/m-1/preempt", {}, 404, "unknown-machine"),
        ("GET", "/machines?tag=nocolon", None, 422, "invalid-request"),
        ("POST", "/rehearsal", [], 405, "method-not-allowed"),
        ("PUT", "/rehearsal", [{"fault": "earthquake"}], 422, "invalid-rehearsal"),
        ("POST", "/machines", {"name": "x" * (1 << 21)}, 413, "body-too-large"),
    ],
)
def test_a_call_that_cannot_be_served_says_why(cloud, method, path, body, status, code):
    answer = cloud.call(method, path, body)
    assert answer.status == status
    assert code is None or answer.body["error"]["code"] == code


def test_a_body_that_is_no_json_is_refused(cloud):
    connection = HTTPConnection(urlsplit(cloud.url).netloc, timeout=10)
    connection.request("PUT", "/rehearsal", "{", {"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    assert (answer.status, b"malformed-body" in answer.read()) == (400, True)
    connection.close()


def test_every_call_needs_the_key_also_the_rehearsal(cloud):
    for path in ("/types", "/machines", "/rehearsal", "/nothing"):
        answer = cloud.call("GET", path, key="wrong")
        assert (answer.status, answer.body["error"]["code"]) == (403, "bad-key")


@pytest.mark.parametrize(
    ("fault", "status"), [("throttle", 429), ("auth", 403), ("unavailable", 503), ("unforeseen", 500)]
)
def test_a_fault_of_the_provider_meets_any_call_but_the_rehearsal(cloud, fault, status):
    cloud.rehearse({"fault": fault})
    assert [cloud.call("GET", path).status for path in ("/types", "/machines", "/machines/m-1")] == [status] * 3
    assert cloud.call("DELETE", "/rehearsal").status == 200
    assert cloud.call("GET", "/types").status == 200

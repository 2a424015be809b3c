"""Policies: the defaults of each kind of request, what the wire may say, and what is refused at which field."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import policies, requirements, units
from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.policies import LEASE, POOL_ADD, RUN, Policies, RetryEvent, RetryPolicy, SpotPolicy

EVERY = frozenset(RetryEvent)
HOUR = timedelta(hours=1)


def parsed(body, defaults=RUN):
    return policies.parse(body, defaults=defaults)[0]


def test_pool_add_is_on_demand_idles_72_hours_and_does_not_retry():
    assert parsed({}, POOL_ADD) == Policies(spot=SpotPolicy.ON_DEMAND, idle_limit=72 * HOUR, retry=None)


def test_a_run_takes_spot_or_not_idles_5_minutes_and_does_not_retry():
    assert parsed({}, RUN) == Policies(spot=SpotPolicy.AUTO, idle_limit=timedelta(minutes=5), retry=None)


def test_a_lease_says_nothing_of_the_idle_limit_of_what_it_takes():
    assert parsed({}, LEASE).idle_limit is None


@pytest.mark.parametrize(("defaults", "duration"), [(POOL_ADD, 24 * HOUR), (RUN, HOUR)])
def test_retry_alone_covers_every_event_for_the_time_of_its_kind(defaults, duration):
    assert parsed({"retry": True}, defaults).retry == RetryPolicy(EVERY, duration)
    assert parsed({"retry": {}}, defaults).retry == RetryPolicy(EVERY, duration)


@pytest.mark.parametrize("off", [False, None])
def test_retry_is_off_when_it_is_false_or_not_said(off):
    assert parsed({"retry": off}).retry is None


def test_retry_may_name_its_events_and_its_duration():
    retry = parsed({"retry": {"on_events": ["no-capacity"], "duration": "2h"}}).retry
    assert retry == RetryPolicy(frozenset({RetryEvent.NO_CAPACITY}), 2 * HOUR)


@pytest.mark.parametrize("value", [0, "0s"])
def test_a_retry_duration_of_nothing_is_neither_the_default_nor_a_retry(value):
    with pytest.raises(InvalidInputError, match=r"retry\.duration") as caught:
        parsed({"retry": {"duration": value}})
    assert caught.value.context["expected"].startswith("more than 0")


def test_null_is_the_same_as_not_said():
    assert parsed(dict.fromkeys(policies.KEYS), POOL_ADD) == parsed({}, POOL_ADD)


def test_every_filter_is_read():
    body = {
        "requirements": {"gpu": "A100"},
        "backends": ["AWS", "local", "aws"],
        "regions": [" us-east-1 "],
        "instance_types": ["Standard_NC24ads_A100_v4"],
        "spot_policy": "spot",
        "max_price": 1.5,
        "allow_gpu": True,
        "argv": ["not", "ours"],
    }
    assert parsed(body) == Policies(
        requirements=requirements.parse({"gpu": "A100"})[0],
        backends=("aws", "local"),
        regions=("us-east-1",),
        instance_types=("Standard_NC24ads_A100_v4",),
        spot=SpotPolicy.SPOT,
        max_price=1_500_000,
        idle_limit=RUN.idle_limit,
        allow_gpu=True,
        names_resources=True,
    )


@pytest.mark.parametrize(
    ("value", "limit"),
    [("off", units.NEVER), (False, units.NEVER), ("0s", timedelta()), (0, timedelta()), (90, timedelta(seconds=90))],
)
def test_an_idle_duration_may_be_off_and_zero_is_not_off(value, limit):
    assert parsed({"idle_duration": value}, POOL_ADD).idle_limit == limit


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"requirements": {"cpu": "-1"}}, "requirements.cpu"),
        ({"requirements": "A100"}, "requirements"),
        ({"backends": "aws"}, "backends"),
        ({"backends": [""]}, "backends"),
        ({"regions": [7]}, "regions"),
        ({"instance_types": {}}, "instance_types"),
        ({"spot_policy": "maybe"}, "spot_policy"),
        ({"spot_policy": True}, "spot_policy"),
        ({"spot_policy": ["spot"]}, "spot_policy"),
        ({"max_price": 0}, "max_price"),
        ({"max_price": -1}, "max_price"),
        ({"max_price": True}, "max_price"),
        ({"max_price": "cheap"}, "max_price"),
        ({"idle_duration": True}, "idle_duration"),
        ({"idle_duration": "-5m"}, "idle_duration"),
        ({"idle_duration": -1}, "idle_duration"),
        ({"retry": "yes"}, "retry"),
        ({"retry": 1}, "retry"),
        ({"retry": {"events": []}}, "retry"),
        ({"retry": {"on_events": []}}, "retry.on_events"),
        ({"retry": {"on_events": "error"}}, "retry.on_events"),
        ({"retry": {"on_events": ["errors"]}}, "retry.on_events"),
        ({"retry": {"on_events": [["error"]]}}, "retry.on_events"),
        ({"retry": {"duration": "1 hour"}}, "retry.duration"),
        ({"retry": {"duration": "off"}}, "retry.duration"),
        ({"allow_gpu": "yes"}, "allow_gpu"),
        ({"allow_gpu": 1}, "allow_gpu"),
    ],
)
def test_what_is_wrong_is_refused_at_its_field(body, field):
    with pytest.raises(InvalidInputError) as caught:
        parsed(body)
    assert caught.value.field == field
    assert caught.value.expected


def test_a_slip_in_the_requirements_is_passed_on():
    assert len(policies.parse({"requirements": {"gpu": "80"}}, defaults=RUN)[1]) == 1


moments = st.timedeltas(timedelta(), units.MAX_DURATION)
values = st.builds(
    Policies,
    backends=st.lists(st.sampled_from(["aws", "azure"]), unique=True).map(tuple),
    regions=st.lists(st.text(min_size=1), max_size=3).map(tuple),
    spot=st.sampled_from(SpotPolicy),
    max_price=st.none() | st.integers(1, units.MAX_PRICE_MICROS),
    idle_limit=st.none() | st.just(units.NEVER) | moments,
    retry=st.none() | st.builds(RetryPolicy, st.frozensets(st.sampled_from(RetryEvent), min_size=1), duration=moments),
    allow_gpu=st.booleans(),
)


@given(values)
def test_stored_policies_read_back_the_same(value):
    assert policies.from_doc(json.loads(json.dumps(policies.to_doc(value)))) == value


def test_a_preference_that_no_request_says_is_kept_with_the_rest():
    preferring = Policies(on_demand_first=True)
    assert policies.from_doc(policies.to_doc(preferring)) == preferring


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"requirements": {"cpu": "10000000"}}, "at most 9999999"),
        ({"requirements": {"memory": "9999999TB"}}, "at most 1048576TB"),
        ({"max_price": 1_000_001}, "at most 1000000 USD an hour"),
        ({"max_duration": "521w"}, "(at most 520w)"),
    ],
)
def test_a_number_that_is_too_large_is_refused_with_its_limit(body, limit):
    with pytest.raises(InvalidInputError) as caught:
        parsed(body)
    assert limit in caught.value.context["expected"]

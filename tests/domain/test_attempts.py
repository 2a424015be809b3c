"""Which offer comes next, when to wait, and how a failure is put into words."""

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.attempts import ATTEMPT_LIMIT, PREFERRED_LIMIT, may_wait, next_offer, preferring, summary
from chalicelib.domain.model import AttemptState
from tests.builders import NOW, later, make_attempt, make_offer, make_policies

CHEAP = make_offer(region="a", price=1)
DEAR = make_offer(region="b", price=2)
ELSEWHERE = make_offer(backend="other", region="a", price=3)


def refused(offer, kind):
    return make_attempt(offer=offer, state=AttemptState.REFUSED, kind=kind, detail=f"said {kind}")


def test_the_best_offer_comes_first():
    assert next_offer([CHEAP, DEAR], []) is CHEAP


@pytest.mark.parametrize(
    ("kind", "offer"),
    [
        ("no_capacity", DEAR),
        ("invalid", DEAR),
        ("quota", DEAR),
        ("auth", ELSEWHERE),
        ("balance", ELSEWHERE),
        ("transient", CHEAP),
        ("throttled", CHEAP),
        ("unknown", CHEAP),
    ],
)
def test_the_class_of_a_refusal_decides_what_is_tried_next(kind, offer):
    assert next_offer([CHEAP, DEAR, ELSEWHERE], [refused(CHEAP, kind)]) is offer


def test_an_error_in_passing_is_forgiven_a_few_times():
    assert next_offer([CHEAP, DEAR], [refused(CHEAP, "transient")] * 3) is DEAR


def test_a_pass_has_an_end():
    many = [make_offer(region=f"r{n}") for n in range(ATTEMPT_LIMIT + 1)]
    assert next_offer(many, [refused(offer, "no_capacity") for offer in many[:ATTEMPT_LIMIT]]) is None


def test_a_preference_leaves_half_of_a_pass_to_what_is_accepted_as_well():
    wanted = replace(make_policies(), on_demand_first=True)
    tried = [make_attempt(kind="no_capacity")] * PREFERRED_LIMIT
    assert preferring(wanted, tried[1:]).on_demand_first
    assert not preferring(wanted, tried).on_demand_first
    assert PREFERRED_LIMIT < ATTEMPT_LIMIT


def test_waiting_is_a_matter_of_the_retry_policy():
    waiting = make_policies({"retry": {"duration": "1h"}})
    assert not may_wait(make_policies({}), [], created_at=NOW, now=NOW)
    assert may_wait(waiting, [], created_at=NOW, now=later(minutes=59))
    assert not may_wait(waiting, [], created_at=NOW, now=NOW + timedelta(hours=1))


def test_nobody_waits_for_credentials_to_become_right():
    waiting = make_policies({"retry": True})
    assert not may_wait(waiting, [refused(CHEAP, "auth")], created_at=NOW, now=NOW)
    assert may_wait(waiting, [refused(CHEAP, "auth"), refused(DEAR, "no_capacity")], created_at=NOW, now=NOW)


def test_a_failure_counts_its_attempts_by_class_and_quotes_the_last():
    text = summary([refused(CHEAP, "no_capacity"), refused(DEAR, "auth")], [])
    assert "2 attempts failed (1 x auth, 1 x no_capacity)" in text
    assert text.endswith("; last: local b small: said auth")
    assert "too dear" in summary([], ["too dear"])

"""Listings: the text of a row is the public JSON of its value, and pages neither lose nor repeat one."""

import base64
import json
import sys
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.store import instances, listing, rows
from tests.builders import NOW, later, make_gpu, make_instance, make_lease, make_offer
from tests.store.faults import answering
from tests.store.seeds import DEADLINE, seed

pytestmark = pytest.mark.usefixtures("dynamodb")

LISTED = [
    make_instance(state=State.PENDING, fence=1),
    make_instance(idle_limit=timedelta(minutes=5), deadline=DEADLINE),
    make_instance(idle_limit=timedelta(0), offer=make_offer(zone="a", price_source="")),
    make_instance(state=State.BUSY, lease=make_lease(holder='quo"te\n')),
    make_instance(state=State.BUSY, deadline=DEADLINE, unreachable_since=NOW, cordoned=True),
    make_instance(state=State.BUSY, deadline=DEADLINE, ends_at=DEADLINE),
    make_instance(detail='kein Platz für "A100"\\\u2028', actor="user:zoë", offer=make_offer(spot=True)),
    make_instance(offer=make_offer(gpus=(make_gpu(), make_gpu(name="Größe", count=7))), seen_at=None),
    make_instance(state=State.TERMINATING, deadline=DEADLINE, idle_limit=timedelta(milliseconds=1500)),
]


@pytest.mark.parametrize("instance", LISTED)
def test_the_text_of_a_row_is_the_view_of_its_instance(instance):
    stored = seed(instance)
    (text,), cursor = listing.page("acme", "main", limit=10, cursor=None)
    assert json.loads(text) == listing.view(stored)
    assert list(json.loads(text)) == list(listing.view(stored))
    assert text.isascii()
    assert cursor is None


def test_an_ended_instance_is_listed_as_it_ended():
    going = seed(make_instance(state=State.TERMINATING))
    gone = instances.bury(going, now=later(minutes=1), reason=Reason.CONFIRMED_GONE, actor="teardown")
    assert listing.page("acme", "main", limit=10, cursor=None) == ([], None)
    (text,), _ = listing.page("acme", "main", limit=10, cursor=None, ended_since=NOW)
    assert json.loads(text) == listing.view(gone)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7, 8, 100])
def test_pages_hold_every_instance_once_the_ended_ones_last(limit):
    for number in range(4):
        seed(make_instance(instance_id=f"i-{number}", name=f"n-{number}"))
    for number in range(4, 8):
        going = seed(make_instance(state=State.TERMINATING, instance_id=f"i-{number}", name=f"n-{number}"))
        instances.bury(going, now=later(minutes=number), reason=Reason.CONFIRMED_GONE, actor="teardown")
    assert pages(limit) == ["i-0", "i-1", "i-2", "i-3"]
    assert pages(limit, ended_since=later(minutes=5)) == ["i-0", "i-1", "i-2", "i-3", "i-7", "i-6", "i-5"]


def test_a_window_that_moved_past_the_cursor_ends_the_listing():
    """DynamoDB refuses to start outside of the key range (moto does not), so it must not be asked."""
    for number in range(2):
        going = seed(make_instance(state=State.TERMINATING, instance_id=f"i-{number}", name=f"n-{number}"))
        instances.bury(going, now=later(minutes=number), reason=Reason.CONFIRMED_GONE, actor="teardown")
    _, cursor = listing.page("acme", "main", limit=1, cursor=None, ended_since=NOW)
    requests = answering("Query", {"__type": "ValidationException"}, status=400)
    assert listing.page("acme", "main", limit=1, cursor=cursor, ended_since=later(minutes=2)) == ([], None)
    assert requests == []


def test_a_page_stays_below_a_megabyte(monkeypatch):
    monkeypatch.setattr(listing, "PAGE_BYTES", 2_000)
    for number in range(6):
        seed(make_instance(instance_id=f"i-{number}", name=f"n-{number}"))
    texts, cursor = listing.page("acme", "main", limit=10, cursor=None)
    assert cursor is not None
    assert sum(map(len, texts)) <= 2_000
    assert pages(10) == [f"i-{number}" for number in range(6)]


def test_ended_instances_that_do_not_fit_the_page_come_with_the_next(monkeypatch):
    monkeypatch.setattr(listing, "PAGE_BYTES", 2_000)
    for number in range(3):
        seed(make_instance(instance_id=f"i-{number}", name=f"n-{number}"))
    for number in range(3, 6):
        going = seed(make_instance(state=State.TERMINATING, instance_id=f"i-{number}", name=f"n-{number}"))
        instances.bury(going, now=later(minutes=number), reason=Reason.CONFIRMED_GONE, actor="teardown")
    assert pages(10, ended_since=NOW) == ["i-0", "i-1", "i-2", "i-5", "i-4", "i-3"]


def test_one_instance_larger_than_a_page_is_listed_alone(monkeypatch):
    monkeypatch.setattr(listing, "PAGE_BYTES", 10)
    for number in range(2):
        seed(make_instance(instance_id=f"i-{number}", name=f"n-{number}"))
    assert pages(10) == ["i-0", "i-1"]


def forged(text: str) -> str:
    """A cursor as an attacker would write it."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!",
        "aTppLTE=",
        "é",
        "A" * 600,
        forged("i:"),
        forged("x:i-1"),
        forged("e:i-1"),
        forged("i:a\nb"),
        forged("i"),
    ],
)
def test_a_cursor_that_this_list_did_not_give_is_refused(cursor):
    with pytest.raises(InvalidInputError) as refused:
        listing.page("acme", "main", limit=1, cursor=cursor)
    assert refused.value.field == "cursor"


def test_a_forged_cursor_reaches_no_other_pool():
    seed(make_instance(pool="other"))
    seed(make_instance(instance_id="i-2", name="mine"))
    texts, _ = listing.page("acme", "main", limit=10, cursor=forged("i:acme/other"))
    assert [json.loads(text)["instance_id"] for text in texts] == ["i-2"]


def test_a_page_takes_few_calls_for_each_row_from_the_wire_to_the_text():
    """Counted, not timed: calls stand for CPU, whatever the machine. botocore's own reading alone takes 150 a row."""
    row = make_instance(state=State.BUSY, offer=make_offer(gpus=make_gpu(count=8)))
    item = rows.encode(row, wrote="step", write="w").serialize()
    answering("Query", {"Items": [item] * 1_000, "Count": 1_000, "ScannedCount": 1_000})
    count_of_calls = 0

    def count(_frame, event, _argument):
        nonlocal count_of_calls
        count_of_calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        texts, _ = listing.page("acme", "main", limit=1_000, cursor=None)
    finally:
        sys.setprofile(None)
    assert len(texts) == 1_000
    assert count_of_calls <= 25 * len(texts)


def test_the_view_of_a_lease_is_part_of_the_view_of_its_instance():
    busy = make_instance(state=State.BUSY)
    assert listing.view(busy)["lease"] == listing.lease_view(busy.lease)
    assert listing.view(replace(busy, lease=None))["lease"] is None


def pages(limit: int, **options) -> list[str]:
    """The ids on all pages, in order."""
    ids: list[str] = []
    cursor = None
    for _ in range(50):
        texts, cursor = listing.page("acme", "main", limit=limit, cursor=cursor, **options)
        assert len(texts) <= limit
        ids += [json.loads(text)["instance_id"] for text in texts]
        if cursor is None:
            return ids
    raise AssertionError("the pages do not end")

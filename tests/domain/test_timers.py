"""Timers: where they are filed, and that a sweep looks everywhere that something due can be."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.timers import (
    OVERLAP,
    SHARDS,
    Timer,
    TimerKind,
    due_partitions,
    instance_target,
    partition,
    run_target,
    whole_second,
)
from tests.builders import NOW, ago, later

TARGET = instance_target("acme", "main", "i-1")


def make_timer(*, kind=TimerKind.IDLE, target=TARGET, fence=4, due_at=NOW) -> Timer:
    return Timer(kind, target, fence, due_at)


moments = st.timedeltas(timedelta(), timedelta(days=36_500)).map(
    lambda passed: datetime(2000, 1, 1, tzinfo=UTC) + passed
)
spans = st.timedeltas(timedelta(), timedelta(hours=2))


def test_a_timer_is_filed_under_its_due_minute_and_a_shard():
    minute, shard = make_timer(due_at=datetime(1970, 1, 1, 0, 2, 59, tzinfo=UTC)).partition.split("#")
    assert minute == "0000000002"
    assert int(shard) in range(SHARDS)


def test_targets_say_what_they_are():
    assert TARGET == "instance/acme/main/i-1"
    assert run_target("acme", "run-1") == "run/acme/run-1"


def test_the_same_timer_written_twice_is_one_item():
    first, second = make_timer(), make_timer()
    assert (first.partition, first.sort) == (second.partition, second.sort)


@pytest.mark.parametrize(
    "other", [{"fence": 5}, {"kind": TimerKind.LEASE}, {"target": run_target("acme", "run-1")}, {"fence": 41}]
)
def test_timers_of_one_minute_do_not_write_over_each_other(other):
    assert make_timer(**other).sort != make_timer().sort


def test_timers_of_many_targets_spread_over_all_shards():
    targets = [instance_target("acme", "main", f"i-{number}") for number in range(400)]
    shards = [make_timer(target=target).partition for target in targets]
    counts = [shards.count(shard) for shard in set(shards)]
    assert len(counts) == SHARDS
    assert min(counts) > 400 / SHARDS / 2


@given(moments, spans, st.data())
def test_a_sweep_looks_where_every_due_timer_is(watermark, passed, data):
    now = watermark + passed
    due = watermark + data.draw(st.timedeltas(timedelta(), passed))
    assert make_timer(due_at=due).partition in set(due_partitions(watermark=watermark, now=now))


@given(moments, st.timedeltas(timedelta(), OVERLAP))
def test_a_sweep_finds_what_a_slow_writer_filed_behind_the_watermark(watermark, late):
    timer = make_timer(due_at=watermark - late)
    assert timer.partition in set(due_partitions(watermark=watermark, now=watermark))


def test_a_sweep_does_not_look_at_what_is_due_in_a_later_minute():
    assert make_timer(due_at=later(minutes=1)).partition not in set(due_partitions(watermark=ago(minutes=9), now=NOW))


def test_a_sweep_goes_from_the_oldest_minute_to_the_newest():
    found = list(due_partitions(watermark=ago(minutes=3), now=NOW))
    assert found == sorted(found)
    assert len(found) == len(set(found)) == (3 + OVERLAP // timedelta(minutes=1) + 1) * SHARDS


def test_a_watermark_from_a_clock_that_was_ahead_hides_nothing():
    assert list(due_partitions(watermark=later(hours=1), now=NOW)) == list(due_partitions(watermark=NOW, now=NOW))


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_partitions_sort_as_text_like_their_minutes(one, other):
    assert (partition(one, 0) < partition(other, 0)) == (one < other)


@given(moments)
def test_a_moment_is_rounded_up_to_the_second_and_by_less_than_one(moment):
    assert timedelta() <= whole_second(moment) - moment < timedelta(seconds=1)
    assert whole_second(moment).microsecond == 0
    assert whole_second(whole_second(moment)) == whole_second(moment)

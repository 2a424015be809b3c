"""Whose turn it is to launch."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.launch_rate import Bucket, closed, full, turn
from tests.builders import NOW

SECOND = timedelta(seconds=1)


def ask(bucket, *, ahead=0, after_s=0.0, per_s=2.0, burst=5):
    return turn(bucket, per_s=per_s, burst=burst, ahead=ahead, now=NOW + timedelta(seconds=after_s))


def test_a_full_bucket_gives_its_burst_at_once_and_then_nothing():
    bucket = full(5, NOW)
    for _ in range(5):
        taken = ask(bucket)
        assert taken.bucket is not None
        bucket = taken.bucket
    assert ask(bucket).bucket is None
    assert ask(bucket).wait == SECOND / 2


def test_tokens_come_back_at_the_rate_and_never_exceed_the_burst():
    assert ask(Bucket(0.0, NOW), after_s=0.5).bucket == Bucket(0.0, NOW + SECOND / 2)
    assert ask(Bucket(0.0, NOW), after_s=3600).bucket == Bucket(4.0, NOW + 3600 * SECOND)


def test_nobody_overtakes_those_who_waited_before():
    assert ask(Bucket(1.0, NOW), ahead=1).bucket is None
    assert ask(Bucket(2.0, NOW), ahead=1).bucket == Bucket(1.0, NOW)


def test_who_waits_is_told_when_its_turn_will_come():
    assert ask(Bucket(0.0, NOW), ahead=9).wait == 5 * SECOND


def test_after_slow_down_nothing_is_launched_until_then():
    shut = closed(Bucket(5.0, NOW), until=NOW + 5 * SECOND)
    assert ask(shut, after_s=1).bucket is None
    assert ask(shut, after_s=1).wait == 4.5 * SECOND
    assert ask(shut, after_s=5.5).bucket is not None


def test_an_earlier_slow_down_does_not_open_a_bucket_that_is_closed_for_longer():
    longer = closed(Bucket(0.0, NOW), until=NOW + 60 * SECOND)
    assert closed(longer, until=NOW + 5 * SECOND).at == NOW + 60 * SECOND


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 4)), max_size=60),
    st.floats(0.1, 20),
    st.integers(1, 10),
)
def test_whatever_is_asked_no_more_is_launched_than_burst_and_rate_allow(asks, per_s, burst):
    bucket, now, launches = full(burst, NOW), 0.0, 0
    for pause, ahead in asks:
        now += pause
        taken = ask(bucket, ahead=ahead, after_s=now, per_s=per_s, burst=burst)
        if taken.bucket is not None:
            bucket, launches = taken.bucket, launches + 1
        else:
            assert taken.wait > timedelta(0)
    assert launches <= burst + now * per_s + 1e-3

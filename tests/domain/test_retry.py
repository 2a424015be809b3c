"""The wait before another try."""

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.retry import backoff

BASE, CAP = timedelta(seconds=2), timedelta(minutes=1)


class Edge(Random):
    """A source that always draws the same share."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self.share = share

    def random(self) -> float:
        return self.share


@pytest.mark.parametrize(
    ("attempt", "least_s", "most_s"), [(0, 1, 2), (1, 2, 4), (4, 16, 32), (5, 30, 60), (6, 30, 60), (10**6, 30, 60)]
)
def test_the_wait_doubles_up_to_the_cap_and_is_at_least_half_of_its_bound(attempt, least_s, most_s):
    assert backoff(attempt, base=BASE, cap=CAP, rng=Edge(0.0)) == timedelta(seconds=least_s)
    assert backoff(attempt, base=BASE, cap=CAP, rng=Edge(1.0)) == timedelta(seconds=most_s)


@given(st.integers(0, 10_000), st.timedeltas(timedelta(milliseconds=1), CAP), st.randoms(use_true_random=False))
def test_no_wait_is_nothing_or_above_the_cap(attempt, base, rng):
    assert timedelta() < backoff(attempt, base=base, cap=CAP, rng=rng) <= CAP


def test_a_crowd_that_failed_together_does_not_return_together():
    rng = Random(7)
    assert len({backoff(4, base=BASE, cap=CAP, rng=rng) for _ in range(100)}) > 95


@pytest.mark.parametrize(("attempt", "base", "cap"), [(-1, BASE, CAP), (0, timedelta(), CAP), (0, CAP, BASE)])
def test_a_senseless_backoff_is_a_bug_of_the_caller(attempt, base, cap):
    with pytest.raises(ValueError, match="backoff needs"):
        backoff(attempt, base=base, cap=cap, rng=Random(0))

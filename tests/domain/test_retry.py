"""Whether a run is begun again, when, and how long it waits for that."""

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.model import RunReason, RunState, Tries
from chalicelib.domain.policies import RetryEvent, RetryPolicy
from chalicelib.domain.retry import backoff, next_try
from tests.builders import NOW, ago, later, make_run

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


HOUR = timedelta(hours=1)
EVERY = RetryPolicy(frozenset(RetryEvent), HOUR)


def after(run, reason=RunReason.EXITED_NON_ZERO, *, policy=EVERY, now=NOW, share=0.0):
    return next_try(policy, run, reason, failure="it failed", now=now, rng=Edge(share))


def run_with(**tries):
    return make_run(state=RunState.RUNNING, placements=4, tries=Tries(**{"number": 2, "began_at": NOW, **tries}))


@pytest.mark.parametrize(
    ("events", "reason", "retried"),
    [
        ({RetryEvent.INTERRUPTION}, RunReason.INTERRUPTED, True),
        ({RetryEvent.INTERRUPTION}, RunReason.MACHINE_LOST, True),
        ({RetryEvent.INTERRUPTION}, RunReason.EXITED_NON_ZERO, False),
        ({RetryEvent.ERROR}, RunReason.EXITED_NON_ZERO, True),
        ({RetryEvent.ERROR}, RunReason.START_FAILED, True),
        ({RetryEvent.ERROR}, RunReason.INTERRUPTED, False),
        ({RetryEvent.NO_CAPACITY}, RunReason.NO_CAPACITY, False),
        (set(RetryEvent), RunReason.MACHINE_REMOVED, False),
        (set(RetryEvent), RunReason.NOT_PICKED_UP, False),
        (set(RetryEvent), RunReason.USER_STOPPED, False),
    ],
)
def test_a_policy_covers_the_events_that_it_names(events, reason, retried):
    policy = RetryPolicy(frozenset(events), HOUR)
    assert (after(run_with(), reason, policy=policy) is not None) == retried
    assert after(run_with(), reason, policy=None) is None


@pytest.mark.parametrize(("failures", "least_s", "most_s"), [(0, 15, 30), (1, 30, 60), (3, 120, 240), (4, 150, 300)])
def test_a_job_that_failed_waits_longer_each_time_and_never_less_than_15_seconds(failures, least_s, most_s):
    run = run_with(since=ago(minutes=1), failures=failures)
    assert after(run).retry_at == later(seconds=least_s)
    assert after(run, share=1.0).retry_at == later(seconds=most_s)


def test_a_machine_that_was_taken_is_replaced_at_once():
    tries = after(run_with(interruptions=1), RunReason.INTERRUPTED)
    assert (tries.number, tries.retry_at, tries.interruptions) == (3, NOW, 2)
    assert (tries.since, tries.failures, tries.began_at, tries.placements) == (NOW, 1, None, 4)
    assert after(run_with(interruptions=1), RunReason.MACHINE_LOST).interruptions == 1


@pytest.mark.parametrize(
    ("since_s", "retried"),
    [(3584, True), (3585, True), (3586, False), (3600, False), (9999, False)],  # a try begins 15 s later, or never
)
def test_a_try_begins_within_the_duration_from_the_first_failure_or_not_at_all(since_s, retried):
    assert (after(run_with(since=ago(seconds=since_s))) is not None) == retried


@pytest.mark.parametrize(("ran_s", "failures"), [(3599, None), (3600, 1)])
def test_a_try_that_ran_for_the_whole_duration_begins_a_new_series(ran_s, failures):
    tries = after(run_with(since=ago(hours=5), failures=7, began_at=ago(seconds=ran_s)))
    assert (tries and tries.failures) == failures
    assert tries is None or tries.since == NOW


def test_the_second_try_has_a_job_of_its_own():
    assert make_run(run_id="run-1").job_id == "run-1"
    assert make_run(run_id="run-1", tries=Tries(number=2)).job_id == "run-1-2"

"""Timers on their table: where they are filed, how the sweep finds and fires them, and how far it came."""

from datetime import timedelta

import pytest

from chalicelib.domain.timers import OVERLAP, Timer, TimerKind, due_partitions
from chalicelib.store import calls, timers
from chalicelib.store.models import TimerRow
from tests.builders import NOW, later

pytestmark = pytest.mark.usefixtures("dynamodb")


def make_timer(number: int = 1, *, due_at=NOW, **rest) -> Timer:
    """An idle timer of one instance."""
    return Timer(
        **{"kind": TimerKind.IDLE, "target": f"instance/acme/main/i-{number}", "fence": 4} | rest, due_at=due_at
    )


def test_a_filed_timer_is_found_when_it_is_due_and_not_before():
    filed = timers.put(make_timer(due_at=NOW + timedelta(seconds=30)))
    assert timers.due(filed.partition, NOW + timedelta(seconds=29), 10) == []
    assert timers.due(filed.partition, NOW + timedelta(seconds=30), 10) == [filed]


def test_a_timer_is_due_on_the_whole_second_after_its_moment_and_filed_under_that_minute():
    """59.5 s is due at the next minute, and must be in that minute's partition: its key is rebuilt from the second."""
    filed = timers.put(make_timer(due_at=NOW.replace(second=59, microsecond=500_000)))
    assert filed.due_at == NOW.replace(minute=NOW.minute + 1, second=0)
    assert timers.due(filed.partition, filed.due_at, 10) == [filed]
    assert timers.delete([filed]) == 1
    assert timers.due(filed.partition, filed.due_at, 10) == []


def test_filing_a_timer_twice_is_one_timer():
    assert timers.put(make_timer()) == timers.put(make_timer())
    assert len(timers.due(make_timer().partition, NOW, 10)) == 1


@pytest.mark.parametrize("kind", TimerKind)
def test_the_old_image_of_a_deleted_timer_says_what_it_was(kind):
    filed = timers.put(make_timer(kind=kind, target="run/acme/run-1", fence=0))
    image = calls.get(TimerRow, filed.partition, filed.sort, consistent=True)
    assert timers.parse(image) == filed


def test_a_limit_counts_due_timers_only():
    for number in range(8):
        timers.put(make_timer(number, due_at=NOW + timedelta(seconds=number)))
    partitions = list(due_partitions(watermark=NOW, now=later(minutes=1)))
    found = [timer for partition in partitions for timer in timers.due(partition, NOW + timedelta(seconds=5), 100)]
    assert len(found) == 6
    assert all(len(timers.due(partition, later(minutes=1), 1)) <= 1 for partition in partitions)


def test_a_batch_of_any_size_is_deleted():
    batch = [timers.put(make_timer(number)) for number in range(60)]
    assert timers.delete(batch) == 60
    assert timers.delete(batch) == 60
    assert timers.delete([]) == 0
    assert all(timers.due(timer.partition, NOW, 100) == [] for timer in batch)


def test_the_watermark_moves_forward_only():
    assert timers.watermark() is None
    assert timers.advance(NOW)
    assert not timers.advance(NOW - timedelta(seconds=1))
    assert not timers.advance(NOW)
    assert timers.watermark() == NOW
    assert timers.advance(later(minutes=1))
    assert timers.watermark() == later(minutes=1)


def test_the_overlap_covers_a_slow_writer():
    """A timer filed for a minute that the watermark has passed, by less than the overlap, is still found."""
    timers.advance(NOW)
    late = timers.put(make_timer(due_at=NOW - OVERLAP + timedelta(minutes=1)))
    partitions = due_partitions(watermark=timers.watermark(), now=later(minutes=1))
    assert [timer for each in partitions for timer in timers.due(each, later(minutes=1), 10)] == [late]

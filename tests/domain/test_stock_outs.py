"""How long an offer that was sold out ranks last."""

from datetime import timedelta

from chalicelib.domain.stock_outs import FORGOTTEN, StockOut, after
from tests.builders import NOW

MINUTE = timedelta(minutes=1)


def test_the_first_refusal_counts_three_minutes():
    assert after(None, NOW) == StockOut(1, NOW + 3 * MINUTE)


def test_each_refusal_after_a_cool_down_lasts_twice_as_long_up_to_ten_minutes():
    known, lengths = after(None, NOW), []
    for _ in range(4):
        now = known.until
        known = after(known, now)
        lengths.append(known.until - now)
    assert lengths == [6 * MINUTE, 10 * MINUTE, 10 * MINUTE, 10 * MINUTE]


def test_a_crowd_that_meets_the_same_stock_out_changes_nothing():
    assert after(StockOut(1, NOW + MINUTE), NOW) is None


def test_a_stock_out_of_long_ago_is_forgotten():
    assert after(StockOut(5, NOW - FORGOTTEN), NOW) == StockOut(1, NOW + 3 * MINUTE)

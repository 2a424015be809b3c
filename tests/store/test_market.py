"""What workers share about providers: stock-outs, buckets, and the queue before a bucket."""

from datetime import timedelta

import pytest

from chalicelib.domain.launch_rate import Bucket
from chalicelib.domain.stock_outs import StockOut
from chalicelib.store import market
from tests.builders import NOW
from tests.store.test_races import race

SECOND = timedelta(seconds=1)
KEY = "aws/us-east-1/us-east-1a/p5.48xlarge/on-demand"
SCOPE = "acme/aws/us-east-1"

on_moto = pytest.mark.usefixtures("dynamodb")


@on_moto
def test_a_stock_out_is_read_back_until_it_is_over_and_by_its_project_alone():
    assert market.put_stock_out("acme", KEY, None, StockOut(1, NOW + SECOND))
    assert market.stock_out("acme", KEY) == StockOut(1, NOW + SECOND)
    assert market.stock_outs("acme", NOW) == {KEY: NOW + SECOND}
    assert market.stock_outs("acme", NOW + SECOND) == {}
    assert market.stock_outs("other", NOW) == {}


@on_moto
def test_a_stock_out_that_somebody_noted_meanwhile_is_left_as_it_is():
    seen = market.stock_out("acme", KEY)
    market.put_stock_out("acme", KEY, seen, StockOut(1, NOW + SECOND))
    assert not market.put_stock_out("acme", KEY, seen, StockOut(1, NOW + 9 * SECOND))
    assert market.stock_out("acme", KEY) == StockOut(1, NOW + SECOND)


@on_moto
def test_an_offer_that_could_be_had_again_is_forgotten():
    market.put_stock_out("acme", KEY, None, StockOut(1, NOW + SECOND))
    market.forget_stock_out("acme", KEY)
    assert market.stock_outs("acme", NOW) == {}


@on_moto
def test_a_bucket_is_written_only_over_the_one_that_was_seen():
    first, second = Bucket(4.5, NOW), Bucket(3.5, NOW)
    assert market.bucket(SCOPE) is None
    assert market.put_bucket(SCOPE, None, first)
    assert not market.put_bucket(SCOPE, None, second)
    assert market.bucket(SCOPE) == first
    assert market.put_bucket(SCOPE, first, second)
    assert not market.put_bucket(SCOPE, first, second)


@on_moto
def test_the_queue_counts_who_stands_before_a_place_and_renewed_it_in_time():
    market.queue(SCOPE, "2024-05-01T12:00:00#a", until=NOW + SECOND)
    market.queue(SCOPE, "2024-05-01T12:00:01#b", until=NOW + 60 * SECOND)
    market.queue(SCOPE, "2024-05-01T12:00:02#c", until=NOW + 60 * SECOND)
    last = "2024-05-01T12:00:02#c"
    assert market.ahead(SCOPE, last, NOW) == 2
    assert market.ahead(SCOPE, last, NOW + SECOND) == 1
    assert market.ahead("acme/aws/eu-west-1", last, NOW) == 0
    market.leave(SCOPE, "2024-05-01T12:00:01#b")
    assert market.ahead(SCOPE, last, NOW + SECOND) == 0


@pytest.mark.usefixtures("emulated")
def test_of_many_who_want_the_last_token_one_gets_it():
    seen = Bucket(1.0, NOW)
    market.put_bucket(SCOPE, None, seen)
    taken = race([lambda: market.put_bucket(SCOPE, seen, Bucket(0.0, NOW + SECOND))] * 12)
    assert taken.count(True) == 1

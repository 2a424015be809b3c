"""Idempotency keys: one request acts, the others get its answer or are told to wait."""

from datetime import timedelta

import pytest

from chalicelib.domain.errors import IdempotencyMismatchError, IdempotencyPendingError
from chalicelib.store import idempotency
from tests.builders import NOW, later

pytestmark = pytest.mark.usefixtures("dynamodb")


def test_the_first_request_acts_and_the_same_one_later_gets_its_answer():
    assert idempotency.begin("k", "hash", NOW) is None
    idempotency.finish("k", 201, '{"a": 1}')
    assert idempotency.begin("k", "hash", later(minutes=5)) == idempotency.Answer(201, '{"a": 1}')


def test_another_body_under_the_key_is_refused_before_and_after_the_answer():
    idempotency.begin("k", "hash", NOW)
    for _ in range(2):
        with pytest.raises(IdempotencyMismatchError) as refused:
            idempotency.begin("k", "other", later(hours=1))
        assert not refused.value.retryable
        idempotency.finish("k", 201, "")


def test_the_same_request_while_the_first_is_worked_on_is_told_to_wait():
    idempotency.begin("k", "hash", NOW)
    with pytest.raises(IdempotencyPendingError):
        idempotency.begin("k", "hash", NOW + idempotency.LOCK)


def test_a_request_whose_worker_died_can_be_repeated_after_the_lock():
    idempotency.begin("k", "hash", NOW)
    assert idempotency.begin("k", "hash", NOW + idempotency.LOCK + timedelta(seconds=1)) is None
    with pytest.raises(IdempotencyPendingError):
        idempotency.begin("k", "hash", NOW + idempotency.LOCK + timedelta(seconds=2))


def test_only_the_first_answer_counts():
    idempotency.begin("k", "hash", NOW)
    idempotency.finish("k", 201, "first")
    idempotency.finish("k", 500, "second")
    assert idempotency.begin("k", "hash", NOW) == idempotency.Answer(201, "first")


def test_an_abandoned_key_is_free_and_an_answered_one_stays():
    idempotency.begin("k", "hash", NOW)
    idempotency.abandon("k")
    assert idempotency.begin("k", "hash", NOW) is None
    idempotency.finish("k", 200, "")
    idempotency.abandon("k")
    assert idempotency.begin("k", "hash", NOW) == idempotency.Answer(200, "")


def test_an_answer_counts_for_a_day_even_when_dynamodb_deletes_it_late():
    idempotency.begin("k", "hash", NOW)
    idempotency.finish("k", 200, "")
    assert idempotency.begin("k", "other", NOW + idempotency.KEEP) is None


def test_finishing_a_key_that_nobody_holds_stores_nothing():
    idempotency.finish("k", 200, "")
    assert idempotency.begin("k", "hash", NOW) is None

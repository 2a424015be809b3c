"""Lost answers, conflicts, throttling and oversize: what the store makes of them."""

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber

from chalicelib.domain.errors import (
    BodyTooLargeError,
    LostRaceError,
    NotFoundError,
    ThrottledError,
    UnavailableError,
)
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import RunReason, RunState
from chalicelib.store import calls, connection, idempotency, instances, projection, runs, timers
from chalicelib.store.models import TimerRow
from tests.builders import NOW, later, make_instance, make_lease, make_run, make_spec
from tests.store.faults import answering, client, losing_the_first_answer
from tests.store.seeds import DEADLINE, seed

pytestmark = pytest.mark.usefixtures("dynamodb")


def acquire(seen):
    """Take an idle instance."""
    lease = make_lease(fence=seen.fence + 1)
    options = {"now": NOW, "reason": Reason.ACQUIRED, "actor": "user:test", "deadline": DEADLINE, "lease": lease}
    return instances.step(seen, Event.ACQUIRED, **options)


def test_a_step_whose_answer_was_lost_is_recognised_and_not_lost():
    """botocore repeats the request; the repeat fails its condition because the first one worked."""
    seen = seed(make_instance())
    tries = losing_the_first_answer("UpdateItem")
    busy = acquire(seen)
    assert len(tries) == 2
    assert (busy.state, busy.fence) == (State.BUSY, 5)
    assert busy == instances.get("acme", "main", "i-1")


def test_a_step_that_was_overtaken_after_its_answer_was_lost_has_lost():
    """A acquires and the answer is lost; the lease ends; A's repeat must not believe that it still holds it."""
    seen = seed(make_instance())

    def somebody_gives_it_back():
        busy = instances.get("acme", "main", "i-1")
        instances.step(busy, Event.RELEASED, now=NOW, reason=Reason.RELEASED, actor="x", deadline=None, lease=None)

    losing_the_first_answer("UpdateItem", somebody_gives_it_back)
    with pytest.raises(LostRaceError):
        acquire(seen)


def test_two_holders_of_one_name_at_the_same_moment_do_not_take_each_others_write_for_theirs():
    """Everything in their writes is equal but the token."""
    seen = seed(make_instance())
    acquire(seen)
    with pytest.raises(LostRaceError):
        acquire(seen)


def test_a_run_step_whose_answer_was_lost_is_recognised():
    seen = runs.create(make_run(), None)
    losing_the_first_answer("UpdateItem")
    moved = runs.step(seen, RunState.STARTING, now=NOW, reason=RunReason.REUSED, actor="x")
    assert moved == runs.get("acme", "run-1")


def test_a_key_whose_answer_was_lost_is_held_by_the_one_who_asked():
    losing_the_first_answer("PutItem")
    assert idempotency.begin("k", "hash", NOW) is None


def test_a_flag_whose_answer_was_lost_is_counted_once():
    seen = seed(make_instance())
    losing_the_first_answer("UpdateItem")
    assert instances.flag(seen, cordoned=True, now=NOW, actor="x").cordoned


CONFLICT = {
    "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
    "Message": "cancelled",
    "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],
}


def test_a_transaction_that_met_another_one_is_tried_again(monkeypatch):
    monkeypatch.setattr(connection, "CONFLICT_BASE_S", 0)
    requests = answering("TransactWriteItems", CONFLICT, status=400, times=3)
    writes = calls.Transaction()
    writes.put(TimerRow("a", "b"))
    writes.put(TimerRow("a", "c"))
    writes.commit()
    assert len(requests) == 4


def test_a_transaction_that_keeps_meeting_others_gives_up(monkeypatch):
    monkeypatch.setattr(connection, "CONFLICT_BASE_S", 0)
    requests = answering("TransactWriteItems", CONFLICT, status=400)
    writes = calls.Transaction()
    writes.put(TimerRow("a", "b"))
    with pytest.raises(ThrottledError):
        writes.commit()
    assert len(requests) == 1 + connection.CONFLICT_TRIES


@pytest.mark.parametrize("attempts", range(1, connection.CONFLICT_TRIES + 1))
def test_the_wait_between_conflicts_is_spread_and_capped(attempts):
    waits = [connection.retry_conflict(response=(None, CONFLICT), attempts=attempts) for _ in range(20)]
    assert len(set(waits)) > 1
    assert all(0 <= wait <= connection.CONFLICT_BASE_S * 2**attempts for wait in waits)


def test_a_failed_condition_beside_a_conflict_is_final():
    reasons = [{"Code": "ConditionalCheckFailed"}, {"Code": "TransactionConflict"}]
    answer = CONFLICT | {"CancellationReasons": reasons}
    assert connection.retry_conflict(response=(None, answer), attempts=1) is None
    assert connection.retry_conflict(response=None, attempts=1, caught_exception=OSError()) is None
    assert connection.retry_conflict(response=(None, {"Items": []}), attempts=1) is None


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("ProvisionedThroughputExceededException", ThrottledError),
        ("ThrottlingException", ThrottledError),
        ("RequestLimitExceeded", ThrottledError),
        ("TransactionConflictException", ThrottledError),
        ("InternalServerError", UnavailableError),
        ("ServiceUnavailable", UnavailableError),
    ],
)
def test_an_error_of_dynamodb_becomes_an_outcome_to_act_on(code, outcome):
    for operation, verb in (
        ("query", lambda: list(calls.query_all(TimerRow, "a"))),
        ("get_item", timers.watermark),
        ("update_item", lambda: timers.advance(NOW)),
        ("put_item", lambda: calls.put(TimerRow("a", "b"))),
        ("delete_item", lambda: calls.delete(TimerRow, "a", "b")),
        ("transact_write_items", lambda: runs.create(make_run(), None)),
    ):
        with Stubber(client()) as stub:
            stub.add_client_error(operation, service_error_code=code, http_status_code=500)
            with pytest.raises(outcome):
                verb()


@pytest.mark.parametrize(
    "error", [EndpointConnectionError(endpoint_url="http://x"), ReadTimeoutError(endpoint_url="http://x")]
)
def test_no_answer_at_all_is_unavailable(error, monkeypatch):
    def fail(*_arguments):
        raise error

    monkeypatch.setattr(client(), "_make_api_call", fail)
    for verb in (timers.watermark, lambda: calls.put(TimerRow("a", "b"))):
        with pytest.raises(UnavailableError):
            verb()


def test_an_unforeseen_error_stays_what_it_is():
    with Stubber(client()) as stub:
        stub.add_client_error("get_item", service_error_code="AccessDeniedException")
        with pytest.raises(Exception, match="AccessDenied"):
            timers.watermark()


def test_a_run_too_large_for_a_row_is_refused_as_too_large():
    with pytest.raises(BodyTooLargeError):
        runs.create(make_run(spec=make_spec(env={"A": "x" * 500_000})), None)
    with pytest.raises(NotFoundError):
        runs.get("acme", "run-1")


def test_an_answer_too_large_for_a_row_is_refused_as_too_large():
    idempotency.begin("k", "hash", NOW)
    with pytest.raises(BodyTooLargeError):
        idempotency.finish("k", 200, "x" * 500_000)


def test_what_a_throttled_partition_kept_is_asked_again_and_then_left():
    timer = timers.put(timers.Timer(timers.TimerKind.IDLE, "instance/acme/main/i-1", 1, NOW))
    table = TimerRow.Meta.table_name
    kept = [{"DeleteRequest": {"Key": {"due": {"S": timer.partition}, "timer": {"S": timer.sort}}}}]
    requests = answering("BatchWriteItem", {"UnprocessedItems": {table: kept}}, times=2)
    assert timers.delete([timer]) == 1
    assert len(requests) == 3
    requests = answering("BatchWriteItem", {"UnprocessedItems": {table: kept}})
    assert timers.delete([timer]) == 0
    assert len(requests) == 1 + connection.RETRIES


def test_a_projection_that_fails_for_another_reason_than_a_repetition_says_so():
    row = seed(make_instance())
    image = calls.get(instances.InstanceRow, "acme/main", row.instance_id, consistent=True)
    with Stubber(client()) as stub:
        stub.add_client_error("transact_write_items", service_error_code="ThrottlingException")
        with pytest.raises(ThrottledError):
            projection.apply(None, image)


def test_a_write_that_failed_for_good_left_nothing_to_be_found_later():
    seen = seed(make_instance())
    with Stubber(client()) as stub:
        stub.add_response("put_item", {})
        stub.add_client_error("update_item", service_error_code="InternalServerError", http_status_code=500)
        with pytest.raises(UnavailableError):
            acquire(seen)
    assert instances.get("acme", "main", "i-1") == seen
    assert instances.touch(seen, now=later(minutes=1)).fence == seen.fence

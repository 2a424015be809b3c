"""The same request twice is one request."""

import pytest

from chalicelib.domain.errors import IdempotencyPendingError
from chalicelib.services.idempotency import Answer, Asked, once
from chalicelib.store import idempotency as store

PATH = "/projects/acme/pools/main/instances"


def names(api):
    return [each["name"] for each in api("GET", PATH).body["items"]]


def test_a_repeated_request_gets_the_first_answer_and_changes_nothing(api):
    first = api("POST", PATH, {}, idempotency_key="k1")
    again = api("POST", PATH, {}, idempotency_key="k1")
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    assert (again.status, again.text) == (first.status, first.text)
    assert names(api) == [first.body["name"]]


def test_without_a_key_every_request_counts(api, monkeypatch):
    monkeypatch.setattr(store, "begin", None)
    api("POST", PATH, {})
    api("POST", PATH, {})
    assert len(names(api)) == 2


def test_the_key_with_another_body_is_409(api):
    api("POST", PATH, {"name": "a"}, idempotency_key="k1")
    answer = api("POST", PATH, {"name": "b"}, idempotency_key="k1")
    assert (answer.status, answer.code, answer.body["retryable"]) == (409, "idempotency-mismatch", False)


def test_the_key_on_another_route_or_of_another_caller_is_another_key(api, token_for):
    from chalicelib.domain.model import Role

    api("POST", PATH, {"name": "a"}, idempotency_key="k1")
    assert api("POST", "/projects/acme/pools", {"name": "a"}, idempotency_key="k1").status == 201
    again = api("POST", PATH, {"name": "a"}, idempotency_key="k1", token=token_for(Role.MANAGER))
    assert again.code == "already-exists"


def test_a_final_refusal_is_answered_again(api):
    first = api("POST", PATH, {"max_price": 0.0001}, idempotency_key="k1")
    again = api("POST", PATH, {"max_price": 0.0001}, idempotency_key="k1")
    assert first.code == again.code == "no-offers"
    assert again.headers["idempotent-replay"] == "true"


def test_a_refusal_that_may_pass_is_tried_again(api, ready):
    body = {"holder": "me"}
    refused = api("POST", "/projects/acme/pools/main/leases", body, idempotency_key="k1")
    assert refused.code == "no-match"
    ready()
    assert api("POST", "/projects/acme/pools/main/leases", body, idempotency_key="k1").status == 201


def test_a_crash_is_not_stored_and_does_not_lock_the_key(api, monkeypatch):
    from chalicelib.services import instances

    def broken(*_, **__):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(instances, "add", broken)
        assert api("POST", PATH, {}, idempotency_key="k1").status == 500
    assert api("POST", PATH, {}, idempotency_key="k1").status == 202


def test_while_the_first_request_is_worked_on_the_second_is_told_to_wait(api, world):
    asked = Asked("token", "POST", "/x", "k1", b"{}")
    seen = []

    def work():
        with pytest.raises(IdempotencyPendingError) as pending:
            once(world.deps, asked, work)
        seen.append(pending.value)
        return Answer(200, "{}")

    assert once(world.deps, asked, work).replayed is False
    assert seen[0].retryable is True
    assert once(world.deps, asked, work).replayed is True


def test_a_process_that_dies_in_the_middle_locks_the_key_for_half_a_minute_only(world):
    asked = Asked("token", "POST", "/x", "k1", b"{}")
    store.begin(asked.identity, asked.body_hash, world.clock)
    world.pass_time(36)
    assert once(world.deps, asked, lambda: Answer(200, "done")).body == "done"


def test_an_answer_that_cannot_be_stored_is_still_given(world, monkeypatch):
    from chalicelib.domain.errors import UnavailableError

    def failing(*_):
        raise UnavailableError("no table today")

    monkeypatch.setattr(store, "finish", failing)
    asked = Asked("token", "POST", "/x", "k1", b"{}")
    assert once(world.deps, asked, lambda: Answer(200, "done")).body == "done"


@pytest.mark.parametrize("key", ["x" * 129, "two words", "ü"])
def test_a_key_that_is_none_is_422(api, key):
    answer = api("POST", PATH, {}, idempotency_key=key)
    assert (answer.status, answer.body["field"]) == (422, "Idempotency-Key")


def test_a_replayed_token_is_not_shown_again_and_never_stored(api, database):
    body = {"name": "ci", "role": "user"}
    first = api("POST", "/projects/acme/tokens", body, idempotency_key="k1")
    again = api("POST", "/projects/acme/tokens", body, idempotency_key="k1")
    assert again.body == {**first.body, "token": None}
    stored = str(database.scan(TableName="tidepool-test-idempotency")["Items"])
    assert first.body["token_id"] in stored
    assert first.body["token"].rpartition(".")[2] not in stored


def test_what_is_one_thing_however_often_it_is_asked_needs_no_row(api, ready, database):
    ready()
    lease = api("POST", "/projects/acme/pools/main/leases", {"holder": "me"}).body
    path = f"/projects/acme/leases/{lease['lease_id']}"
    api("POST", f"{path}/heartbeat", {}, idempotency_key="k1")
    api("DELETE", path, idempotency_key="k2")
    assert database.scan(TableName="tidepool-test-idempotency")["Items"] == []

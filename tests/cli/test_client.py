"""The SDK's one way to call: retries, keys, errors, pages."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import tidepool
from tests.cli.builders import make_instance, make_pool, make_run
from tests.cli.stub import TOKEN, Problem, Stub
from tidepool.client import Client
from tidepool.failure import sentences


def test_a_lost_answer_is_asked_for_again_under_the_same_key_and_happens_once(stub, client):
    stub.faults = ["lost-answer"]
    client.pools.create("gpu")
    sent = stub.seen("POST", "/pools")
    assert [pool["name"] for pool in stub.pools] == ["default-pool", "gpu"]
    assert len(sent) == 2
    assert len({one.headers["idempotency-key"] for one in sent}) == 1


def test_two_calls_have_two_keys(stub, client):
    client.pools.create("a")
    client.pools.create("b")
    assert len({one.headers["idempotency-key"] for one in stub.seen("POST", "/pools")}) == 2


@pytest.mark.parametrize("fault", ["drop", "500", "502", "503", "504", "429", "cut"])
def test_a_passing_failure_is_tried_again(stub, client, fault):
    stub.faults = [fault, fault]
    assert [pool["name"] for pool in client.pools.list()] == ["default-pool"]
    assert len(stub.requests) == 3


def test_a_failure_that_stays_is_given_up_after_five_tries(stub, client):
    stub.faults = ["503"] * 9
    with pytest.raises(tidepool.UnavailableError):
        client.pools.list()
    assert len(stub.requests) == 5


def test_waits_grow_and_vary(stub):
    waits: list[float] = []
    stub.faults = ["drop"] * 9
    with Client(stub.url, TOKEN, sleep=waits.append, environ={}) as client, pytest.raises(tidepool.ConnectionLostError):
        client.me()
    assert [0.1 * 2**n <= wait <= 0.2 * 2**n for n, wait in enumerate(waits)] == [True] * 4


@pytest.mark.parametrize(
    ("status", "code", "error", "exit_code"),
    [
        (401, "unauthenticated", tidepool.AuthError, 3),
        (403, "forbidden", tidepool.AuthError, 3),
        (404, "not-found", tidepool.NotFoundError, 4),
        (409, "already-exists", tidepool.ConflictError, 5),
        (409, "busy", tidepool.BusyError, 5),
        (409, "lease-lost", tidepool.LeaseLost, 5),
        (409, "no-match", tidepool.NoMatchError, 6),
        (413, "body-too-large", tidepool.InputError, 2),
        (422, "invalid-input", tidepool.InputError, 2),
        (422, "no-offers", tidepool.NoOffersError, 7),
        (503, "provisioning-failed", tidepool.ProvisioningFailedError, 7),
        (503, "unavailable", tidepool.UnavailableError, 8),
        (500, "internal", tidepool.TidepoolError, 1),
        (418, "", tidepool.TidepoolError, 1),
    ],
)
def test_a_problem_becomes_an_error_that_carries_it(stub, client, status, code, error, exit_code):
    stub.refusals[("GET", "pools")] = Problem(status, code, "because", field="x")
    with pytest.raises(error) as caught:
        client.pools.list()
    assert (caught.value.status, caught.value.detail, caught.value.exit_code) == (status, "because", exit_code)
    assert caught.value.context == {"field": "x"}
    assert len(stub.requests) == 1


def test_a_request_that_is_still_being_worked_on_is_waited_for_as_long_as_its_key_is_kept(stub):
    waits: list[float] = []

    def ready(_: object) -> None:
        if sum(waits) > 35:
            stub.refusals.clear()

    stub.refusals[("POST", "pools")] = Problem(409, "idempotency-pending", retryable=True)
    stub.on_request = ready
    with Client(stub.url, TOKEN, sleep=waits.append, environ={}) as client:
        assert client.pools.create("gpu")["name"] == "gpu"
    assert max(waits) <= 5


def test_a_request_that_is_worked_on_for_ever_is_given_up(stub):
    waits: list[float] = []
    stub.refusals[("POST", "pools")] = Problem(409, "idempotency-pending", retryable=True)
    with (
        Client(stub.url, TOKEN, sleep=waits.append, environ={}) as client,
        pytest.raises(tidepool.ConflictError) as given_up,
    ):
        client.pools.create("gpu")
    assert given_up.value.code == "idempotency-pending"
    assert 40 <= sum(waits) <= 70


def test_no_match_is_an_answer_not_a_passing_failure(stub, client):
    stub.refusals[("POST", "runs")] = Problem(409, "no-match", retryable=True)
    with pytest.raises(tidepool.NoMatchError):
        client.runs.submit({"argv": ["true"]})
    assert len(stub.requests) == 1


def test_retry_after_is_heeded_within_bounds(stub, client, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(client, "sleep", waits.append)
    stub.refusals[("GET", "pools")] = Problem(429, "throttled", retryable=True)
    with pytest.raises(tidepool.UnavailableError):
        client.pools.list()
    assert len(waits) == 4


def test_lists_are_followed_to_their_end(stub, client):
    stub.page = 3
    stub.instances = [make_instance(name=f"i{n}") for n in range(8)]
    assert [row["name"] for row in client.instances.list("default-pool")] == [f"i{n}" for n in range(8)]
    assert len(stub.seen("GET", "/instances")) == 3


def test_the_base_url_may_already_name_the_version(stub):
    with Client(stub.url + "/v1/", TOKEN, environ={}) as client:
        assert client.me()["name"] == "ann"


def test_an_answer_that_is_not_json_asks_whether_the_url_is_right(stub, client, monkeypatch):
    monkeypatch.setattr(Stub, "serve", lambda *_: (200, b"<html>"))
    with pytest.raises(tidepool.TidepoolError, match="not JSON; is the URL"):
        client.me()


def test_an_address_without_an_api_is_told_as_that(stub, client):
    stub.faults = ["404"]
    with pytest.raises(tidepool.TidepoolError, match="no tidepool API is at this URL") as caught:
        client.pools.list()
    assert (caught.value.code, caught.value.exit_code) == ("bad-answer", 1)
    assert list(sentences(caught.value))[1] == "  `tidepool config` shows which control plane is meant"


def test_a_redirect_is_named_and_not_followed(stub, client, monkeypatch):
    monkeypatch.setattr(Stub, "serve", lambda *_: (301, {}))
    with pytest.raises(tidepool.TidepoolError, match="redirect"):
        client.me()


def test_names_cannot_leave_their_place_in_the_path(stub, client):
    with pytest.raises(tidepool.NotFoundError):
        client.pools.get("../../v1/me")
    assert "/pools/../../v1/me" in stub.requests[0].path


def test_the_default_pool_is_made_on_first_use(stub, client):
    stub.pools = []
    assert client.pools.resolve() == "default-pool"
    assert client.pools.resolve() == "default-pool"
    assert len(stub.seen("POST", "/pools")) == 1


def test_a_pool_made_by_somebody_else_in_between_will_do(stub, client):
    stub.pools = []
    stub.refusals[("POST", "pools")] = Problem(409, "already-exists")
    assert client.pools.resolve() == "default-pool"


def test_logs_can_be_followed_as_an_iterator(stub, client):
    stub.runs = [make_run()]
    stub.log_steps = [{"log": b"a\n"}, {}, {"log": b"\xff\x00"}, {"state": "done", "exit_code": 0}]
    assert b"".join(client.runs.logs("brave-otter-42", follow=True)) == b"a\n\xff\x00"


def test_a_client_may_be_shared_between_threads(stub, client):
    stub.pools = [make_pool(name=f"p{n}") for n in range(50)]

    def work(_: int) -> list[int]:
        return [len(client.pools.list()) for _ in range(10)]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [[50] * 10] * 8
    assert stub.connections <= 8

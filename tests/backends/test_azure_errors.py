"""What Azure's refusals, and the exceptions of its SDK, are raised as."""

import json
from collections.abc import Iterator

import pytest
from azure.core import exceptions as sdk
from azure.core.rest import HttpRequest

from chalicelib.backends.azure.client import CompleteResponse, answers, translated
from chalicelib.backends.azure.errors import CODES, failure, refusal
from chalicelib.backends.http import RawAnswer
from chalicelib.domain import errors

NEVER_SENT = {sdk.ServiceRequestError, sdk.ServiceRequestTimeoutError}
ODD = errors.UnknownOutcomeError


def response(status: int, body: object, **headers: str) -> CompleteResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CompleteResponse(HttpRequest("PUT", "http://azure/vm"), RawAnswer(status, "Conflict", headers, content))


def refused(status: int, code: str, message: str = "words", **headers: str) -> errors.BackendError:
    answer = response(status, {"error": {"code": code, "message": message}}, **headers)
    return translated(sdk.ResourceExistsError(response=answer), ODD)


def sdk_errors(kind: type[Exception] = sdk.AzureError) -> Iterator[type[Exception]]:
    yield kind
    for each in kind.__subclasses__():
        yield from sdk_errors(each)


@pytest.mark.parametrize("kind", sorted(set(sdk_errors()), key=lambda kind: kind.__name__))
def test_every_exception_of_the_sdk_is_mapped(kind):
    """Also those of a newer SDK: the classes are those that it has."""
    error = kind.__new__(kind)
    sdk.AzureError.__init__(error, "words")
    error.response = None
    expected = errors.TransientError if kind in NEVER_SENT else ODD
    assert type(translated(error, ODD)) is expected


@pytest.mark.parametrize(
    "fault", [ValueError("x"), KeyError("x"), sdk.DeserializationError("x"), sdk.SerializationError("x"), TypeError()]
)
def test_an_answer_that_cannot_be_read_leaves_a_launch_open(fault):
    with pytest.raises(ODD, match="not understood"), answers(ODD):
        raise fault


def test_our_own_errors_pass_as_they_are():
    with pytest.raises(errors.BackendAuthError), answers(ODD):
        raise errors.BackendAuthError("the login says no")


@pytest.mark.parametrize(("code", "kind"), CODES.items())
def test_each_code_is_raised_as_its_class(code, kind):
    error = refused(409, code)
    assert type(error) is kind
    assert error.context["provider_code"] == code


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (409, "OperationNotAllowed", "exceeding approved standardNCFamily Cores quota", errors.QuotaError),
        (409, "OperationNotAllowed", "the machine is marked for deletion", ODD),
        (429, "OperationNotAllowed", "quota of calls", errors.BackendThrottledError),
        (429, "", "slow down", errors.BackendThrottledError),
        (400, "Conflict", "cannot boot Hypervisor Generation '1'", errors.InvalidRequestError),
        (401, "", "who are you", errors.BackendAuthError),
        (409, "Conflict", "something else", ODD),
        (500, "InternalServerError", "it may have worked", ODD),
        (404, "SubscriptionNotFound", "no", errors.BackendAuthError),
    ],
)
def test_where_the_code_alone_does_not_say(status, code, message, kind):
    assert type(refused(status, code, message)) is kind


@pytest.mark.parametrize(("header", "seconds"), [("17", 17), ("soon", None), ("-1", None), ("٣", None)])
def test_how_long_to_wait_is_taken_from_the_header_where_it_is_a_number(header, seconds):
    error = refusal(429, "TooManyRequests", "slow", header, otherwise=ODD)
    assert error.context.get("retry_after_s") == seconds


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"error": "text"}', b'{"error": {"code": null}}', b"\xff"])
def test_an_answer_outside_of_the_format_is_odd(body):
    assert type(translated(sdk.HttpResponseError(response=response(500, body)), ODD)) is ODD


@pytest.mark.parametrize(
    ("code", "kind"),
    [("AllocationFailed", "no_capacity"), ("ZonalAllocationFailed", "no_capacity"), ("SomethingNew", "unknown")],
)
def test_a_failure_after_the_launch_has_the_same_classes(code, kind):
    assert failure(code, "words") == kind

"""The driver of Azure against an Azure that answers what it should not."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from chalicelib.backends.azure.config import parse
from chalicelib.backends.azure.driver import CAPABILITIES, AzureBackend
from chalicelib.backends.base import Account, LaunchSpec, Phase
from chalicelib.domain import errors
from chalicelib.domain.model import Offer, Resources
from tests.fakes.azure.server import CONFIG, GROUP_ID, SECRET

OFFER = Offer("azure", "westus3", "Standard_B2as_v2", Resources(2, 8192, 131072), spot=False, price=75_200)
SPEC = LaunchSpec("attempt-1", "owner", OFFER, "#!/bin/sh\ntrue\n")
REF = f"{GROUP_ID}/providers/Microsoft.Compute/virtualMachines/attempt-1"
TOKEN = (200, {"access_token": "t", "expires_in": 3599})
VM = {
    "name": "attempt-1",
    "tags": {"tidepool-attempt": "attempt-1", "tidepool-owner": "owner"},
    "properties": {"provisioningState": "Succeeded", "timeCreated": "2026-11-21T10:00:00.1234567+00:00"},
}
ODD_BODIES = [
    None,
    [],
    "yes",
    {},
    {"properties": {}},
    {**VM, "properties": {**VM["properties"], "timeCreated": "noon"}},
]
THERE = (412, {"error": {"code": "PreconditionFailed", "message": "it exists"}})


class Scripted(HTTPServer):
    """Logs everybody in, and gives the answers it was told to give, in order: pairs of a status and a body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.login = TOKEN
        self.logins = 0
        self.answers: list[tuple[int, object]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        self._answer(*self.server.answers.pop(0))

    do_PUT = do_DELETE = do_GET  # noqa: N815 - the names are http.server's

    def do_POST(self) -> None:
        self.server.logins += 1
        self._answer(*self.server.login)

    def _answer(self, status: int, body: object) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_args: object) -> None: ...


@pytest.fixture
def provider() -> Iterator[Scripted]:
    server = Scripted()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def backend(provider: Scripted) -> AzureBackend:
    config, credentials = parse(CONFIG, {"client_secret": SECRET})
    return AzureBackend(
        Account("main", "azure", "azure", config, credentials),
        owner="owner",
        endpoint_url=f"http://127.0.0.1:{provider.server_port}",
        capabilities=replace(CAPABILITIES, call_timeout=timedelta(seconds=5)),
    )


@pytest.mark.parametrize("body", ODD_BODIES)
def test_a_launch_whose_machine_cannot_be_read_has_an_unknown_outcome(provider, backend, body):
    provider.answers = [(201, body)]
    with pytest.raises(errors.UnknownOutcomeError):
        backend.launch(SPEC)


@pytest.mark.parametrize("status", [202, 302, 404, 409, 418, 500, 502, 504])
def test_a_launch_answered_with_what_no_document_names_has_an_unknown_outcome(provider, backend, status):
    provider.answers = [(status, {"error": "hm"})]
    with pytest.raises(errors.UnknownOutcomeError):
        backend.launch(SPEC)


def test_a_machine_made_before_is_never_denied_because_the_look_up_fails(provider, backend):
    provider.answers = [THERE, (429, {"error": {"code": "TooManyRequests", "message": "slow down"}})]
    with pytest.raises(errors.UnknownOutcomeError, match="was made before"):
        backend.launch(SPEC)


def test_a_machine_that_went_between_the_launch_and_the_look_up_leaves_the_outcome_open(provider, backend):
    provider.answers = [THERE, (404, {"error": {"code": "ResourceNotFound", "message": "gone"}})]
    with pytest.raises(errors.UnknownOutcomeError, match="cannot be found"):
        backend.launch(SPEC)


def test_a_taken_name_leads_to_the_machine_that_has_it(provider, backend):
    provider.answers = [THERE, (200, VM)]
    assert backend.launch(SPEC).ref == REF


def test_the_machine_of_another_attempt_under_this_name_is_not_found(provider, backend):
    provider.answers = [(200, {**VM, "tags": {**VM["tags"], "tidepool-attempt": "attempt-2"}})]
    assert backend.find("attempt-1", "owner") is None


@pytest.mark.parametrize("body", ODD_BODIES)
def test_a_reading_that_makes_no_sense_is_transient(provider, backend, body):
    mine = {**body, "name": "attempt-1", "tags": VM["tags"]} if isinstance(body, dict) else body
    provider.answers = [(200, mine), (200, {"value": [mine]}), (200, mine)]
    for read in (
        lambda: backend.describe(REF),
        lambda: list(backend.owned("owner")),
        lambda: backend.find("attempt-1", "owner"),
    ):
        with pytest.raises(errors.TransientError):
            read()


@pytest.mark.parametrize("body", [None, [], {}, "yes", {"name": "another"}])
def test_an_attempt_is_not_believed_to_have_made_nothing_on_an_answer_that_makes_no_sense(provider, backend, body):
    provider.answers = [(200, body)]
    with pytest.raises(errors.TransientError):
        backend.find("attempt-1", "owner")


@pytest.mark.parametrize("body", ["not here", {"error": {"code": "InvalidResourceType", "message": "?"}}])
def test_a_404_that_does_not_name_the_machine_does_not_make_it_gone(provider, backend, body):
    """A proxy in between may answer 404 for a machine that runs: believing it would leave the machine behind."""
    provider.answers = [(404, body), (404, body)]
    for call in (backend.describe, backend.terminate):
        with pytest.raises(errors.TransientError):
            call(REF)


def test_a_machine_whose_group_is_gone_is_gone(provider, backend):
    provider.answers = [(404, {"error": {"code": "ResourceGroupNotFound", "message": "no group"}})]
    assert backend.describe(REF).phase is Phase.GONE


def test_a_token_that_is_refused_twice_is_an_auth_error_and_no_more_is_asked(provider, backend):
    refused = (401, {"error": {"code": "InvalidAuthenticationToken", "message": "no"}})
    provider.answers = [refused, refused]
    with pytest.raises(errors.BackendAuthError):
        backend.launch(SPEC)
    assert provider.logins == 2
    assert provider.answers == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((401, {"error": "invalid_client", "error_description": "AADSTS7000222: expired"}), errors.BackendAuthError),
        ((429, {"error": "slow_down"}), errors.BackendThrottledError),
        ((500, {"error": "server_error"}), errors.TransientError),
        ((404, "not here"), errors.TransientError),
        ((200, {"expires_in": 3599}), errors.TransientError),
        ((200, None), errors.TransientError),
    ],
)
def test_a_launch_that_never_got_a_token_made_nothing_and_says_why(provider, backend, answer, kind):
    provider.login = answer
    with pytest.raises(errors.BackendError) as caught:
        backend.launch(SPEC)
    assert type(caught.value) is kind


def test_a_token_of_unknown_duration_is_used_once(provider, backend):
    provider.login = (200, {"access_token": "t", "expires_in": "soon"})
    provider.answers = [(200, VM), (200, VM)]
    for _ in range(2):
        assert backend.describe(REF).phase is Phase.RUNNING
    assert provider.logins == 2

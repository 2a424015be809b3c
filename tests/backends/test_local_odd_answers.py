"""The driver of the local cloud against a provider that answers what it should not."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from chalicelib.backends.base import LaunchSpec
from chalicelib.backends.local import LocalBackend
from chalicelib.domain import errors
from chalicelib.domain.model import Offer, Resources

OFFER = Offer("local", "local-north", "cpu-small", Resources(2, 4096, 40960), spot=False, price=21_000)
SPEC = LaunchSpec("attempt-1", "tidepool-test", OFFER, "true")
MACHINE = {
    "id": "m-1",
    "phase": "running",
    "tags": {"tidepool-attempt": "attempt-1", "tidepool-owner": "tidepool-test"},
    "launched_at": "2026-11-21T10:00:00.000Z",
    "address": "127.0.0.1",
    "interrupted_at": None,
}
TAKEN = (409, {"error": {"code": "name-taken", "message": "it lives"}})
ODD_BODIES = [None, [], "yes", {"id": "m-1"}, {**MACHINE, "phase": "haunted"}, {**MACHINE, "launched_at": "noon"}]


class Scripted(HTTPServer):
    """Gives the answers it was told to give, in order: pairs of a status and a body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, object]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = self.server.answers.pop(0)
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
def backend(provider: Scripted) -> LocalBackend:
    return LocalBackend(f"http://127.0.0.1:{provider.server_port}", "k")


@pytest.mark.parametrize("body", ODD_BODIES)
def test_a_launch_whose_machine_cannot_be_read_has_an_unknown_outcome(provider, backend, body):
    provider.answers = [(201, body)]
    with pytest.raises(errors.UnknownOutcomeError):
        backend.launch(SPEC)


@pytest.mark.parametrize("status", [200, 302, 404, 409, 418, 500, 502])
def test_a_launch_answered_with_what_no_document_names_has_an_unknown_outcome(provider, backend, status):
    provider.answers = [(status, {"error": "hm"})]
    with pytest.raises(errors.UnknownOutcomeError):
        backend.launch(SPEC)


def test_a_machine_made_before_is_never_denied_because_the_look_up_fails(provider, backend):
    """409 says that the machine exists; a throttled look-up after it must not read as "nothing was made"."""
    provider.answers = [TAKEN, (429, {"error": {"code": "throttled", "message": "slow down"}})]
    with pytest.raises(errors.UnknownOutcomeError, match="was made before"):
        backend.launch(SPEC)


def test_a_taken_name_leads_to_the_machine_that_has_it(provider, backend):
    provider.answers = [TAKEN, (200, {"machines": [MACHINE]})]
    assert backend.launch(SPEC).ref == "m-1"


def test_a_machine_that_is_gone_in_the_list_is_no_machine(provider, backend):
    provider.answers = [(200, {"machines": [{**MACHINE, "phase": "gone"}]})] * 2
    assert list(backend.owned("tidepool-test")) == []
    assert backend.find("attempt-1", "tidepool-test") is None


@pytest.mark.parametrize("body", ODD_BODIES)
def test_a_reading_that_makes_no_sense_is_transient(provider, backend, body):
    provider.answers = [(200, body), (200, {"machines": [body]}), (200, {"types": [body]}), (200, body)]
    for read in (
        lambda: backend.describe("m-1"),
        lambda: list(backend.owned("tidepool-test")),
        backend.offers,
        lambda: backend.find("attempt-1", "tidepool-test"),
    ):
        with pytest.raises(errors.TransientError):
            read()


def test_a_404_in_another_format_does_not_make_a_machine_gone(provider, backend):
    """A proxy in between may answer 404 for a machine that runs: believing it would leave the machine behind."""
    provider.answers = [(404, "not here"), (404, "not here")]
    for call in (backend.describe, backend.terminate):
        with pytest.raises(errors.TransientError):
            call("m-1")

"""One call to a provider that behaves in the ways providers do."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from chalicelib.backends.http import Endpoint
from chalicelib.domain.errors import TransientError, UnknownOutcomeError
from tests.ports import free_port

LIMIT_S = 1.0
AMPLE_S = 60.0


@contextmanager
def provider(serve: Callable[[socket.socket], None], limit_s: float = AMPLE_S) -> Iterator[Endpoint]:
    """A server that takes one connection, reads the request and lets `serve` do the rest."""
    listener = socket.create_server(("127.0.0.1", 0))

    def take() -> None:
        connection, _ = listener.accept()
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(4096)
            try:
                serve(connection)
            except OSError:
                return  # the client hung up, as it should

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}", {"X-Key": "k"}, limit_s)
    finally:
        thread.join()
        listener.close()


def answering(text: str) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(text.encode())


def test_a_complete_answer_is_parsed_whatever_its_status():
    with provider(answering('HTTP/1.1 503 Busy\r\nContent-Length: 8\r\nX-A: b\r\n\r\n{"a": 1}')) as endpoint:
        answer = endpoint.call("GET", "/")
    assert (answer.status, answer.body, answer.text) == (503, {"a": 1}, '{"a": 1}')
    assert answer.headers["x-a"] == "b"


def test_an_answer_that_is_no_json_has_no_body():
    with provider(answering("HTTP/1.0 200 OK\r\n\r\n<html>")) as endpoint:
        answer = endpoint.call("GET", "/")
    assert (answer.status, answer.body, answer.text) == (200, None, "<html>")


def drip(connection: socket.socket) -> None:
    """Send a byte now and then: no single wait is long."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + b"x" * 9:
        connection.sendall(bytes([byte]))
        time.sleep(LIMIT_S / 4)


def silent(connection: socket.socket) -> None:
    """Say nothing until the client hangs up."""
    connection.recv(4096)


@pytest.mark.parametrize(
    "serve",
    [
        lambda _: None,
        answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"),
        answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{}"),
        answering("not HTTP at all\r\n\r\n"),
        silent,
        drip,
    ],
    ids=["closed at once", "cut", "cut in a chunk", "not HTTP", "silent", "dripping"],
)
def test_an_answer_that_does_not_arrive_leaves_the_outcome_unknown(serve):
    with provider(serve, LIMIT_S) as endpoint:
        began = time.monotonic()
        with pytest.raises(UnknownOutcomeError, match="gave no answer to POST /machines"):
            endpoint.call("POST", "/machines", {"a": 1})
        assert time.monotonic() - began < 8 * LIMIT_S


def test_a_connection_that_is_refused_did_nothing():
    with pytest.raises(TransientError, match="cannot be reached"):
        Endpoint(f"http://127.0.0.1:{free_port()}", {}, AMPLE_S).call("GET", "/")

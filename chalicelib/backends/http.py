"""One HTTP call to a provider: JSON in, JSON out, a new connection, one time limit over all of it.

Nothing is retried. What did not come to an answer is raised as the class that tells whether it may have been done.
"""

import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from io import BufferedReader, RawIOBase
from typing import Any, Final
from urllib.parse import urlsplit

from chalicelib.domain.errors import TransientError, UnknownOutcomeError

ANSWER_LIMIT: Final = 16 << 20
"""Bytes. A longer answer is not read to its end: it cannot be a provider's."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `body` is the parsed JSON, or None; `text` is its beginning, for error messages.

    The names of `headers` are in lower case.
    """

    status: int
    body: Any
    text: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A complete answer as it came. The names of `headers` are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider answers. `url` has no trailing slash; `headers` go with every call; `limit_s` is per call."""

    url: str
    headers: Mapping[str, str]
    limit_s: float

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Make one call.

        Raises `TransientError` when no connection came about, so nothing was done, and `UnknownOutcomeError` when one
        did and no complete answer came within the limit.
        """
        headers = {"Accept": "application/json", **self.headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        raw = exchange(method, self.url + path, headers, content, deadline=time.monotonic() + self.limit_s)
        return understood(raw)


def exchange(method: str, url: str, headers: Mapping[str, str], content: bytes | None, *, deadline: float) -> RawAnswer:
    """Send one request to an absolute URL and read its answer. `deadline` is a reading of `time.monotonic`.

    Raises what `Endpoint.call` raises.
    """
    parts = urlsplit(url)
    target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    dial = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    try:
        connection = dial(parts.netloc, timeout=_left(deadline))
        connection.connect()
    except OSError as error:
        raise TransientError(f"{parts.netloc} cannot be reached: {error}") from error
    try:
        connection.sock.settimeout(_left(deadline))
        connection.request(method, target, content, dict(headers))
        return _receive(connection, deadline, method)
    except (OSError, HTTPException) as error:
        words = str(error) or type(error).__name__
        raise UnknownOutcomeError(f"{parts.netloc} gave no answer to {method} {parts.path}: {words}") from error
    finally:
        connection.close()


def understood(raw: RawAnswer) -> Answer:
    """Read the JSON of an answer."""
    try:
        parsed = json.loads(raw.content) if raw.content else None
    except ValueError:
        parsed = None
    return Answer(raw.status, parsed, raw.content[:500].decode(errors="replace"), raw.headers)


def _receive(connection: HTTPConnection, deadline: float, method: str) -> RawAnswer:
    response = HTTPResponse(_Bounded(connection.sock, deadline), method=method)  # type: ignore[arg-type]
    response.begin()
    content = response.read(ANSWER_LIMIT + 1)
    if len(content) > ANSWER_LIMIT or (response.length or 0) > 0:
        raise HTTPException(f"the answer is longer than {ANSWER_LIMIT} bytes or was cut")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return RawAnswer(response.status, response.reason, headers, content)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time limit is over")
    return left


class _Bounded(RawIOBase):
    """The reading side of a socket, under one deadline: a socket's own limit starts anew with each byte."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, *_args: Any, **_options: Any) -> BufferedReader:
        """What `HTTPResponse` asks of its socket."""
        return BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)

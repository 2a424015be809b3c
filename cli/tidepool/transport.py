"""A small HTTP/1.1 client over a socket.

The standard library's own costs three times the start-up of this one (it parses headers with the mail package), and a
command line lives for one or two calls. Done here: keep-alive, bodies by length, chunked or until the end, a time
limit on each read and on the whole exchange, TLS with the system's trust store, proxies from the environment.
Not done, because the API needs none: redirects, compression, cookies.
"""

from __future__ import annotations

import socket
import time

from tidepool.address import Url
from tidepool.errors import BadAnswerError, ConnectionLostError, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Stream(Protocol):
        """What an upload is read from."""

        def read(self, size: int, /) -> bytes: ...
        def seek(self, offset: int, /) -> int: ...


CONNECT_S = 10.0
SILENCE_S = 30.0
"""Time limits of making a connection, and between two pieces of an answer (a Lambda behind a gateway may take 29 s)."""
MAX_LINE = 65_536
MAX_HEADERS = 200
MAX_BODY = 64 << 20
PIECE = 1 << 16


class Response:
    """An answer read to its end. Header names are lower case."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Connection:
    """One socket to one server. Not for two threads at once; closed as soon as an exchange does not end well."""

    def __init__(self, url: Url, proxy: Url | None = None) -> None:
        self._reader: Any = None
        via = proxy or url
        # As bytes an ASCII name is looked up as it is; as text it would load the tables of international names first.
        host: Any = via.host.encode() if via.host.isascii() else via.host
        self._socket = socket.create_connection((host, via.port), CONNECT_S)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy is not None and url.tls:
                self._tunnel(url)
            if url.tls:
                import ssl

                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=url.host)
        except BaseException:
            self._socket.close()
            raise
        self._reader = self._socket.makefile("rb")

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def exchange(self, head: str, body: bytes | Stream, deadline: float) -> tuple[Response, bool]:
        """Send one request and read its answer; tell whether the connection may be used again."""
        self._limit(deadline)
        if isinstance(body, bytes):
            self._socket.sendall(head.encode("latin-1") + body)
        else:
            self._socket.sendall(head.encode("latin-1"))
            while piece := body.read(PIECE):
                self._limit(deadline)
                self._socket.sendall(piece)
        status, version, headers = self._head(deadline)
        while 100 <= status < 200:
            status, version, headers = self._head(deadline)
        content, ends = self._body(status, headers, deadline)
        reusable = not ends and version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Response(status, headers, content), reusable

    def _tunnel(self, url: Url) -> None:
        target = f"{url.host}:{url.port}"
        self._socket.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("latin-1"))
        self._reader = self._socket.makefile("rb", buffering=0)
        status, _, _ = self._head(time.monotonic() + CONNECT_S)
        if status != 200:
            raise OSError(f"the proxy answered {status}")

    def _limit(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(min(left, SILENCE_S))

    def _line(self, deadline: float) -> str:
        self._limit(deadline)
        line: bytes = self._reader.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the connection was closed")
        return line.rstrip(b"\r\n").decode("latin-1")

    def _head(self, deadline: float) -> tuple[int, str, dict[str, str]]:
        version, _, rest = self._line(deadline).partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit() and len(code) == 3):
            raise BadAnswerError("the answer is not HTTP")
        headers: dict[str, str] = {}
        while line := self._line(deadline):
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
            if len(headers) > MAX_HEADERS:
                raise BadAnswerError("the answer has too many headers")
        return int(code), version, headers

    def _body(self, status: int, headers: Mapping[str, str], deadline: float) -> tuple[bytes, bool]:
        """Read the body; tell whether only the end of the connection told where it ends."""
        if status in (204, 304):
            return b"", False
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return b"".join(self._chunks(deadline)), False
        length = headers.get("content-length", "")
        if length:
            return b"".join(self._pieces(_size(length, 10), deadline)), False
        return b"".join(self._rest(deadline)), True

    def _pieces(self, size: int, deadline: float) -> list[bytes]:
        pieces = []
        while size > 0:
            self._limit(deadline)
            piece = self._reader.read1(min(size, PIECE * 4))
            if not piece:
                raise ConnectionResetError("the answer was cut short")
            pieces.append(piece)
            size -= len(piece)
        return pieces

    def _chunks(self, deadline: float) -> list[bytes]:
        pieces: list[bytes] = []
        total = 0
        while size := _size(self._line(deadline).partition(";")[0].strip(), 16):
            total += size
            if total > MAX_BODY:
                raise BadAnswerError("the answer is too large")
            pieces += self._pieces(size, deadline)
            self._line(deadline)
        while self._line(deadline):
            pass
        return pieces

    def _rest(self, deadline: float) -> list[bytes]:
        pieces: list[bytes] = []
        total = 0
        while True:
            self._limit(deadline)
            piece = self._reader.read1(PIECE * 4)
            total += len(piece)
            if total > MAX_BODY:
                raise BadAnswerError("the answer is too large")
            if not piece:
                return pieces
            pieces.append(piece)


def _size(text: str, base: int) -> int:
    try:
        size = int(text, base)
    except ValueError:
        raise BadAnswerError("the answer's length is no number") from None
    if not 0 <= size <= MAX_BODY:
        raise BadAnswerError("the answer is too large")
    return size


class Transport:
    """Exchanges with one server, over as few connections as possible. May be shared between threads.

    `proxy` is the URL of an HTTP proxy. A connection in use belongs to one call; idle ones wait in a list, whose
    `append` and `pop` are atomic.
    """

    def __init__(self, url: str, proxy: str = "") -> None:
        self.url = Url(url)
        self._proxy = Url(proxy) if proxy else None
        self._idle: list[Connection] = []

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | Stream = b"", *,
        size: int | None = None, within_s: float = 60.0,
    ) -> Response:  # fmt: skip
        """Send one request and answer what came back, whatever its status.

        `size` is the length of `body` when that is a stream. A kept connection that the server has closed in the
        meantime is replaced once. Raises `ConnectionLostError` when no complete answer came within `within_s`.
        """
        deadline = time.monotonic() + within_s
        head = self._request_head(method, target, headers, len(body) if isinstance(body, bytes) else size or 0)
        while True:
            kept = self._idle.pop() if self._idle else None
            try:
                return self._once(kept, head, body, deadline)
            except TimeoutError as error:
                raise ConnectionLostError(f"no answer from {self.url.authority} in time", retryable=True) from error
            except OSError as error:
                if kept is None:
                    raise ConnectionLostError(
                        f"cannot reach {self.url.authority}: {reason(error)}", retryable=True
                    ) from error
            if not isinstance(body, bytes):
                body.seek(0)

    def _once(self, kept: Connection | None, head: str, body: bytes | Stream, deadline: float) -> Response:
        connection = kept or Connection(self.url, self._proxy)
        try:
            response, reusable = connection.exchange(head, body, deadline)
        except BaseException:
            # Also an interrupt from the keyboard: the rest of the answer would be taken for the next one's.
            connection.close()
            raise
        if reusable:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def _request_head(self, method: str, target: str, headers: Mapping[str, str], size: int) -> str:
        absolute = self._proxy is not None and not self.url.tls
        lines = [f"{method} {f'http://{self.url.authority}' if absolute else ''}{target} HTTP/1.1"]
        lines.append(f"Host: {self.url.authority}")
        if size or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {size}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise InputError("a line break in an address or a header")
        return "\r\n".join(lines) + "\r\n\r\n"


def reason(error: OSError) -> str:
    """Say why a connection failed, without the interpreter's decoration."""
    text = error.strerror or str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in str(error):
        return "its certificate is not trusted here (SSL_CERT_FILE names other authorities)"
    return text

"""The HTTP client against servers that answer byte for byte what a test says."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.ports import free_port
from tidepool.address import Url, proxy_for, quote
from tidepool.errors import BadAnswerError, ConnectionLostError, InputError
from tidepool.transport import Transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Scripted:
    """Answers each request with the next bytes; `None` closes instead. Remembers how many connections came."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self.answers = answers
        self.connections = 0
        self.heads: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            self.heads.append(head)
            answer = self.answers.pop(0) if self.answers else None
            if answer is None:
                return
            connection.sendall(answer)
            if b"Content-Length" not in answer and b"chunked" not in answer and b" 204 " not in answer:
                return


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(*answers: bytes | None) -> Scripted:
        made.append(Scripted(list(answers)))
        return made[-1]

    yield make
    for server in made:
        server.listener.close()


def get(url: str, **options: float) -> tuple[int, bytes]:
    transport = Transport(url)
    try:
        response = transport.exchange("GET", "/x", {}, **options)
    finally:
        transport.close()
    return response.status, response.body


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=1\r\nde\r\n0\r\nTrailer: 1\r\n\r\n",
            b"abcde",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok", b"ok"),
    ],
)
def test_every_way_to_end_a_body_is_read(scripted, answer, body):
    assert get(scripted(answer).url)[1] == body


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, ConnectionLostError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ConnectionLostError),
        (b"SSH-2.0-OpenSSH_9.2\r\n", BadAnswerError),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", BadAnswerError),
        (
            b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1 + b"".join(b"H%d: x\r\n" % n for n in range(300)) + b"\r\n",
            BadAnswerError,
        ),
    ],
)
def test_an_answer_that_is_none_is_named_as_such(scripted, answer, error):
    with pytest.raises(error):
        get(scripted(answer).url)


def test_a_body_that_is_cut_short_is_a_lost_connection(stub):
    stub.faults = ["cut"]
    with pytest.raises(ConnectionLostError, match="cut short"):
        get(stub.url)


def test_calls_after_each_other_share_a_connection(scripted):
    server = scripted(OK, OK, OK)
    transport = Transport(server.url)
    for _ in range(3):
        assert transport.exchange("GET", "/", {}).status == 200
    transport.close()
    assert server.connections == 1


def test_a_kept_connection_that_the_server_closed_is_replaced(scripted):
    server = scripted(OK, None, OK)
    transport = Transport(server.url)
    assert transport.exchange("GET", "/", {}).status == 200
    assert transport.exchange("GET", "/", {}).status == 200
    transport.close()
    assert server.connections == 2


def test_a_server_that_asks_to_close_is_obeyed(scripted):
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    server = scripted(answer, answer)
    transport = Transport(server.url)
    transport.exchange("GET", "/", {})
    transport.exchange("GET", "/", {})
    transport.close()
    assert server.connections == 2


def test_a_server_that_drips_does_not_hold_the_caller_beyond_the_limit():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                    while True:
                        connection.sendall(b"x")
                        time.sleep(0.02)
                except OSError:
                    return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        started = time.monotonic()
        with pytest.raises(ConnectionLostError, match="in time"):
            get(f"http://127.0.0.1:{listener.getsockname()[1]}", within_s=0.2)
        assert time.monotonic() - started < 10  # the whole answer takes 20
        thread.join(60)


def test_nobody_listening_says_so():
    port = free_port()
    with pytest.raises(ConnectionLostError, match=f"cannot reach 127.0.0.1:{port}: Connection refused"):
        get(f"http://127.0.0.1:{port}")


def test_a_header_with_a_line_break_never_leaves(scripted):
    with pytest.raises(InputError, match="line break"):
        Transport("http://127.0.0.1:1").exchange("GET", "/", {"Authorization": "Bearer a\r\nX: y"})


def test_a_plain_call_through_a_proxy_names_the_whole_address(scripted):
    proxy = scripted(OK)
    transport = Transport("http://api.example.com/live", proxy.url)
    assert transport.exchange("GET", "/live/v1/me", {}).body == b"ok"
    transport.close()
    assert proxy.heads[0].startswith(b"GET http://api.example.com/live/v1/me HTTP/1.1\r\nHost: api.example.com\r\n")


def test_a_proxy_that_refuses_a_tunnel_is_named(scripted):
    proxy = scripted(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(ConnectionLostError, match="the proxy answered 407"):
        Transport("https://api.example.com", proxy.url).exchange("GET", "/", {})
    assert proxy.heads[0].startswith(b"CONNECT api.example.com:443 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("http://127.0.0.1:4566/restapis/x", (False, "127.0.0.1", 4566, "/restapis/x")),
        ("HTTPS://api.example.com", (True, "api.example.com", 443, "/")),
        ("https://api.example.com/a?b=c#d", (True, "api.example.com", 443, "/a?b=c")),
        ("https://api.example.com?b=/c", (True, "api.example.com", 443, "/?b=/c")),
        ("http://[::1]:80/x", (False, "::1", 80, "/x")),
        ("http://[::1]/x", (False, "::1", 80, "/x")),
        ("http://user:pass@host:8080", (False, "host", 8080, "/")),
    ],
)
def test_a_url_is_taken_apart(text, parts):
    url = Url(text)
    assert (url.tls, url.host, url.port, url.target) == parts


@pytest.mark.parametrize("text", ["", "host", "ftp://host", "http://", "http://host:x", "http:// host", "http://a\nb"])
def test_what_is_no_url_is_refused(text):
    with pytest.raises(InputError, match="not an http"):
        Url(text)


def test_quoting_leaves_unreserved_characters_alone():
    assert quote("az-09._~") == "az-09._~"
    assert quote("a/b é?") == "a%2Fb%20%C3%A9%3F"


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://api.example.com", {}, ""),
        ("https://api.example.com", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.example.com", {"https_proxy": "p:1"}, "http://p:1"),
        ("http://api.example.com", {"http_proxy": "http://p:1"}, "http://p:1"),
        ("http://api.example.com", {"HTTP_PROXY": "http://p:1"}, ""),
        ("https://127.0.0.1", {"HTTPS_PROXY": "http://p:1"}, ""),
        ("https://api.example.com", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x, .example.com"}, ""),
        ("https://api.example.com", {"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, ""),
        ("https://badexample.com", {"HTTPS_PROXY": "http://p:1", "no_proxy": "example.com"}, "http://p:1"),
    ],
)
def test_proxies_follow_the_usual_variables(url, environ, proxy):
    assert proxy_for(url, environ) == proxy

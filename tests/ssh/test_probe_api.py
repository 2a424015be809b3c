"""How a host's probe calls the API: as the agent will, by the same Python, and over the same way."""

import datetime
import http.server
import ipaddress
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from chalicelib.ssh import probe


class Api(http.server.BaseHTTPRequestHandler):
    """An API; below `/portal` something else, that sends to a page of its own."""

    def do_GET(self) -> None:
        self.send_response(302 if self.path.startswith("/portal") else 200)
        self.send_header("Location", "/sign-in")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.handle_error = lambda *_: None  # a client that does not trust us goes away
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed but itself, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api")])
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), 1, now - datetime.timedelta(1), now + datetime.timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "api.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *form)
    )
    return path


def called(url: str, *, python: str = sys.executable, **environ: str) -> list[list[str]]:
    """What the part of the probe says that calls the API."""
    functions = probe.script(url).removesuffix("main </dev/null\n")
    text = f"{functions}timeout_style=gnu\npython={python}\napi\n"
    env = {"PATH": os.environ["PATH"], **environ}
    done = subprocess.run(["sh", "-s"], input=text, capture_output=True, text=True, timeout=60, check=True, env=env)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_https_is_tried_by_the_python_that_the_agent_will_run_on(certificate):
    with serving(certificate) as port:
        said = called(f"https://127.0.0.1:{port}", SSL_CERT_FILE=str(certificate))
        assert ["api_tool", "python3"] in said
        assert ["api", "200"] in said
        refused = called(f"https://127.0.0.1:{port}")
    assert ["api.exit", "1"] in refused
    assert "certificate verify failed" in refused[-2][1]


def test_a_page_that_leads_elsewhere_is_not_followed_as_the_agent_does_not(certificate):
    with serving(certificate) as port:
        assert ["api", "302"] in called(f"https://127.0.0.1:{port}/portal", SSL_CERT_FILE=str(certificate))


def test_a_proxy_is_named_and_not_gone_through():
    with serving() as port:
        said = called(f"http://127.0.0.1:{port}", http_proxy="http://127.0.0.1:9", HTTPS_PROXY="http://127.0.0.1:9")
    assert [each for key, each in said if key == "proxy"] == ["http_proxy", "HTTPS_PROXY"]
    assert ["api", "200"] in said


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_an_address_needs_no_name_server(host):
    assert ["dns", "0"] in called(f"http://{host}:9")

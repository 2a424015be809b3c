"""HTTPS, with a certificate of our own making."""

import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from tests.cli.conftest import CLI

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return folder


@pytest.fixture
def server(certificate):
    """Answer one request over TLS; a client that connects and goes away is fine. Speaks CONNECT first when asked to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                plain, _ = listener.accept()
                if plain.recv(7, socket.MSG_PEEK) == b"CONNECT":
                    plain.recv(65536)
                    plain.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(OK)
            except OSError:
                plain.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(60)


ASK = """
import sys
from tidepool.transport import Transport
transport = Transport(sys.argv[1], *sys.argv[2:])
try:
    print(transport.exchange("GET", "/", {}).body.decode())
except Exception as error:
    print(type(error).__name__, error)
transport.close()
"""


def ask(*words, trusted=""):
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(CLI),
        **({"SSL_CERT_FILE": str(trusted)} if trusted else {}),
    }
    command = [sys.executable, "-W", "error", "-c", ASK, *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_a_trusted_server_is_spoken_to(server, certificate):
    assert ask(f"https://127.0.0.1:{server}", trusted=certificate / "cert.pem") == "{}"


def test_an_untrusted_server_is_refused_with_a_way_out(server):
    told = ask(f"https://127.0.0.1:{server}")
    assert told.startswith(f"ConnectionLostError cannot reach 127.0.0.1:{server}: its certificate is not trusted here")
    assert "SSL_CERT_FILE" in told


def test_a_proxy_is_tunnelled_through(server, certificate):
    """The proxy of this test is the server itself: the certificate is checked against the address asked for."""
    asked = "https://127.0.0.1:1"
    assert ask(asked, f"http://127.0.0.1:{server}", trusted=certificate / "cert.pem") == "{}"

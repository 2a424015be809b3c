"""Private keys as people have them, and the reasons why some are of no use."""

import base64
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from chalicelib.ssh.errors import KeyRefusedError
from chalicelib.ssh.keys import Reason, read_private_key
from tests.ssh.server import private_key

OPENSSH, PEM, PKCS8 = PrivateFormat.OpenSSH, PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8
KINDS = ("ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-2048")
FORMS = [(kind, form) for kind in KINDS for form in (OPENSSH, PEM, PKCS8) if (kind, form) != ("ed25519", PEM)]


@pytest.mark.parametrize("passphrase", ["", "correct horse"])
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_every_type_is_read_in_every_form_it_is_written_in(kind, form, passphrase):
    key = read_private_key(private_key(kind, passphrase, form), passphrase)
    assert key.kind == kind.partition("-")[0]
    assert key.bits == int(kind.partition("-")[2] or 256)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-256", "rsa-2048"])
def test_fingerprint_and_public_half_are_those_of_openssh(kind, tmp_path):
    path = tmp_path / "key"
    path.write_text(private_key(kind))
    path.chmod(0o600)
    key = read_private_key(path.read_text())
    public = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True, timeout=60)
    assert key.public.split() == public.stdout.split()[:2]
    listed = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True, timeout=60)
    assert listed.stdout.split()[:2] == [str(key.bits), key.fingerprint]


@pytest.mark.parametrize("mangle", [lambda text: text.replace("\n", "\r\n"), str.strip, lambda text: f"\n  {text}\n"])
def test_what_an_editor_did_to_the_file_does_not_matter(mangle):
    text = private_key("ed25519")
    assert read_private_key(mangle(text)).fingerprint == read_private_key(text).fingerprint


def test_a_passphrase_that_is_not_needed_is_ignored():
    assert read_private_key(private_key("ed25519"), "needless").kind == "ed25519"
    assert read_private_key(private_key("rsa-2048", form=PEM), "needless").kind == "rsa"


@pytest.mark.parametrize("form", [OPENSSH, PEM, PKCS8])
def test_a_missing_and_a_wrong_passphrase_are_told_apart(form):
    text = private_key("ecdsa-256", "correct horse", form)
    assert reason_of(text) == Reason.PASSPHRASE_MISSING
    assert reason_of(text, "wrong") == Reason.PASSPHRASE_WRONG


def dsa_key() -> str:
    return dsa.generate_private_key(1024).private_bytes(Encoding.PEM, PKCS8, NoEncryption()).decode()


def koblitz() -> str:
    return ec.generate_private_key(ec.SECP256K1()).private_bytes(Encoding.PEM, PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.NOT_A_KEY),
        ("hello", Reason.NOT_A_KEY),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", Reason.NOT_A_KEY),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", Reason.NOT_A_KEY),
        (private_key("ed25519")[:200], Reason.NOT_A_KEY),
        ("-----BEGIN" + "A" * 70_000, Reason.NOT_A_KEY),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBx me@here", Reason.PUBLIC_KEY),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", Reason.PUBLIC_KEY),
        (dsa_key(), Reason.UNSUPPORTED_TYPE),
        (koblitz(), Reason.UNSUPPORTED_TYPE),
        (private_key("rsa-1024"), Reason.TOO_SHORT),
    ],
)
def test_a_key_of_no_use_is_refused_with_its_reason(text, reason):
    assert reason_of(text) == reason


def with_rounds(rounds: int) -> str:
    """A key in OpenSSH's format that says it was encrypted with so many rounds of bcrypt."""
    first, *body, last = private_key("ed25519", "correct horse").splitlines()
    outside = bytearray(base64.b64decode("".join(body)))
    at = outside.index(b"bcrypt") + len(b"bcrypt") + 4 + 4 + 16  # lengths of the options and the salt, and the salt
    outside[at : at + 4] = rounds.to_bytes(4, "big")
    return "\n".join([first, base64.b64encode(bytes(outside)).decode(), last])


def der(kind: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([kind, 0x81, len(content)]) + content


def pkcs8_with(function: str, *numbers: int) -> str:
    """A key in PKCS#8 whose passphrase is stretched by a function (its OID in hex) with these numbers."""
    counts = [der(2, number.to_bytes(5, "big")) for number in numbers]
    stretch = der(0x30, der(6, bytes.fromhex(function)), der(0x30, der(4, b"salt" * 4), *counts))
    cipher = der(0x30, der(6, bytes.fromhex("60864801650304012a")), der(4, b"iv" * 8))
    scheme = der(0x30, der(6, bytes.fromhex("2a864886f70d01050d")), der(0x30, stretch, cipher))
    body = base64.b64encode(der(0x30, scheme, der(4, b"x" * 32))).decode()
    return f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\n"


PBKDF2, SCRYPT = "2a864886f70d01050c", "2b06010401da47040b"


@pytest.mark.parametrize("preceded", ["", private_key("ecdsa-256", form=PEM)], ids=["alone", "second"])
@pytest.mark.parametrize(
    "text",
    [with_rounds(501), with_rounds(2_000_000), pkcs8_with(PBKDF2, 1 << 31), pkcs8_with(SCRYPT, 1 << 17, 1, 1 << 17)],
    ids=["bcrypt", "much-bcrypt", "pbkdf2", "scrypt"],
)
def test_a_key_that_asks_for_years_of_work_is_refused_before_it_is_opened(text, preceded):
    assert reason_of(preceded + text, "correct horse") == Reason.TOO_DEAR


def test_a_key_that_asks_for_the_usual_work_is_opened():
    assert reason_of(with_rounds(3), "correct horse") == Reason.PASSPHRASE_WRONG  # it was written with another number
    assert reason_of(pkcs8_with(PBKDF2, 10_000), "correct horse") == Reason.PASSPHRASE_WRONG
    assert reason_of(pkcs8_with(SCRYPT, 1 << 14, 8, 1), "correct horse") == Reason.PASSPHRASE_WRONG


def test_nothing_of_a_key_or_its_passphrase_is_in_an_error_or_a_representation():
    text = private_key("ed25519", "correct horse")
    with pytest.raises(KeyRefusedError) as caught:
        read_private_key(text, "wrong horse")
    told = f"{caught.value} {caught.value.context}"
    assert "horse" not in told
    assert text.splitlines()[1] not in told
    assert "SHA256:" in repr(read_private_key(text, "correct horse"))


def reason_of(text: str, passphrase: str = "") -> str:
    with pytest.raises(KeyRefusedError) as caught:
        read_private_key(text, passphrase)
    assert caught.value.field == "private_key"
    return caught.value.context["reason"]

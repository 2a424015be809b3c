"""Private keys: what a user may hand over, and what is told about it. Text in, values out.

`cryptography`, which Paramiko brings along, is loaded only when a key is read.
"""

import base64
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from chalicelib.ssh.errors import KeyRefusedError
from chalicelib.ssh.key_costs import is_too_dear

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

LEAST_RSA_BITS: Final = 2048
"""OpenSSH refuses RSA keys below 1024 bits since 7.5; NIST SP 800-131A disallows those below 2048."""

LONGEST: Final = 64 << 10
"""Bytes. A 16384-bit RSA key takes 13 KiB; more is no key."""

KEY_FORM: Final = "a private key: OpenSSH, PEM or PKCS#8; ed25519, ECDSA (P-256, P-384, P-521) or RSA from 2048 bits"

PUBLIC_STARTS: Final = (
    "ssh-",
    "ecdsa-sha2-",
    "sk-ssh-",
    "sk-ecdsa-",
    "-----BEGIN PUBLIC KEY",
    "---- BEGIN SSH2 PUBLIC",
)


class Reason(StrEnum):
    """Why a private key is refused."""

    NOT_A_KEY = "not-a-key"
    PUBLIC_KEY = "public-key"
    PASSPHRASE_MISSING = "passphrase-missing"
    PASSPHRASE_WRONG = "passphrase-wrong"
    UNSUPPORTED_TYPE = "unsupported-type"
    TOO_SHORT = "too-short"
    TOO_DEAR = "too-dear"


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that can be used. `private` is what `session` signs with and is never shown.

    `public` is the line for `authorized_keys`, without a comment. `fingerprint` is as `ssh-keygen -l` prints it.
    """

    kind: str
    bits: int
    public: str
    private: "PrivateKeyTypes"

    @property
    def fingerprint(self) -> str:
        """`SHA256:` and 43 characters."""
        return fingerprint(base64.b64decode(self.public.split()[1]))

    def __repr__(self) -> str:
        return f"PrivateKey({self.kind}, {self.bits}, {self.fingerprint})"


def fingerprint(blob: bytes) -> str:
    """Name a public key in the wire format, as `ssh-keygen -l` does: base64 of its SHA-256 without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def read_private_key(text: str, passphrase: str = "", field: str = "private_key") -> PrivateKey:
    """Read a private key of any of the formats that OpenSSH writes or wrote.

    Windows line ends, blanks around it and a missing last line end are fine. A passphrase without need is ignored.
    RSA takes 36 ms for 2048 and 257 ms for 4096 bits, which is the check that the numbers belong together.

    Raises `KeyRefusedError` with a `Reason`; nothing of the key or the passphrase is in it.
    """
    plain = "\n".join(line.strip() for line in text.strip().splitlines()) + "\n"
    if plain.startswith(PUBLIC_STARTS):
        detail = "this is a public key; give the private half, the file without .pub"
        raise KeyRefusedError(field, Reason.PUBLIC_KEY, detail, KEY_FORM)
    if "-----BEGIN" not in plain or len(plain) > LONGEST:
        raise KeyRefusedError(field, Reason.NOT_A_KEY, "this is not a private key", KEY_FORM)
    if passphrase and is_too_dear(plain.encode()):
        words = "its passphrase is stretched more often than any tool does by itself"
        raise KeyRefusedError(field, Reason.TOO_DEAR, words, "a key that `ssh-keygen -p -a 100 -f FILE` has rewritten")
    return _described(_loaded(plain.encode(), passphrase.encode() or None, field), field)


def _loaded(content: bytes, passphrase: bytes | None, field: str) -> "PrivateKeyTypes":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load: Any = load_ssh_private_key if b"BEGIN OPENSSH" in content else load_pem_private_key
    try:
        try:
            return load(content, passphrase)  # type: ignore[no-any-return]
        except TypeError as error:
            if "not encrypted" not in str(error):
                raise
            return load(content, None)  # type: ignore[no-any-return]
    except TypeError as error:  # "Password was not given but private key is encrypted"
        words = "the key is encrypted"
        raise KeyRefusedError(field, Reason.PASSPHRASE_MISSING, words, "its passphrase with it") from error
    except UnsupportedAlgorithm as error:
        words = "the key is of a type or a cipher that is not supported"
        raise KeyRefusedError(field, Reason.UNSUPPORTED_TYPE, words, KEY_FORM) from error
    except ValueError as error:
        raise _unreadable(content, passphrase, field) from error


def _unreadable(content: bytes, passphrase: bytes | None, field: str) -> KeyRefusedError:
    """Tell a wrong passphrase from a broken file: the libraries say the same of both."""
    if _is_encrypted(content):
        if passphrase is None:
            words = "the key is encrypted"
            return KeyRefusedError(field, Reason.PASSPHRASE_MISSING, words, "its passphrase with it")
        words = "the passphrase does not open the key"
        return KeyRefusedError(field, Reason.PASSPHRASE_WRONG, words, "the key's own passphrase")
    return KeyRefusedError(field, Reason.NOT_A_KEY, "the key is damaged, or of a form that is not known", KEY_FORM)


def _is_encrypted(content: bytes) -> bool:
    """Whether the outside of a key says so. OpenSSH's format begins with its magic, then the cipher's name.

    Source: PROTOCOL.key of OpenSSH; RFC 1421 (`Proc-Type`) for PEM; RFC 7468 for PKCS#8.
    """
    if b"BEGIN ENCRYPTED" in content or b"Proc-Type: 4,ENCRYPTED" in content:
        return True
    lines = [line for line in content.split(b"\n") if line and not line.startswith(b"-----")]
    try:
        outside = base64.b64decode(b"".join(lines))[:64]
    except ValueError:
        return False
    return outside.startswith(b"openssh-key-v1\0") and not outside[15:].startswith(b"\0\0\0\x04none")


def _described(private: "PrivateKeyTypes", field: str) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    kind, bits = type(private).__name__, 0
    match private:
        case ed25519.Ed25519PrivateKey():
            kind, bits = "ed25519", 256
        case ec.EllipticCurvePrivateKey() if private.curve.name in {"secp256r1", "secp384r1", "secp521r1"}:
            kind, bits = "ecdsa", private.key_size
        case rsa.RSAPrivateKey():
            kind, bits = "rsa", private.key_size
        case _:
            words = f"keys of type {kind.removesuffix('PrivateKey').lstrip('_')} are not supported"
            raise KeyRefusedError(field, Reason.UNSUPPORTED_TYPE, words, KEY_FORM)
    if kind == "rsa" and bits < LEAST_RSA_BITS:
        raise KeyRefusedError(field, Reason.TOO_SHORT, f"an RSA key of {bits} bits is too short", KEY_FORM)
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return PrivateKey(kind, bits, public, private)

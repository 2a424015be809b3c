"""The private key that a user hands over: read from its file, looked at from outside, opened with its passphrase.

The control plane reads the key itself. Here only those mistakes are told that can be told better where the file is.
"""

from __future__ import annotations

import os
from binascii import Error as Base64Error
from binascii import a2b_base64

from tidepool.command import UsageError
from tidepool.errors import InputError
from tidepool.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tidepool.command import Session

PASSPHRASE_VARIABLE = "TIDEPOOL_KEY_PASSPHRASE"
LONGEST = 64 * 1024
"""Bytes. The longest RSA key that is in use takes 13 KiB; more is no key."""
PUBLIC_STARTS = ("ssh-", "ecdsa-sha2-", "sk-", "-----BEGIN PUBLIC KEY", "---- BEGIN SSH2 PUBLIC")
OPENSSH_MAGIC = b"openssh-key-v1\0"
"""What the inside of a key begins with (PROTOCOL.key of OpenSSH); the name of its cipher follows."""


class Key:
    """A private key as text. `passphrase` is "" where it needs none."""

    __slots__ = ("passphrase", "text")

    def __init__(self, text: str, passphrase: str) -> None:
        self.text = text
        self.passphrase = passphrase

    def __repr__(self) -> str:
        return "Key(…)"


def load_key(path: str, session: Session) -> Key:
    """Read a key file, and its passphrase if it has one. Raises `InputError` that says what is wrong with the file."""
    text, mode = _read(os.path.expanduser(path))
    if text.lstrip().startswith(PUBLIC_STARTS):
        private = path.removesuffix(".pub") if path.endswith(".pub") else "the file without .pub"
        raise InputError(f"-i {path} is a public key; give the private half: {private}")
    if "-----BEGIN" not in text:
        raise InputError(f"-i {path} is no private key: it has to begin with -----BEGIN …")
    if mode & 0o077:  # ssh insists on that too
        raise InputError(
            f"-i {path} can be read by others (mode {mode:04o}), so its key is no secret: chmod 600 {path}"
        )
    return Key(text, _passphrase(path, session) if is_encrypted(text) else "")


def is_encrypted(text: str) -> bool:
    """Whether a private key needs a passphrase, by its outside: OpenSSH's form, PEM (RFC 1421) or PKCS#8 (RFC 7468)."""
    if "BEGIN ENCRYPTED" in text or "Proc-Type: 4,ENCRYPTED" in text:
        return True
    inside = "".join(line.strip() for line in text.splitlines() if not line.lstrip().startswith("-----"))
    try:
        start = a2b_base64(inside)[: len(OPENSSH_MAGIC) + 8]
    except Base64Error:
        return False
    return start.startswith(OPENSSH_MAGIC) and not start.endswith(b"\0\0\0\x04none")


def _read(path: str) -> tuple[str, int]:
    """The text of the file, and who may read it."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            content = file.read(LONGEST + 1)
    except OSError as error:
        raise InputError(f"-i {path}: {error.strerror or error}", code="local-io") from error
    try:
        return content.decode("ascii") if len(content) <= LONGEST else "", mode
    except UnicodeDecodeError:
        return "", mode


def _passphrase(path: str, session: Session) -> str:
    """The passphrase from the environment, else from whoever sits there."""
    given = session.environ.get(PASSPHRASE_VARIABLE, "")
    if given:
        return given
    if not session.stdin.isatty():
        raise UsageError(f"the key {quoted(path)} has a passphrase: set {PASSPHRASE_VARIABLE}, or use --from-here")
    from getpass import getpass

    found = getpass(f"Passphrase of {path}: ")
    if not found:
        raise UsageError(f"the key {quoted(path)} has a passphrase, and none was given")
    return found

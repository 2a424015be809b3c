"""Which keys of a host are known here: `known_hosts` files, plain and hashed. Pure but for reading the files.

Source of the format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from tidepool.errors import InputError
from tidepool.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

GLOBAL_FILES = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
KINDS = ("ssh-", "ecdsa-", "sk-")
MOST_LINES = 20
"""Keys of one host that are sent; a host has one of each kind."""
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")


def known_keys(host: str, port: int, environ: Mapping[str, str]) -> list[str]:
    """The keys that the user's and the system's files know of a host, as `ssh-ed25519 AAAA…`, without revoked ones."""
    home = environ.get("HOME") or os.path.expanduser("~")
    files = [os.path.join(home, ".ssh", name) for name in ("known_hosts", "known_hosts2")]
    text = ""
    for path in (*files, *GLOBAL_FILES):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text += file.read() + "\n"
        except OSError:  # there is none, or it is not for us: then nothing is known from it
            continue
    return keys_for(text, host, port)


def keys_for(text: str, host: str, port: int) -> list[str]:
    """The keys in a file's text that are meant for one host."""
    found: dict[str, None] = {}
    revoked: set[str] = set()
    for line in text.splitlines():
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or not words[1].startswith(KINDS):
            continue
        if marker != "@cert-authority" and is_for(words[0], host, port):
            key = f"{words[1]} {words[2]}"
            if marker == "@revoked":
                revoked.add(key)
            else:
                found[key] = None
    return [key for key in found if key not in revoked][:MOST_LINES]


def given_keys(value: str) -> list[str]:
    """What --host-key says: lines of a file of that name, else the text itself: a fingerprint or a key.

    The control plane picks the lines that are for the host. Raises `InputError` when it is neither.
    """
    text = value
    if not (FINGERPRINT.fullmatch(value.strip()) or value.startswith(KINDS) or "\n" in value):
        try:
            with open(os.path.expanduser(value), encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError as error:
            raise InputError(
                f"--host-key {quoted(value)}: neither a file ({error.strerror}) nor a fingerprint (SHA256:…) nor a key "
                "(ssh-ed25519 AAAA…)"
            ) from error
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith("#")]
    if not kept:
        raise InputError(f"--host-key {quoted(value)}: there is no key in it")
    return kept


def for_host(lines: list[str], host: str, port: int) -> list[str]:
    """Of given lines those that a host is to be known by: fingerprints, keys, and lines of known_hosts that name it."""
    bare = [line for line in lines if FINGERPRINT.fullmatch(line) or line.startswith(KINDS)]
    keys = bare + keys_for("\n".join(line for line in lines if line not in bare), host, port)
    if not keys:
        raise InputError(f"--host-key has no key for {name_of(host, port)}")
    return keys


def fingerprint(key: str) -> str:
    """`ssh-ed25519 AAAA…` as `ssh-keygen -l` prints it; a fingerprint as it is; "" for what is neither."""
    if FINGERPRINT.fullmatch(key):
        return key.rstrip("=")
    try:
        blob = a2b_base64(key.split()[1])
    except (IndexError, Base64Error):
        return ""
    return "SHA256:" + b2a_base64(hashlib.sha256(blob).digest(), newline=False).decode().rstrip("=")


def name_of(host: str, port: int) -> str:
    """How the file names a host: bare on port 22, else `[host]:port`."""
    return host if port == 22 else f"[{host}]:{port}"


def is_for(names: str, host: str, port: int) -> bool:
    """Whether the first field of a line is about a host: hashed, or patterns of which one with `!` excludes."""
    wanted = name_of(host.lower(), port)
    if names.startswith("|1|"):
        return _hashed_is(names, wanted)
    patterns = names.lower().split(",")
    if any(_matches(pattern[1:], wanted) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(_matches(pattern, wanted) for pattern in patterns if not pattern.startswith("!"))


def _hashed_is(names: str, wanted: str) -> bool:
    """`|1|base64(salt)|base64(HMAC-SHA1(salt, name))`: what `HashKnownHosts yes` writes."""
    try:
        salt, digest = (a2b_base64(part) for part in names.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, wanted.encode(), hashlib.sha1).digest(), digest)


def _matches(pattern: str, wanted: str) -> bool:
    """`*` and `?` are wild; brackets are part of `[host]:port`."""
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, wanted) is not None

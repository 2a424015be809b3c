"""Host keys: those that a user gives for a host, as lines of `known_hosts`, bare keys, or fingerprints. Pure text.

Source of the format: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

import base64
import binascii
import fnmatch
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.host_records import Destination
from chalicelib.ssh.keys import fingerprint

DEFAULT_PORT: Final = 22

KINDS: Final = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa",
)  # fmt: skip

HOST_KEY_FORM: Final = (
    "a fingerprint such as SHA256:…, a key such as 'ssh-ed25519 AAAA…', or lines of known_hosts with one for this host"
)


@dataclass(frozen=True, slots=True)
class HostKeys:
    """The keys that a host may show. `prints` are fingerprints, `kinds` their types as far as they are known."""

    prints: tuple[str, ...]
    kinds: tuple[str, ...] = ()

    def __contains__(self, found: object) -> bool:
        return found in self.prints


def parse_host_keys(text: str, host: str, port: int = DEFAULT_PORT, field: str = "host_key") -> HostKeys:
    """Read what was given for one host: fingerprints, bare keys, or lines of `known_hosts`, of which its own count.

    A key that such a file marks as revoked for the host is taken out of the others.

    Raises `InvalidInputError` where no line is for this host, or none is understood.
    """
    prints: list[str] = []
    kinds: list[str] = []
    revoked: set[str] = set()
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            continue
        if re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}=?", line):
            prints.append(line.rstrip("="))
            continue
        marker, names, kind, blob = _parted(line, field)
        if names is None or _is_for(names, host, port):
            if marker == "@revoked":
                revoked.add(fingerprint(blob))
            elif marker != "@cert-authority":
                prints.append(fingerprint(blob))
                kinds.append(kind)
    wanted = tuple(dict.fromkeys(each for each in prints if each not in revoked))
    if not wanted:
        raise InvalidInputError(field, f"nothing for {known_as(host, port)}", HOST_KEY_FORM)
    return HostKeys(wanted, tuple(dict.fromkeys(kinds)))


def keys_for(text: str, where: Destination, jump: Destination | None = None) -> HostKeys | None:
    """Read what was given for a host; None where nothing was. What names only the jump host on the way is not for it.

    Raises `InvalidInputError` as `parse_host_keys`.
    """
    others = _naming(text, jump) - _naming(text, where) if jump else frozenset()
    mine = "\n".join(line for line in text.splitlines() if line.strip() not in others)
    return parse_host_keys(mine, where.host, where.port) if mine.strip() else None


def keys_for_jump(text: str, jump: Destination) -> HostKeys | None:
    """Read what was given for a jump host: the lines that name it, plain or hashed; bare keys are the host's behind it.

    Raises `InvalidInputError` where all of them are revoked.
    """
    lines = [line for line in _naming(text, jump) if not line.startswith("@cert-authority")]
    return parse_host_keys("\n".join(sorted(lines)), jump.host, jump.port) if lines else None


def known_as(host: str, port: int) -> str:
    """Name a host as `known_hosts` does: bare on port 22, else `[host]:port`."""
    return host if port == DEFAULT_PORT else f"[{host}]:{port}"


def _naming(text: str, where: Destination) -> frozenset[str]:
    """The lines of `known_hosts` that name a host."""
    lines = (line.strip() for line in text.splitlines())
    return frozenset(line for line in lines if (names := _names_of(line)) and _is_for(names, where.host, where.port))


def _names_of(line: str) -> str:
    """The field with the names; "" in a comment, a fingerprint or a bare key."""
    words = line.split()
    if words and words[0].startswith("@"):
        words.pop(0)
    return words[0] if len(words) > 2 and not words[0].startswith("#") and words[0] not in KINDS else ""


def _parted(line: str, field: str) -> tuple[str, str | None, str, bytes]:
    """Split a line into marker, names (None for a bare key), type and key."""
    words = line.split()
    marker = words.pop(0) if words[0].startswith("@") else ""
    names = None if words[:1] and words[0] in KINDS else (words.pop(0) if words else "")
    if len(words) < 2 or words[0] not in KINDS:
        raise InvalidInputError(field, line[:80], HOST_KEY_FORM)
    try:
        blob = base64.b64decode(words[1], validate=True)
    except binascii.Error:
        raise InvalidInputError(field, line[:80], HOST_KEY_FORM) from None
    if not blob.startswith(len(words[0]).to_bytes(4) + words[0].encode()):
        raise InvalidInputError(field, line[:80], f"{HOST_KEY_FORM}; this one is cut, or not of the type that it says")
    return marker, names, words[0], blob


def _is_for(names: str, host: str, port: int) -> bool:
    """Match a host against the first field of a line: hashed, or patterns of which a `!` one excludes."""
    wanted = known_as(host.casefold(), port)
    if names.startswith("|1|"):
        return _hashed_is(names, wanted)
    patterns = names.casefold().split(",")
    if any(_matches(each[1:], wanted) for each in patterns if each.startswith("!")):
        return False
    return any(_matches(each, wanted) for each in patterns if not each.startswith("!"))


def _hashed_is(names: str, wanted: str) -> bool:
    """`|1|base64(salt)|base64(HMAC-SHA1(salt, name))`: what `HashKnownHosts yes` writes."""
    try:
        salt, digest = (base64.b64decode(part) for part in names.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, wanted.encode(), hashlib.sha1).digest(), digest)


def _matches(pattern: str, wanted: str) -> bool:
    """`*` and `?` are wild; brackets are part of `[host]:port`, not sets."""
    return fnmatch.fnmatchcase(wanted, pattern.replace("[", "[[]"))


def shown(keys: Iterable[str]) -> str:
    """List fingerprints for a sentence."""
    return " or ".join(keys)

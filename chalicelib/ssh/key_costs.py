"""How much work an encrypted private key asks for before its passphrase can be tried: whoever wrote it decides.

A key stretches its passphrase by repeating a hash as often as its header says, so a header may ask for years. It is
read here, and nothing of the key is opened.
"""

import base64
import re
from collections.abc import Iterator
from math import prod
from typing import Final

MOST_ROUNDS: Final = 500
"""Of bcrypt, in OpenSSH's format: 4 s of a slow core. `ssh-keygen` writes 16 or 24; the careful ask for 100 to 256."""

MOST_ITERATIONS: Final = 2_000_000
"""Of a hash, in PKCS#8: 1 s. OpenSSL writes 2048; OWASP's advice for PBKDF2 is 600,000."""

MOST_SCRYPT: Final = 1 << 24
"""The product of N, r and p, in PKCS#8: 8 s and 2 GB, of which OpenSSL allows 32 MB. It writes 2^17."""

MAGIC: Final = b"openssh-key-v1\0"
BLOCK: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----(.*?)-----END", re.DOTALL)
SEQUENCE, INTEGER = 0x30, 0x02


def is_too_dear(content: bytes) -> bool:
    """Whether any block of a PEM file asks for more work than an honest one. A damaged one asks for none."""
    for body in BLOCK.findall(content):
        try:
            outside = base64.b64decode(body)
            dear = _bcrypt(outside) if outside.startswith(MAGIC) else _pkcs8(outside)
        except (ValueError, IndexError):
            continue
        if dear:
            return True
    return False


def _bcrypt(outside: bytes) -> bool:
    """Source: PROTOCOL.key of OpenSSH: cipher, kdf and its options (salt, rounds) as strings with their lengths."""
    rest = outside[len(MAGIC) :]
    _, rest = _string(rest)
    kdf, rest = _string(rest)
    options, _ = _string(rest)
    if kdf != b"bcrypt":
        return False
    _, rounds = _string(options)
    return int.from_bytes(rounds[:4], "big") > MOST_ROUNDS


def _string(data: bytes) -> tuple[bytes, bytes]:
    end = 4 + int.from_bytes(data[:4], "big")
    if len(data) < end:
        raise ValueError("cut")
    return data[4:end], data[end:]


def _pkcs8(outside: bytes) -> bool:
    """Source: RFC 5958: a sequence of an algorithm and the encrypted rest; RFC 8018 and 7914 for what the former holds:
    a count and maybe the key's length in bytes, or N, r and p.
    """
    kind, whole, _ = _element(outside)
    inner, algorithm, _ = _element(whole)
    if (kind, inner) != (SEQUENCE, SEQUENCE):
        return False  # a plain key begins with its version
    numbers = list(_integers(algorithm))
    return any(number > MOST_ITERATIONS for number in numbers) or (len(numbers) > 2 and prod(numbers[:3]) > MOST_SCRYPT)


def _integers(sequence: bytes) -> Iterator[int]:
    while sequence:
        kind, value, sequence = _element(sequence)
        if kind == SEQUENCE:
            yield from _integers(value)
        elif kind == INTEGER:
            yield int.from_bytes(value, "big")


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """The first element of DER: its tag, its content, and what follows it. Source: X.690, 8.1."""
    kind, size, start = data[0], data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        raise ValueError("cut")
    return kind, data[start : start + size], data[start + size :]

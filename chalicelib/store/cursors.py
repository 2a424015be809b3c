"""Cursors: where a page ended, as an opaque text that its reader hands back.

A cursor holds a sort key only. The partition always comes from the request, so a forged one can do no more than
begin somewhere else in what its sender may read anyway.
"""

import base64
import binascii
import re
from typing import Final

from chalicelib.domain.errors import InvalidInputError

LONGEST: Final = 512
KEY: Final = re.compile(r"[a-z]:[!-~]{1,300}")


def write(kind: str, key: str) -> str:
    """Make a cursor. `kind` is one lower-case letter that says which key range `key` belongs to."""
    return base64.urlsafe_b64encode(f"{kind}:{key}".encode()).decode().rstrip("=")


def read(cursor: str | None, kinds: str) -> tuple[str, str]:
    """Return kind and key of a cursor; without one, the first of `kinds` and an empty key.

    Raises `InvalidInputError` for anything that `write` did not make for one of `kinds`.
    """
    if not cursor:
        return kinds[0], ""
    try:
        if len(cursor) > LONGEST:
            raise ValueError
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    if not KEY.fullmatch(text) or text[0] not in kinds or write(text[0], text[2:]) != cursor:
        raise InvalidInputError("cursor", cursor[:64], "the `next` of an earlier page of the same list")
    return text[0], text[2:]

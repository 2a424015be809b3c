"""One answer for one Idempotency-Key, however often the request comes.

The first request files a pending row and works; whoever comes with the same key meanwhile is told to try again, and
afterwards gets the stored answer. A process that dies in the middle leaves a pending row, which stops counting as soon
as no request can last any longer (`store.idempotency.LOCK`), so that two never work at once.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chalicelib import log
from chalicelib.domain.errors import InvalidInputError, TidepoolError
from chalicelib.services.deps import Deps
from chalicelib.store import idempotency as store

_KEY: Final = re.compile(r"[!-~]{1,128}")
MAX_STORED: Final = 300_000
"""Bytes of an answer. A row holds 400 KB; a longer answer is not kept, and its request would run again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: a status and the body as text.

    `keep` is False for what the same request may yet change: retryable errors and 5xx. `stored` is what to keep in
    place of a body that may be shown only once.
    """

    status: int
    body: str
    replayed: bool = False
    keep: bool = True
    stored: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What makes two requests the same request. `principal` is the token's id, `path` the one with names filled in."""

    principal: str
    method: str
    path: str
    key: str
    body: bytes

    @property
    def identity(self) -> str:
        """The row's key: the same Idempotency-Key of another caller, or on another route, is another one."""
        text = "\n".join((self.principal, self.method, self.path, self.key))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def body_hash(self) -> str:
        """SHA-256 in hex of the body as it came."""
        return hashlib.sha256(self.body).hexdigest()


def once(deps: Deps, asked: Asked, work: Callable[[], Answer]) -> Answer:
    """Do `work` unless this very request was answered before; then give that answer again.

    Raises `InvalidInputError` for a key that is none, `IdempotencyMismatchError` for the same key with another body,
    `IdempotencyPendingError` while the first request is being worked on.
    """
    if not _KEY.fullmatch(asked.key):
        raise InvalidInputError("Idempotency-Key", asked.key[:80], "1 to 128 visible ASCII characters")
    earlier = store.begin(asked.identity, asked.body_hash, deps.now())
    if earlier is not None:
        return Answer(earlier.status, earlier.body, replayed=True)
    try:
        done = work()
    except BaseException:
        _settle(store.abandon, asked.identity)
        raise
    text = done.body if done.stored is None else done.stored
    if done.keep and len(text) <= MAX_STORED:
        _settle(store.finish, asked.identity, done.status, text)
    else:
        _settle(store.abandon, asked.identity)
    return done


def _settle(write: Callable[..., None], *arguments: object) -> None:
    """Store how it ended. The work is done by now, so a failure here must not turn its answer into an error."""
    try:
        write(*arguments)
    except TidepoolError as error:
        log.error("idempotency-not-settled", error)

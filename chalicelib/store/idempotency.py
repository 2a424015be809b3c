"""Answers to requests that carried an Idempotency-Key: the same request again gets the same answer, and acts once.

While a request is worked on its key is locked. The lock has a time limit longer than any request may take (an API
Gateway integration ends after 29 s), so a request whose Lambda died can be repeated.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from chalicelib.domain.errors import IdempotencyMismatchError, IdempotencyPendingError
from chalicelib.store import calls
from chalicelib.store.columns import epoch
from chalicelib.store.models import IdempotencyRow

KEEP: Final = timedelta(hours=24)
LOCK: Final = timedelta(seconds=35)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: the HTTP status, and the body as text."""

    status: int
    body: str


def begin(key: str, body_hash: str, now: datetime) -> Answer | None:
    """Lock a key for a request, or return the answer that the same request got before.

    Raises `IdempotencyMismatchError` when the key came with another body, and its kind `IdempotencyPendingError` when
    the first request is still worked on.
    """
    token = calls.fresh_write()
    row = IdempotencyRow(key, body_hash=body_hash, started_at=now, write=token, ttl=epoch(now + KEEP))
    gone = IdempotencyRow.key.does_not_exist() | (IdempotencyRow.ttl <= epoch(now))
    abandoned = (
        IdempotencyRow.status.does_not_exist()
        & (IdempotencyRow.body_hash == body_hash)
        & (IdempotencyRow.started_at < now - LOCK)
    )
    try:
        calls.put(row, gone | abandoned)
    except calls.ConditionFailedError as error:
        if error.item is None:
            raise
        found = IdempotencyRow.from_raw_data(error.item)
        if found.write == token:
            return None
        if found.body_hash != body_hash:
            raise IdempotencyMismatchError("this Idempotency-Key was used for another request") from error
        if found.status is None:
            raise IdempotencyPendingError("the first request with this Idempotency-Key is being worked on") from error
        return Answer(int(found.status), found.body or "")
    return None


def finish(key: str, status: int, body: str) -> None:
    """Store the answer of the request that holds the key, once. Only the first answer counts."""
    actions = [IdempotencyRow.status.set(status), IdempotencyRow.body.set(body)]
    try:
        calls.update(
            IdempotencyRow, key, None, actions, IdempotencyRow.key.exists() & IdempotencyRow.status.does_not_exist()
        )
    except calls.ConditionFailedError:
        return


def abandon(key: str) -> None:
    """Unlock a key whose request failed in a way that may be tried again: nothing is stored for it."""
    try:
        calls.delete(IdempotencyRow, key, condition=IdempotencyRow.status.does_not_exist())
    except calls.ConditionFailedError:
        return

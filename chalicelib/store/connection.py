"""One connection for all tables, with its limits, and with conflicts between transactions retried.

Region, endpoint and credentials come from the ordinary AWS environment at the first call.
"""

import random
from typing import Any, Final, cast

from botocore.session import Session
from pynamodb.connection import Connection

CONNECT_TIMEOUT_S: Final = 2
READ_TIMEOUT_S: Final = 5
RETRIES: Final = 3
"""After the first try, with botocore's exponential back-off and jitter ("standard" mode)."""

POOL_CONNECTIONS: Final = 32
"""Enough for every thread of a task that fans out; unused ones are never opened."""

CONFLICTS: Final = frozenset({"TransactionConflict", "TransactionConflictException", "TransactionInProgressException"})
CONFLICT_TRIES: Final = 6
CONFLICT_BASE_S: Final = 0.02
"""Doubles with each try; the wait is uniform below it, so at most 1.3 s for the last one."""


class SharedConnection(Connection):
    """A PynamoDB connection for every model, so that a process builds one client (about 100 ms) and not eight."""

    def __init__(self) -> None:
        super().__init__(
            connect_timeout_seconds=CONNECT_TIMEOUT_S,
            read_timeout_seconds=READ_TIMEOUT_S,
            max_retry_attempts=RETRIES,
            max_pool_connections=POOL_CONNECTIONS,
        )

    @property
    def session(self) -> Session:
        """The session that clients are made from; they inherit its event handlers."""
        session = super().session
        session.register("needs-retry.dynamodb.*", cast(Any, retry_conflict), unique_id="tidepool-conflicts")
        return session


def retry_conflict(response: Any = None, attempts: int = 0, **_: Any) -> float | None:
    """Answer botocore's `needs-retry` event: seconds to wait before the same request is sent again, or None.

    botocore retries throttling by itself, but takes a transaction that met another one for final. One in which a
    condition failed is final indeed.
    """
    if response is None or attempts > CONFLICT_TRIES:
        return None
    answer = response[1]
    codes = {reason.get("Code") for reason in answer.get("CancellationReasons", [])}
    codes.add(answer.get("Error", {}).get("Code"))
    if "ConditionalCheckFailed" in codes or not codes & CONFLICTS:
        return None
    return random.uniform(0, CONFLICT_BASE_S * 2**attempts)

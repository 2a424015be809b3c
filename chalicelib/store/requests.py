"""Which instance or run a request with an Idempotency-Key has made, written in the same transaction as that.

The stored answer alone does not keep a repeated request from making a second one: it is written after the work, and
the process may die in between. This row cannot be missing when the work was done.
"""

from datetime import datetime, timedelta
from typing import Final

from chalicelib.store import calls
from chalicelib.store.columns import epoch
from chalicelib.store.models import NameRow

KEEP: Final = timedelta(hours=24)
"""As long as an answer is kept for its key."""


def note(writes: calls.Transaction, project: str, request_id: str, holder: str, now: datetime) -> None:
    """Add to a transaction that `request_id` makes `holder`, on the condition that it has made nothing yet."""
    row = NameRow(project, f"request:{request_id}", holder=holder, ttl=epoch(now + KEEP))
    writes.put(row, NameRow.name.does_not_exist())


def made(project: str, request_id: str) -> str | None:
    """The id of what a request made, or None."""
    item = calls.get(NameRow, project, f"request:{request_id}", consistent=True) if request_id else None
    return None if item is None else str(item["holder"]["S"])

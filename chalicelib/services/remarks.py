"""What an instance waits for, said on its row for whoever looks at it. Nothing is decided by it."""

from typing import Final

from chalicelib import log
from chalicelib.domain.errors import LostRaceError, NotFoundError
from chalicelib.domain.model import Instance
from chalicelib.store import instances as store

LENGTH: Final = 400
"""Characters: the row stays under a kilobyte."""


def remark(row: Instance, detail: str) -> None:
    """Say on a row what it waits for, unless it says so. One that moved meanwhile has something newer to say."""
    detail = detail[:LENGTH]
    if detail == row.detail:
        return
    try:
        store.note(row, detail=detail)
    except (LostRaceError, NotFoundError):
        log.event("remark-too-late", instance=row.instance_id)

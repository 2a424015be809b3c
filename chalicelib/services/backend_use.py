"""Which instances hold on to a backend: those that have a machine there, or may yet turn out to have one."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Instance
from chalicelib.services.teardown import OPEN_ATTEMPTS
from chalicelib.store import instances, journal, pools

PAGE: Final = 200
NAMED: Final = 10
"""How many instances a refusal names."""

MOVING: Final = frozenset({State.PENDING, State.PROVISIONING, State.TERMINATING})
"""States in which the attempts say where there are machines; afterwards the chosen offer does."""


def instances_on(project: str, backend: str) -> list[str]:
    """Name up to `NAMED` live instances of a project that are on a backend, as of now."""
    return [row.name for row in islice(_on(project, backend), NAMED)]


def _on(project: str, backend: str) -> Iterator[Instance]:
    for pool in pools.list_pools(project):
        for row in _live(project, pool.name):
            if _uses(row, backend):
                yield row


def _live(project: str, pool: str) -> Iterator[Instance]:
    cursor: str | None = None
    while True:
        rows, cursor = instances.live(project, pool, limit=PAGE, cursor=cursor)
        yield from rows
        if cursor is None:
            return


def _uses(row: Instance, backend: str) -> bool:
    if row.state not in MOVING:
        return row.offer is not None and row.offer.backend == backend
    return any(
        attempt.state in OPEN_ATTEMPTS and attempt.offer.backend == backend
        for attempt in journal.attempts(row.instance_id)
    )

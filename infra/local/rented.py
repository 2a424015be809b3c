"""What is rented at providers outside of this computer: it goes on billing whatever becomes of the control plane.

python -m infra.local.rented     (in the environment of `inside.run`: prints a JSON list)
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from infra.local import inside
from infra.local.deploy import Emulator

if TYPE_CHECKING:
    from chalicelib.domain.model import Instance, Pool

PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Rented:
    """One machine, or a try at one that nobody has answered yet. `price` is a text, for an hour."""

    project: str
    instance: str
    backend: str
    region: str
    instance_type: str
    price: str

    def __str__(self) -> str:
        return (
            f"{self.instance} (project {self.project}): "
            f"{self.backend} {self.region} {self.instance_type} at {self.price}/h"
        )


def rented(emulator: Emulator, stage: str) -> list[Rented]:
    """Ask the tables. Raises `InsideError`."""
    return [Rented(**each) for each in json.loads(inside.run(emulator, stage, __name__))]


def find() -> Iterator[Rented]:
    """Every attempt of a live instance that is not closed, at a backend that is not the local cloud.

    Attempts rather than offers: while a launch has not been answered the instance has no machine, and there may be one
    all the same. Adopted hosts are among them, at no price: an agent is on each.
    """
    from chalicelib.domain.model import AttemptState
    from chalicelib.domain.units import format_price
    from chalicelib.store import journal, pools

    closed = (AttemptState.REFUSED, AttemptState.CLEANED)
    for row in (row for pool in pools.everywhere() for row in _live(pool)):
        if _is_local(row):
            continue
        for attempt in journal.attempts(row.instance_id):
            offer = attempt.offer
            if attempt.state not in closed and not _is_here(offer.backend):
                yield Rented(
                    project=row.project,
                    instance=row.name,
                    backend=offer.backend,
                    region=offer.region,
                    instance_type=offer.instance_type,
                    price=format_price(offer.price),
                )


def _live(pool: "Pool") -> "Iterator[Instance]":
    from chalicelib.store import instances

    cursor: str | None = None
    while True:
        rows, cursor = instances.live(pool.project, pool.name, limit=PAGE, cursor=cursor)
        yield from rows
        if cursor is None:
            return


def _is_local(row: "Instance") -> bool:
    """Whether its row alone tells that all it ever had is here; a pool of thousands is then not asked one by one."""
    from chalicelib.domain.lifecycle import State

    if row.state not in (State.IDLE, State.BUSY) or row.attempt > 1 or row.offer is None:
        return False
    return _is_here(row.offer.backend)


def _is_here(backend: str) -> bool:
    from chalicelib.backends.registry import BUILT_IN

    return backend in BUILT_IN


def main() -> None:
    """Print them, with the tables of the environment."""
    from chalicelib.wiring import deps

    deps()  # names the tables
    json.dump([asdict(each) for each in find()], sys.stdout)


if __name__ == "__main__":
    main()

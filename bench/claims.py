"""Many takers at once, in one process on the emulator's tables. Goal 20, without HTTP in between."""

from collections.abc import Iterator

from bench.processes import part
from bench.records import Goal, Record, record
from bench.session import Session


def in_process(session: Session) -> Iterator[Record]:
    """Eight threads take every idle instance of a pool, one after the other."""
    machines = session.rounds(160)
    measured = part("bench.claims_part", machines, env={"AWS_ENDPOINT_URL": session.tables_url})
    goal = Goal(50, "at least 50/s in process", at_least=True)
    yield record("acquires, 8 at once: rate", [measured["per_s"]], "1/s", goal, "at most 0.5/s (dstack 0.18.11)")
    text = "none"
    yield record("acquires, 8 at once: double hand-outs", [measured["double"]], "", Goal(0, text), "")
    yield record("acquires, 8 at once: machines left", [measured["left"]], "", Goal(0, text), "")

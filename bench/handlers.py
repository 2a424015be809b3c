"""What the API itself costs, its storage answering at once. Goals 9, 10 and 25."""

from collections.abc import Iterator
from typing import Final

from bench.processes import part
from bench.records import Goal, Record, record
from bench.session import Session

BODY: Final = Goal(1 << 20, "at most 1 MB (1,048,576 bytes)", at="p99")
ANCHOR: Final = "Chalice 18 to 25 µs + pydantic 5 µs (floor)"


def overhead(session: Session) -> Iterator[Record]:
    """One request through the whole app, from API Gateway's event to the answer, without DynamoDB's client."""
    measured = part("bench.handlers_part", "requests", session.rounds(40))
    for name in ("acquire", "release", "get"):
        goal = Goal(250, "at most 250 µs of CPU")
        yield record(f"handler {name}: CPU", measured[name], "µs", goal, ANCHOR)
        yield record(f"handler {name}: table calls", measured[f"{name} calls"], "calls", Goal(3, "at most 3"))


def listings(session: Session) -> Iterator[Record]:
    """1,000 long rows: from the bytes that DynamoDB answers to the bytes that API Gateway is given."""
    measured = part("bench.handlers_part", "listing", session.rounds(40))
    goal = Goal(25, "at most 25 ms (stretch 5)")
    yield record("list 1,000 rows: CPU", measured["cpu_ms"], "ms", goal, "420 to 755 ms (dstack 0.18.11 pool/show)")
    yield record(
        "list 1,000 rows: body", [measured["bytes"]], "bytes", BODY, "6.5 MB for 10,000 rows, unpaged (dstack)"
    )
    yield record("largest body of any listing", [measured["largest"]], "bytes", BODY, "6.5 MB (dstack 0.18.11)")
    yield record("rows of a page", [measured["rows"]], "rows", Goal(1_000, "at most 1,000"))

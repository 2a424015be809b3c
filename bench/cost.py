"""What the frequent verbs cost in calls and request units, and whether that grows. Goals 11 and 12."""

from collections.abc import Iterator
from typing import Final

from bench.processes import part
from bench.records import Goal, Record, record
from bench.session import Session

VERBS: Final = ("acquire", "release", "remove", "remove by name", "expire", "list 10")
FOR_USERS: Final = frozenset({"acquire", "release", "remove"})
"""Those that goal 12 names, the removal as `pool rm` asks for it; the others are listed beside them."""

ANCHORS: Final = {
    "acquire": "locks and parses every idle row (dstack 0.18.11)",
    "remove": "x 35 to 80 at 10,000 rows (dstack 0.18.11)",
    "list 10": "12 to 17 ms at 10 rows, 7 s at 10,000 (dstack 0.18.11)",
}


def verbs(session: Session) -> Iterator[Record]:
    """Each verb among few and among many instances, by DynamoDB's published rules (`tests/store/meter.py`)."""
    few, many = session.sizes[0], session.sizes[-1]
    measured = part("bench.cost_part", "verbs", few, many, env={"AWS_ENDPOINT_URL": session.tables_url})
    for verb in VERBS:
        small, large = measured[str(few)][verb], measured[str(many)][verb]
        anchor = ANCHORS.get(verb, "")
        for kind, limit in (("calls", 3), ("reads", 1), ("writes", 3)):
            goal = Goal(limit, f"at most {limit}") if verb in FOR_USERS else None
            yield record(f"{verb} among {many:,}: {kind}", [large[kind]], kind, goal, anchor)
        total = [large[kind] / max(small[kind], 0.5) for kind in ("calls", "reads", "writes")]
        yield record(
            f"{verb}: cost at {many:,} over {few}", [max(total)], "x", Goal(1.3, "at most 1.3", at="p99"), anchor
        )
    yield record("acquire of a cold process: calls", [measured[str(many)]["first acquire"]["calls"]], "calls")


def history(session: Session) -> Iterator[Record]:
    """A listing of 10 live instances beside many ended ones, against 10 live ones alone."""
    dead = session.sizes[-1]
    rounds = session.rounds(20)
    measured = part("bench.cost_part", "history", dead, rounds, env={"AWS_ENDPOINT_URL": session.tables_url})
    goal = Goal(1.2, "at most 1.2")
    anchor = "x 50 (dstack 0.18.11)"
    alone, beside = measured["alone"], measured["beside"]
    yield record(f"list 10 beside {dead:,} dead: units", [beside["reads"] / alone["reads"]], "x", goal, anchor)
    yield record(f"list 10 beside {dead:,} dead: calls", [beside["calls"] / alone["calls"]], "x", goal, anchor)
    ratios = [more / less for less, more in zip(alone["seconds"], beside["seconds"], strict=True)]
    yield record(f"list 10 beside {dead:,} dead: time", ratios, "x", goal, anchor)

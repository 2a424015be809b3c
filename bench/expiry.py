"""Idle expiry: how late, how fast, and what a backend that hangs does to it. Goals 17, 18 and 19."""

from collections.abc import Iterator
from typing import Final

from bench.processes import part
from bench.records import Goal, Record, record
from bench.session import Session

COUNTS: Final = (1, 1_000, 10_000)
LAST_S: Final = {1: 65, 1_000: 75, 10_000: 90}
ANCHORS: Final = {
    1: "10 s (dstack 0.18.11), 5.7 s (0.18.20)",
    1_000: "15 to 19 s (dstack 0.18.11), 83 min (0.18.20)",
    10_000: "370 s (dstack 0.18.11), 14 h (0.18.20)",
}
RATE_ANCHOR: Final = "128 to 213/s, 28/s at 10,000 (dstack 0.18.11); 0.2/s (0.18.20)"


def lateness(session: Session) -> Iterator[Record]:
    """Machines that are all due in the second after a sweep began, on a clock that counts what the work takes."""
    for count in COUNTS[: len(session.sizes)]:
        late = part("bench.expiry_part", "lateness", count)["late_s"]
        anchor = ANCHORS[count]
        # The moment within the minute at which they are due is anybody's; `late` has the worst one.
        phases = [min(late) - second for second in range(60)]
        goal = Goal(60, "p95 at most 60 s, whenever due", at="p95")
        yield record(f"expiry of {count:,}: first decision", phases, "s", goal, anchor)
        goal = Goal(LAST_S[count], f"all within {LAST_S[count]} s", at="p99")
        yield record(f"expiry of {count:,}: last decision", [max(late)], "s", goal, anchor)
        yield record(f"expiry of {count:,}: lateness", late, "s", Goal(90, "p99 at most 90 s", at="p99"), anchor)


def rate(session: Session) -> Iterator[Record]:
    """Decisions per second of one function whose storage answers at once."""
    rates = {}
    for count in session.sizes[1:] or session.sizes:
        rounds = max(1, session.rounds(8) * 1_000 // count)
        rates[count] = part("bench.expiry_part", "rate", count, rounds)["per_s"]
        goal = Goal(400, "at least 400/s", at_least=True)
        yield record(f"expiry decisions at {count:,}", rates[count], "1/s", goal, RATE_ANCHOR)
    if len(rates) > 1:
        slow, fast = max(rates), min(rates)
        growth = max(rates[fast]) / max(rates[slow])
        text = f"x 4.6 to 7.6 from {fast:,} to {slow:,} (dstack 0.18.11)"
        yield record("expiry decisions: slow-down with size", [growth], "x", Goal(1.2, "constant (1.2)"), text)


def hung_call(session: Session) -> Iterator[Record]:
    """Calls to a backend that the sweep and the timers make: none, so none can hold them up."""
    measured = part("bench.expiry_part", "backend-calls", 100 if len(session.sizes) > 1 else 1)
    goal = Goal(0, "none: 0 s delay")
    yield record("expiry: backend calls", [measured["calls"]], "calls", goal, "blocks the whole batch, up to 20 min")

"""What a cold start of each function costs: import, first event, first read. Goals 7 and 8."""

import sys
from collections.abc import Iterator
from typing import Final

from bench.processes import BARE, INSIDE, Command, interleaved, part, ratios
from bench.records import Goal, Record, record
from bench.session import Effort, Session

FUNCTIONS: Final = (
    *("api", "authorizer", "provision", "teardown", "on_timer", "projector", "sweep", "reconcile", "catalog"),
)
PEER_START: Final = "6.0 s, 460 x bare (dstack 0.18.11 server)"
"""A tenth of it is the other half of goal 7; 40 x bare is the stricter one, and holds on any machine."""

ANCHOR: Final = "chalice + pydantic + pynamodb read: 33 x bare"


def starts(session: Session) -> Iterator[Record]:
    """Each function as a whole process: its module, one event, its first call to a DynamoDB that answers at once."""
    stub = {**INSIDE, "AWS_ENDPOINT_URL": session.stub_url}
    functions = FUNCTIONS[:1] if session.effort is Effort.ONCE else FUNCTIONS
    commands = {"bare": BARE} | {
        name: Command([sys.executable, "-m", "bench.cold_part", name], stub) for name in functions
    }
    timings = interleaved(commands, rounds=session.rounds(12), warm=1)
    for name in functions:
        goal = Goal(40, "at most 40 x bare Python")
        yield record(f"cold start {name}: x bare", ratios(timings, name, "bare"), "x", goal, ANCHOR)
        millis = [each.wall_s * 1e3 for each in timings[name]]
        yield record(f"cold start {name}", millis, "ms", None, PEER_START)
        looked = part("bench.cold_part", name, "--look", env=stub)
        yield record(f"cold start {name}: heavy modules", [len(looked["heavy"])], "", Goal(0, "none"), "")
        yield record(f"cold start {name}: modules", [looked["modules"]], "", None, "896 (dstack 0.18.11 CLI)")
        yield record(f"cold start {name}: peak memory", [each.peak_mib for each in timings[name]], "MiB")

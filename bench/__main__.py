"""Measure, beside the goals and the anchors: `python -m bench [--only NAME ...] [--quick] [--peers]`.

Writes `.tidepool/bench.json` and shows the same as a table. `docs/performance.md` says what each figure means.
"""

import argparse
import sys
import time
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Final

from bench.processes import ROOT, BenchError
from bench.records import Record, store, table
from bench.session import Benchmark, Effort, Session

BENCHMARKS: Final = {
    "cli-start": "client:start",
    "cli-listing": "client:listing",
    "cli-install": "client:installation",
    "cold-starts": "cold:starts",
    "handlers": "handlers:overhead",
    "listing-bytes": "handlers:listings",
    "cost": "cost:verbs",
    "history": "cost:history",
    "claims": "claims:in_process",
    "offers": "offers:matching",
    "catalog": "offers:ready",
    "expiry-lateness": "expiry:lateness",
    "expiry-rate": "expiry:rate",
    "hung-call": "expiry:hung_call",
    "ssh": "ssh:preflight",
    "memory": "embedded:memory",
    "acquire-api": "embedded:acquire",
    "crowd": "embedded:crowd",
    "provision": "machines:provision",
    "warm-start": "machines:warm_start",
    "hung-teardown": "machines:hung_teardown",
    "embedded-listing": "client:embedded_listing",
    "up": "embedded:warm_up",
}
"""Where each benchmark is. Those that need the embedded control plane come last, and what fills it at the very end."""

PEERS: Final = {"peer-start": "peers:start", "peer-listing": "peers:listing", "peer-offers": "offers:peer"}
"""The same work done by a peer, in turn with ours; they install it first."""


def named(name: str) -> Benchmark:
    """Load a benchmark; the others' imports are not paid for."""
    module, _, function = (BENCHMARKS | PEERS)[name].partition(":")
    found: Benchmark = getattr(import_module(f"bench.{module}"), function)
    return found


def main() -> int:
    """Run what is asked for. 1 when something could not be measured; a goal that is missed is no failure."""
    given = _arguments()
    names = given.only or [*([] if given.peers else BENCHMARKS), *(PEERS if given.peers else ())]
    records: list[Record] = []
    failed = 0
    with closing(Session(effort=given.effort, say=_say)) as session:
        for name in names:
            began = time.monotonic()
            try:
                records += named(name)(session)
            except BenchError as error:
                failed += 1
                _say(f"{name}: {error}")
            else:
                _say(f"{name}: {time.monotonic() - began:.0f} s")
            store(given.out, records)
    sys.stdout.write("\n".join(table(records)) + "\n")
    missed = [each.name for each in records if each.meets is False]
    sys.stdout.write(f"\n{len(records)} figures in {given.out}; {len(missed)} goals missed\n")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[*BENCHMARKS, *PEERS],
        help=f"of {', '.join([*BENCHMARKS, *PEERS])}",
    )
    effort = parser.add_mutually_exclusive_group()
    for level, what in ((Effort.QUICK, "a fourth of the rounds"), (Effort.ONCE, "one round, the smallest sizes")):
        effort.add_argument(f"--{level}", dest="effort", action="store_const", const=level, help=what)
    parser.add_argument("--peers", action="store_true", help="install the peer and run the same work in turn with it")
    parser.add_argument("--out", type=Path, default=ROOT / ".tidepool" / "bench.json", help="where the records go")
    parser.set_defaults(effort=Effort.FULL)
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())

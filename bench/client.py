"""The command line: start-up, listings, memory, size of the installation. Goals 1 to 6."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from bench.fleet import fill_pool
from bench.processes import BARE, ROOT, BenchError, Command, Timing, interleaved, ratios
from bench.records import Goal, Record, record
from bench.session import Session

STARTS: Final = (("--version",), ("--help",), ("pool", "--help"))
START_ANCHORS: Final = ("79 to 90", "76 to 88", "78 to 92")
"""Whole process, times bare Python, medians of several rounds; the anchors below were measured in the same way."""

SERVER_MS: Final = {10: 923, 1_000: 2_635, 10_000: 17_380}
"""`dstack pool ps` 0.18.11 with its server on loopback, whole process, beside a bare Python of 13 ms."""

BARE_MS: Final = 13
FRACTION: Final = {10: 12, 1_000: 25, 10_000: 60}
"""The part of the peer's time that a listing may take, by rows."""

PIP_S: Final = 180


def start(session: Session) -> Iterator[Record]:
    """Commands that contact nobody, beside a bare Python."""
    commands = {"bare": BARE} | {" ".join(words): session.tidepool(*words) for words in STARTS}
    timings = interleaved(commands, rounds=session.rounds(20), warm=2)
    yield record("python -c pass", _wall_ms(timings["bare"]), "ms")
    for words, anchor in zip(STARTS, START_ANCHORS, strict=True):
        name = " ".join(words)
        goal = Goal(5, "at most 5 x bare Python")
        text = f"{anchor} x bare (dstack 0.18.11)"
        yield record(f"cli {name}: x bare", ratios(timings, name, "bare"), "x", goal, text)
        yield record(f"cli {name}", _wall_ms(timings[name]), "ms")


def listing(session: Session) -> Iterator[Record]:
    """`pool ps` against a server that answers at once: what the client itself costs."""
    sizes = session.sizes
    stub = {"TIDEPOOL_URL": session.stub_url, "TIDEPOOL_TOKEN": "none", "TIDEPOOL_PROJECT": "main"}
    commands = {"bare": BARE} | {
        f"p{size}": session.tidepool("pool", "ps", "--pool", f"p{size}", **stub) for size in sizes
    }
    timings = interleaved(commands, rounds=session.rounds(15), warm=2)
    for size in sizes:
        of = timings[f"p{size}"]
        goal = _listing_goal(size)
        yield record(
            f"pool ps of {size}: x bare", ratios(timings, f"p{size}", "bare"), "x", goal, _listing_anchor(size)
        )
        yield record(f"pool ps of {size}", _wall_ms(of), "ms")
        memory = {10: Goal(25, "at most 25 MiB"), 10_000: Goal(60, "at most 60 MiB")}.get(size)
        peer = {10: "80 MiB (dstack 0.18.11)", 10_000: "240 MiB (dstack 0.18.11)"}.get(size, "")
        yield record(f"pool ps of {size}: peak memory", [each.peak_mib for each in of], "MiB", memory, peer)
    if len(sizes) > 1:
        few, many = timings[f"p{sizes[0]}"], timings[f"p{sizes[-1]}"]
        spread = sizes[-1] - sizes[0]
        per_row = [(much.cpu_s - little.cpu_s) / spread * 1e6 for little, much in zip(few, many, strict=True)]
        goal = Goal(25, "at most 25 µs of CPU a row")
        yield record("pool ps: CPU per row", per_row, "µs", goal, "1,130 µs a row (dstack 0.18.11)")


def embedded_listing(session: Session) -> Iterator[Record]:
    """`pool ps` against the embedded control plane: API Gateway, two functions and DynamoDB are emulated in Python."""
    sizes = session.sizes
    for size in sizes:
        fill_pool(session.stack, f"bench-{size}", size)
    commands = {
        str(size): session.tidepool("pool", "ps", "--pool", f"bench-{size}", **session.stack.environ())
        for size in sizes
    }
    timings = interleaved(commands, rounds=session.rounds(10), warm=1)
    for size in sizes:
        name = f"pool ps of {size}, embedded"
        yield record(name, _wall_ms(timings[str(size)]), "ms", None, _listing_anchor(size))


def installation(session: Session) -> Iterator[Record]:
    """What installing the client adds to an empty environment."""
    target, source = session.scratch / "installed", session.scratch / "source"
    # A copy, because setuptools works in the folder of what it builds.
    shutil.copytree(ROOT / "cli", source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    base = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    for isolation in ([], ["--no-build-isolation"]):
        command = Command([*base, *isolation, "--target", str(target), str(source)], {"HOME": str(session.scratch)})
        done = subprocess.run(
            command.argv, env=command.environ(), capture_output=True, text=True, timeout=PIP_S, check=False
        )
        if done.returncode == 0:
            break
    else:
        raise BenchError(f"the client cannot be installed: {done.stderr[-500:]}")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    goal = Goal(15, "at most 15 MB beyond an empty environment")
    yield record("cli install size", [size / 1e6], "MB", goal, "203 MB (dstack 0.18.11)")
    distributions = len(list(target.glob("*.dist-info")))
    yield record("cli distributions", [distributions], "", Goal(8, "at most 8"), "80 (dstack 0.18.11)")


def _listing_goal(size: int) -> Goal:
    """The peer's part in times bare Python, so that it holds on any machine. Ten rows have a limit of their own."""
    if size == 10:
        return Goal(6.5, "at most 6.5 x bare Python")
    limit = SERVER_MS[size] / BARE_MS / FRACTION[size]
    return Goal(round(limit, 1), f"at most 1/{FRACTION[size]} of the peer, {limit:.1f} x bare")


def _listing_anchor(size: int) -> str:
    return f"{SERVER_MS[size]:,} ms, {SERVER_MS[size] / BARE_MS:.0f} x bare (dstack 0.18.11)"


def _wall_ms(timings: list[Timing]) -> list[float]:
    return [each.wall_s * 1e3 for each in timings]

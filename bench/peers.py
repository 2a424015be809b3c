"""The same work done by the peer, in turn with ours: `python -m bench --peers`.

dstack 0.18.11, the version that pools come from, is installed into an environment of its own under `.tidepool/peer`,
with a home folder of its own, and its server runs on the loopback interface for as long as it is measured. Without an
index of packages to install it from, this is skipped.
"""

import http.client
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.install import installed
from bench.peer_rows import fill
from bench.processes import BARE, ROOT, BenchError, Command, interleaved, ratios
from bench.records import Goal, Record, record
from bench.session import Session, free_port

VERSION: Final = "0.18.11"
HOME: Final = ROOT / ".tidepool" / "peer"
START_S: Final = 180
FRACTIONS: Final = {10: 12, 1_000: 25, 10_000: 60}
HERE: Final = f"dstack {VERSION}, measured in the same rounds"


def start(session: Session) -> Iterator[Record]:
    """Both command lines without a server."""
    session.say(f"installing dstack {VERSION} (once, some minutes)")
    dstack = _installed()
    for words in (("--version",), ("--help",), ("pool", "--help")):
        name = " ".join(words)
        commands = {"bare": BARE, "ours": session.tidepool(*words), "peer": _command(dstack, *words)}
        timings = interleaved(commands, rounds=session.rounds(12), warm=2)
        peer_ms = _median([each.wall_s * 1e3 for each in timings["peer"]])
        anchor = f"{peer_ms:.0f} ms, {_median(ratios(timings, 'peer', 'bare')):.0f} x bare ({HERE})"
        goal = Goal(1 / 15, "at most 1/15 of the peer")
        yield record(f"cli {name}: part of the peer's time", ratios(timings, "ours", "peer"), "x", goal, anchor)


def listing(session: Session) -> Iterator[Record]:
    """`pool ps` of both: ours against a server that answers at once, theirs against its own server."""
    session.say(f"starting dstack {VERSION}'s server")
    dstack = _installed()
    with _server(dstack) as database:
        for size in session.sizes:
            fill(database, size)
            stub = {"TIDEPOOL_URL": session.stub_url, "TIDEPOOL_TOKEN": "none", "TIDEPOOL_PROJECT": "main"}
            ours = session.tidepool("pool", "ps", "--pool", f"p{size}", **stub)
            rounds = min(session.rounds(8), 3 if size > 1_000 else 8)
            timings = interleaved({"ours": ours, "peer": _command(dstack, "pool", "ps")}, rounds=rounds)
            peer_ms = _median([each.wall_s * 1e3 for each in timings["peer"]])
            part = FRACTIONS[size]
            goal = Goal(1 / part, f"at most 1/{part} of the peer")
            anchor = f"{peer_ms:,.0f} ms ({HERE})"
            name = f"pool ps of {size}: part of the peer's time"
            yield record(name, ratios(timings, "ours", "peer"), "x", goal, anchor)
            memory = [
                own.peak_mib / other.peak_mib for own, other in zip(timings["ours"], timings["peer"], strict=True)
            ]
            yield record(f"pool ps of {size}: part of the peer's memory", memory, "x")


def _installed() -> Path:
    """The peer's command. Raises `BenchError` when it cannot be installed."""
    return installed(HOME, f"dstack=={VERSION}", "dstack")


def _command(dstack: Path, *words: str) -> Command:
    return Command([str(dstack), *words], _environ(), HOME)


def _environ() -> dict[str, str]:
    """Its files below `HOME`, no look for credentials of clouds, no question to its version service."""
    return {
        "HOME": str(HOME / "home"),
        "DSTACK_SERVER_DIR": str(HOME / "server"),
        "DSTACK_DEFAULT_CREDS_DISABLED": "1",
        "COLUMNS": "200",
    }


@contextmanager
def _server(dstack: Path) -> Iterator[Path]:
    """Run its server; the value is its database. Raises `BenchError` when it does not come up."""
    database = HOME / "server" / "data" / "sqlite.db"
    port = free_port()
    config = HOME / "server" / "config.yml"
    config.parent.mkdir(parents=True, exist_ok=True)
    # Its first start fails without this file.
    config.write_text("projects:\n- name: main\n  backends: []\n")
    command = _command(
        dstack, "server", "--default", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"
    )
    (HOME / "home").mkdir(exist_ok=True)
    with (HOME / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command.argv, env=command.environ(), cwd=HOME, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _await(process, port)
        # The project's pool is made when somebody asks for it first.
        first = _command(dstack, "pool", "list")
        subprocess.run(first.argv, env=first.environ(), cwd=HOME, capture_output=True, timeout=START_S, check=True)
        yield database
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/api/docs")
            connection.getresponse().read()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"skipped: dstack's server does not answer; see {HOME / 'server.log'}") from None
            time.sleep(0.1)
        else:
            return
        finally:
            connection.close()


def _median(samples: list[float]) -> float:
    return sorted(samples)[len(samples) // 2]

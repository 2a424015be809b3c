"""A scripted control plane, and the real agent as a process that calls it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.stub_api import BOOTSTRAP, PATIENCE_S, StubApi

PROGRAM = Path(__file__).parents[2] / "chalicelib" / "agent" / "tidepool_agent.py"
PYTHON = os.environ.get("TIDEPOOL_TEST_AGENT_PYTHON", sys.executable)
"""The agent must also run on the Pythons of old distributions, from 3.8 on."""

COUNTS = """
i=0
while [ ! -e "$0" ]; do i=$((i + 1)); echo $i; sleep 0.02; done
exit 5
"""
"""A job that counts until a file is there: it goes on for as long as a test needs it to, on a busy computer too."""

SYSTEM_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"


class Machine:
    """A machine with the agent on it; `TIDEPOOL_POWEROFF` leaves a note instead of switching anything off."""

    def __init__(self, folder: Path, api: StubApi) -> None:
        self.home = folder / "home"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.off = folder / "off"
        self._stderr = folder / "stderr"
        self.api = api
        self.env = {
            "PATH": f"{self.bin}:{SYSTEM_PATH}",
            "HOME": str(folder),
            "TIDEPOOL_URL": api.url,
            "TIDEPOOL_BOOTSTRAP": BOOTSTRAP,
            "TIDEPOOL_HOME": str(self.home),
            "TIDEPOOL_POWEROFF": f"touch {self.off}",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> None:
        """Start the agent; returns when it has synced."""
        before = len(self.api.syncs)
        self.launch(**env)
        self.api.until(lambda: len(self.api.syncs) > before)

    def launch(self, **env: str) -> None:
        with self._stderr.open("ab") as stderr:
            argv = [PYTHON, "-I", str(PROGRAM)]
            self.process = subprocess.Popen(argv, env={**self.env, **env}, stderr=stderr, stdin=subprocess.DEVNULL)

    def signal(self, number: int, *, limit_s: float = PATIENCE_S) -> int:
        """Signal the agent and return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(limit_s)

    def wait(self, limit_s: float = PATIENCE_S) -> int:
        assert self.process is not None
        return self.process.wait(limit_s)

    def write_command(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def events(self) -> list[dict[str, Any]]:
        complete = self._stderr.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in complete.splitlines()]

    def processes(self, run_id: str) -> dict[str, Any]:
        """What the job's folder says about its processes."""
        record: dict[str, Any] = json.loads((self.home / "jobs" / run_id / "process.json").read_text())
        return record

    def clean_up(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
        for path in self.home.glob("jobs/*/process.json"):
            record = json.loads(path.read_text())
            if not (path.parent / "end.json").exists():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(record["leader"], signal.SIGKILL)


def wait_until(what: Callable[[], Any], limit_s: float = PATIENCE_S) -> Any:
    """Wait for something that no condition variable tells."""
    give_up_at = time.monotonic() + limit_s
    while not (result := what()):
        assert time.monotonic() < give_up_at, f"not within {limit_s} s"
        time.sleep(0.01)
    return result


def counted(log: bytes) -> int:
    """How far that job came, whose log must have each line once."""
    lines = log.decode().splitlines()
    assert lines == [str(number) for number in range(1, len(lines) + 1)]
    return len(lines)


def quickest(attempt: Callable[[int], float]) -> float:
    """The shortest of several durations: what always waits shows in each, a busy computer in some."""
    return min(attempt(number) for number in range(5))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def api() -> Iterator[StubApi]:
    stub = StubApi()
    yield stub
    stub.close()


@pytest.fixture
def machine(tmp_path: Path, api: StubApi) -> Iterator[Machine]:
    one = Machine(tmp_path, api)
    yield one
    one.clean_up()

"""A local cloud as a server process of its own, as `make up` starts it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from chalicelib.backends.http import Answer, Endpoint

KEY = "a-key-for-tests"
ROOT = Path(__file__).parents[2]


class CloudProcess:
    """Start, stop, kill and start again one local cloud on one state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.log = state.parent / f"{state.name}.log"
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> "CloudProcess":
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.local.cloud", "--state", str(self.state), "--grace", "0.5", *options],
                cwd=ROOT,
                env={**os.environ, "TIDEPOOL_LOCAL_CLOUD_KEY": KEY, "A_SECRET_OF_THE_SERVER": "yes"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.url = eventually(self._listening)["url"]
        return self

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask the server to end, and wait until it has."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)

    def kill(self) -> None:
        """End the server as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=60)

    def call(self, method: str, path: str, body: object = None, key: str = KEY) -> Answer:
        return Endpoint(self.url, {"Authorization": f"Bearer {key}"}, 60).call(method, path, body)

    def rehearse(self, *faults: dict[str, object]) -> None:
        answer = self.call("PUT", "/rehearsal", list(faults))
        assert answer.status == 200, answer.text

    def clear(self) -> None:
        """Forget the faults and end every machine."""
        self.call("DELETE", "/rehearsal")
        for machine in self.machines():
            self.call("DELETE", f"/machines/{machine['id']}")
        eventually(lambda: not self.machines())

    def machines(self) -> list[dict[str, object]]:
        return self.call("GET", "/machines").body["machines"]

    def _listening(self) -> dict[str, str]:
        assert self._process is not None
        ended = self._process.poll()
        assert ended is None, f"the server ended with {ended}: {self.log.read_text()}"
        first = json.loads(self.log.read_text().partition("\n")[0] or "{}")
        return first if first.get("event") == "listening" else {}


def eventually(check, within_s: float = 60.0):
    """Return the first true answer of `check`; fail when none comes within the limit."""
    give_up_at = time.monotonic() + within_s
    while not (answer := check()):
        assert time.monotonic() < give_up_at, f"still {answer!r} after {within_s} s"
        time.sleep(0.02)
    return answer

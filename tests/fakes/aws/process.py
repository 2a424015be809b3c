"""The fake AWS as a process of its own, for tests, and its switchboard."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[3]


class AwsProcess:
    """Start and stop one fake. With `state` its instances are real machines."""

    def __init__(self, state: Path | None = None) -> None:
        self._state = state
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> "AwsProcess":
        options = ["--state", str(self._state)] if self._state else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.aws", *options],
            cwd=ROOT,
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the fake did not start"
        return self

    def stop(self) -> None:
        """End the fake and its machines."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def set(self, **switches: Any) -> None:
        """Turn switches of `world.Switches`."""
        self._call("PUT", "", switches)

    def reset(self) -> None:
        """Behave again."""
        self._call("DELETE", "")

    def interrupt(self, ref: str, *, after_s: float = 120) -> None:
        """Take a spot machine back: notice now, the end later."""
        self._call("POST", "/interrupt", {"id": ref.partition("/")[2], "after_s": after_s})

    def leftovers(self, ref: str) -> list[str]:
        """What there is of a machine: the instance, volumes, interfaces, processes."""
        return list(self._call("GET", f"/leftovers?id={ref.partition('/')[2]}"))

    def launches(self) -> list[dict[str, Any]]:
        """The bodies of the last launches that were taken, oldest first."""
        return list(self._call("GET", "/launches"))

    def sessions(self) -> list[str]:
        """The keys of the sessions in which roles were assumed."""
        return list(self._call("GET", "/sessions"))

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}/_rehearsal{path}", content, method=method), timeout=60) as answer:
            return json.loads(answer.read())

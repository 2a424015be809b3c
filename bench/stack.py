"""An embedded control plane for the benchmarks: brought up, filled and asked from outside, as a user would."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bench.processes import ROOT, BenchError, Command
from infra.local import daemons
from infra.local.deploy import Emulator
from infra.local.emulator import root_key
from infra.local.folder import PARTS, Folder

STAGE: Final = "local"
UP_S: Final = 600
CALL_S: Final = 180
POLL_S: Final = 0.02
BATCH: Final = 25
"""Requests in one BatchWriteItem (DynamoDB's limit)."""

Answer = tuple[int, Any]


class Stack:
    """One control plane in a folder of its own. No schedules run: what is measured is what was asked for."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        self._local = threading.local()
        self.first_up_s = 0.0

    def up(self) -> float:
        """Bring it up as `make up` does; return how long that took, in seconds."""
        took = self._control("up", "--port", "0", "--no-schedules")
        self.first_up_s = self.first_up_s or took
        return took

    def down(self) -> float:
        """Stop it and keep its state; return how long that took, in seconds."""
        self.hang_up()
        for name in ("client", "emulator"):
            self.__dict__.pop(name, None)
        return self._control("down")

    def erase(self) -> None:
        """Stop it and remove everything."""
        self.hang_up()
        self._control("down", "--erase", "--force")

    @cached_property
    def client(self) -> dict[str, str]:
        """What a client needs: `TIDEPOOL_URL` and so on."""
        return self.folder.client()

    @cached_property
    def emulator(self) -> Emulator:
        """The AWS behind it, with the key that may do everything."""
        return Emulator(urlsplit(self.client["TIDEPOOL_URL"]).port or 0, root_key(self.folder.state))

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Call the API below `/v1/projects/main` on this thread's open connection; return status and body."""
        address = urlsplit(self.client["TIDEPOOL_URL"])
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=CALL_S)
        headers = {"Authorization": f"Bearer {self.client['TIDEPOOL_TOKEN']}", "Content-Type": "application/json"}
        text = None if body is None else json.dumps(body)
        connection: http.client.HTTPConnection = self._local.connection
        try:
            connection.request(method, f"{address.path}/v1/projects/main/{path}", text, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self.hang_up()
            raise

    def hang_up(self) -> None:
        """Close this thread's connection; the next call opens another."""
        connection = self._local.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    def must(self, method: str, path: str, body: Any = None) -> Any:
        """`call`, for what cannot be refused. Raises `BenchError`."""
        status, answer = self.call(method, path, body)
        if status >= 300:
            raise BenchError(f"{method} {path}: {status} {answer}")
        return answer

    def until(self, what: str, wanted: Callable[[], bool], limit_s: float = 180) -> None:
        """Wait until something holds. Raises `BenchError` when it does not in time."""
        end = time.monotonic() + limit_s
        while not wanted():
            if time.monotonic() > end:
                raise BenchError(f"{what}: not within {limit_s:.0f} s")
            time.sleep(POLL_S)

    def state(self, name: str) -> str:
        """The state of an instance."""
        return str(self.must("GET", f"instances/{name}")["state"])

    def rehearse(self, *faults: Mapping[str, Any]) -> None:
        """Script the local cloud's faults, in place of those before."""
        self.cloud("PUT", "/rehearsal", list(faults))

    def cloud(self, method: str, path: str, body: Any = None) -> Any:
        """Call the local cloud, as its driver does."""
        address = urlsplit(self.client["TIDEPOOL_LOCAL_CLOUD_URL"])
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=CALL_S)
        headers = {
            "Authorization": f"Bearer {self.client['TIDEPOOL_LOCAL_CLOUD_KEY']}",
            "Content-Type": "application/json",
        }
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        if answer.status >= 300:
            raise BenchError(f"local cloud: {method} {path}: {answer.status} {said.decode(errors='replace')}")
        return json.loads(said) if said else None

    def put_items(self, noun: str, items: Iterable[Mapping[str, Any]]) -> None:
        """Write raw items into one of the tables."""
        put_items(self.emulator.client("dynamodb"), f"tidepool-{STAGE}-{noun}", items)

    def environ(self) -> dict[str, str]:
        """The environment of a command line that talks to it."""
        return {name: self.client[name] for name in ("TIDEPOOL_URL", "TIDEPOOL_TOKEN", "TIDEPOOL_PROJECT")}

    def pids(self) -> dict[str, int]:
        """The background processes that run, by their part."""
        found = {part: daemons.running(self.folder.pid(part)) for part in PARTS}
        return {part: pid for part, pid in found.items() if pid}

    def _control(self, *words: str) -> float:
        command = Command([sys.executable, "-m", "infra.local", "--state", str(self.folder.root), *words])
        started = time.monotonic()
        done = subprocess.run(
            command.argv, env=command.environ(), cwd=ROOT, capture_output=True, text=True, timeout=UP_S, check=False
        )
        if done.returncode:
            raise BenchError(f"infra.local {words[0]}: {done.stderr[-1500:]}")
        return time.monotonic() - started


def put_items(client: Any, table: str, items: Iterable[Mapping[str, Any]]) -> None:
    """Write raw items with two threads. Raises `BenchError` when some are not taken."""
    waiting = list(items)
    batches = [waiting[start : start + BATCH] for start in range(0, len(waiting), BATCH)]

    def write(batch: Sequence[Mapping[str, Any]]) -> None:
        asked = {table: [{"PutRequest": {"Item": item}} for item in batch]}
        if client.batch_write_item(RequestItems=asked)["UnprocessedItems"]:
            raise BenchError(f"{table} did not take every item")

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, batches))

"""What is known of the machines, on disk: one state file, replaced as a whole, and a lock against a second server."""

import contextlib
import fcntl
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Final

KEEP_GONE: Final = 500
"""How many ended machines are still known, so that asking for one answers `gone` for a while."""

LOCK_TRIES: Final = 10
LOCK_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine as the state file has it. Moments are ISO 8601 UTC; empty where there is none.

    `started` is false from the intent until the supervisor was started. `ends_at` is when a preempted one is killed.
    """

    id: str
    name: str
    type: str
    region: str
    zone: str
    spot: bool
    launched_at: str
    started: bool = False
    stopping: bool = False
    gone: bool = False
    interrupted_at: str = ""
    ends_at: str = ""
    tags: dict[str, str] = field(default_factory=dict)


class Records:
    """The machines by id, oldest first. `folder` holds the state file and a folder for each machine."""

    def __init__(self, folder: Path) -> None:
        """Read what an earlier server left. Raises `BlockingIOError` when another server has the folder."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._lock = _lock(self.folder / "server.lock")
        self._path = self.folder / "machines.json"
        rows = json.loads(self._path.read_text()) if self._path.exists() else []
        self._machines = {row["id"]: Machine(**row) for row in rows}

    def close(self) -> None:
        """Let another server have the folder."""
        self._lock.close()

    def get(self, machine_id: str) -> Machine | None:
        """Look up one machine, gone or not."""
        return self._machines.get(machine_id)

    def live(self) -> list[Machine]:
        """Every machine that is not gone."""
        return [machine for machine in self._machines.values() if not machine.gone]

    def put(self, machine: Machine) -> None:
        """Keep one machine, on disk and then in memory; forget the oldest of the gone ones beyond `KEEP_GONE`."""
        machines = {**self._machines, machine.id: machine}
        for old in [old.id for old in machines.values() if old.gone][:-KEEP_GONE]:
            del machines[old]
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(one) for one in machines.values()], indent=1))
        fresh.replace(self._path)
        self._machines = machines


def _lock(path: Path) -> IO[str]:
    handle = path.open("a")
    for _ in range(LOCK_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        time.sleep(LOCK_PAUSE_S)
    handle.close()
    raise BlockingIOError(f"another local cloud runs on {path.parent}")

"""The supervisor of one machine: `python -m infra.local.cloud.supervisor FOLDER`, in a session of its own.

It runs the machine's user data for ever, as systemd with `Restart=always` would keep an agent, and holds a lock on
the folder while it lives: the lock is what "this machine is on" means, whatever became of the server that started it.
SIGUSR1 powers the machine off; SIGTERM and worse end the supervisor alone, and the server ends the rest.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final

from infra.local.cloud import processes

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
STABLE_S: Final = 30.0
"""User data that ran this long is healthy: its next crash starts the back-off anew."""

CONSOLE_LIMIT: Final = 1 << 20
"""Bytes of console output after which the next start begins a new file and keeps one old one."""

LOCK_WAIT_S: Final = 2.0
POWER_OFF_GRACE_S: Final = 2.0


class PowerOffError(Exception):
    """The machine was told to power itself off."""


def lock(folder: Path, *, wait_s: float) -> IO[str] | None:
    """Take the folder's lock, which ends with this process; None when another supervisor keeps it for `wait_s`."""
    handle = (folder / "supervisor.lock").open("a+")
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                handle.close()
                return None
            time.sleep(processes.POLL_S)


def is_on(folder: Path) -> bool:
    """Whether a supervisor lives in `folder`."""
    if not folder.is_dir():
        return False
    handle = lock(folder, wait_s=0)
    if handle is None:
        return True
    handle.close()
    return False


def run(folder: Path, machine: dict[str, Any]) -> None:
    """Keep the user data running until a signal ends it. `machine` is what `folders.prepare` wrote."""
    time.sleep(machine["boot_delay_s"])
    (folder / "booted").touch()
    while machine["silent"]:
        signal.pause()
    pause_s = FIRST_PAUSE_S
    while True:
        started = time.monotonic()
        with _console(folder) as console:
            status = subprocess.run(
                ["sh", str(folder / "user-data")],
                check=False,
                cwd=folder,
                env=machine["env"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ).returncode
            if time.monotonic() - started >= STABLE_S:
                pause_s = FIRST_PAUSE_S
            console.write(f"user data ended with {status}; starting it again in {pause_s:.1f} s\n".encode())
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _console(folder: Path) -> IO[bytes]:
    path = folder / "console.log"
    if path.exists() and path.stat().st_size > CONSOLE_LIMIT:
        path.replace(folder / "console.log.1")
    return path.open("ab", buffering=0)


def _power_off(_number: int, _frame: FrameType | None) -> None:
    raise PowerOffError


def main(folder: Path) -> int:
    """Supervise the machine in `folder`. 0 after a power-off, or when another supervisor is there already."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    held = lock(folder, wait_s=LOCK_WAIT_S)
    if held is None:
        return 0
    (folder / "supervisor.pid").write_text(f"{os.getpid()}\n")
    machine = json.loads((folder / "machine.json").read_text())
    try:
        signal.signal(signal.SIGUSR1, _power_off)
        if not (folder / "powered-off").exists():
            run(folder, machine)
    except PowerOffError:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    processes.end(machine["id"], grace_s=POWER_OFF_GRACE_S, spare={os.getpid()})
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

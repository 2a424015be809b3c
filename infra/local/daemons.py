"""Processes in the background, known by a file that they hold locked.

The lock is what "runs" means: it ends with the process, however that ends, so a left-over file is never mistaken for a
process, nor another process that was given the same id.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

POLL_S: Final = 0.02
KILLED_S: Final = 5.0


def start(pid_file: Path, command: Sequence[str], *, cwd: Path, log: Path, environ: dict[str, str]) -> int:
    """Start a process in a session of its own, its output appended to `log`. Returns its id.

    Raises `BlockingIOError` when the process of this file runs already.
    """
    with pid_file.open("a+") as held, log.open("ab") as output:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # The lock belongs to the open file, which the process inherits; what it starts itself does not.
            pass_fds=(held.fileno(),),
        )
        held.truncate(0)
        held.write(f"{process.pid}\n")
    # It is not this process's to wait for; without this a note about it comes at exit.
    process.returncode = 0
    return process.pid


def running(pid_file: Path) -> int:
    """The id of the process that holds the file, or 0."""
    with suppress(FileNotFoundError), pid_file.open("r+") as held:
        if not _free(held):
            return int(held.read().strip() or 0)
    return 0


def stop(pid_file: Path, *, within_s: float) -> bool:
    """Ask a process to end and wait for it; kill it after `within_s`. False when it had to be killed."""
    pid = running(pid_file)
    if not pid:
        pid_file.unlink(missing_ok=True)
        return True
    _send(pid, signal.SIGTERM)
    graceful = _ended(pid_file, within_s)
    if not graceful:
        _send(pid, signal.SIGKILL)
        _ended(pid_file, KILLED_S)
    pid_file.unlink(missing_ok=True)
    return graceful


def _ended(pid_file: Path, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not running(pid_file):
            return True
        time.sleep(POLL_S)
    return False


def _free(held: IO[str]) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)

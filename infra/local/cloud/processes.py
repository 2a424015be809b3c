"""Which processes belong to a machine, and how they end.

Jobs run in sessions of their own and outlive the program that started them, so neither process groups nor the tree
alone name them all. Every process of a machine inherits one environment variable; its holders, and whatever
descends from them, are the machine. A process that both clears its environment and loses its parent escapes.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

MARKER: Final = "TIDEPOOL_MACHINE"
"""The environment variable that marks the processes of a machine. Its value is the machine's id."""

POLL_S: Final = 0.05
LONGEST_POLL_S: Final = 0.4
"""A look at every process of the computer costs milliseconds, and many machines may be ending at once."""

STUBBORN_S: Final = 10.0
"""How long a killed process may stay (an uninterruptible system call) before the attempt is given up."""

PS: Final = ("env", "LC_ALL=C", "ps", "-axwwE", "-o", "pid=,ppid=,lstart=,command=")
"""Where there is no /proc (macOS): `-E` appends the environment of one's own processes. Source: ps(1) of macOS."""

PS_LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """One living process. `started` tells a reused id apart; `marked` says that it carries the marker asked for."""

    pid: int
    parent: int
    started: str
    marked: bool


def living(machine_id: str) -> frozenset[Process]:
    """Every living process of one machine."""
    return members(_snapshot(machine_id))


def members(processes: Iterable[Process]) -> frozenset[Process]:
    """Those that are marked, and all that descend from them."""
    children: dict[int, list[Process]] = {}
    found: dict[int, Process] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        if process.marked:
            found[process.pid] = process
    queue = list(found)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child.pid not in found:
                found[child.pid] = child
                queue.append(child.pid)
    return frozenset(found.values())


def end(machine_id: str, *, grace_s: float, spare: Collection[int] = (), root: int = 0) -> None:
    """End every process of a machine: SIGTERM once, SIGKILL to what is left after `grace_s`. Returns when none is left.

    A process seen once stays on the list although its parent, through which it was found, is gone by then. The ids in
    `spare` are left alone. `root` is a child of the caller, not waited for yet, that is of the machine whether or not
    it carries the marker: while a program is being loaded it has no environment, and would be taken for nobody's.
    Raises `TimeoutError` when something survives SIGKILL for `STUBBORN_S`.
    """
    seen: set[tuple[int, str]] = set()
    kill_at = time.monotonic() + grace_s
    pause_s = POLL_S
    while True:
        everything = [replace(each, marked=each.marked or each.pid == root) for each in _snapshot(machine_id)]
        found = members(everything) | {process for process in everything if (process.pid, process.started) in seen}
        doomed = [process for process in found if process.pid not in spare]
        if not doomed:
            return
        late = time.monotonic() - kill_at
        if late > STUBBORN_S:
            raise TimeoutError(f"{len(doomed)} processes of {machine_id} survive SIGKILL")
        for process in doomed:
            if late >= 0:
                _send(process.pid, signal.SIGKILL)
            elif (process.pid, process.started) not in seen:
                _send(process.pid, signal.SIGTERM)
            seen.add((process.pid, process.started))
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_POLL_S)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _snapshot(machine_id: str) -> Iterator[Process]:
    mark = f"{MARKER}={machine_id}"
    if sys.platform == "linux":
        return _from_proc(mark.encode())
    listing = subprocess.run(PS, check=True, capture_output=True, timeout=PS_LIMIT_S).stdout
    return parse_ps(listing.decode(errors="replace"), mark)


def _from_proc(mark: bytes) -> Iterator[Process]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name in brackets may hold anything. After it: state, ppid, ... and as the 20th the start time. proc(5)
        fields = stat.rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            continue
        yield Process(int(folder.name), int(fields[1]), fields[19].decode(), mark in _environment(folder))


def _environment(folder: Path) -> list[bytes]:
    """The environment a process was started with; empty for those of other users and for those that just ended."""
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def parse_ps(listing: str, mark: str) -> Iterator[Process]:
    """Read the lines of `PS`: id, parent, five words of start time, command with the environment behind it."""
    for line in listing.splitlines():
        words = line.split()
        yield Process(int(words[0]), int(words[1]), " ".join(words[2:7]), mark in words[7:])

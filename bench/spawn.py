"""Time whole processes: `python -m bench.spawn` reads what to run as JSON and writes the timings as JSON.

A process of its own, because the peak memory that the kernel reports for a child is at least that of the process it
was forked from; this one has imported almost nothing. Every round runs each command once, in turn, so that the drift
of a busy machine hits all of them alike; ratios are to be taken round by round.
"""

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

PER_MIB = 1024 if sys.platform == "linux" else 1 << 20
"""`ru_maxrss` is in KiB on Linux, in bytes on macOS."""


def once(command: dict[str, Any], limit_s: float) -> dict[str, float]:
    """Run one command to its end. Raises when it fails or takes longer than `limit_s`."""
    started = time.monotonic()
    process = subprocess.Popen(
        command["argv"],
        env=command["env"],
        cwd=command["cwd"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    guard = threading.Timer(limit_s, process.kill)
    guard.start()
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    guard.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise SystemExit(f"{' '.join(command['argv'])} ended with {process.returncode}: {said.decode()[-800:]}")
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / PER_MIB}


def main() -> None:
    """Run the rounds; the first `warm` are not counted."""
    given = json.load(sys.stdin)
    timings: dict[str, list[dict[str, float]]] = {name: [] for name in given["commands"]}
    for number in range(given["warm"] + given["rounds"]):
        for name, command in given["commands"].items():
            timing = once(command, given["limit_s"])
            if number >= given["warm"]:
                timings[name].append(timing)
    json.dump(timings, sys.stdout)


if __name__ == "__main__":
    main()

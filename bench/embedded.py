"""The embedded control plane from outside: memory, leases, a crowd, start-up. Goals 13 and 20."""

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bench.fleet import fill_pool
from bench.processes import BenchError
from bench.records import Goal, Record, record
from bench.session import Effort, Session
from bench.stack import Stack

CROWD: Final = 64
FREE: Final = 8


def memory(session: Session) -> Iterator[Record]:
    """Resident memory: of the function that serves the API, and of all that the embedded control plane runs."""
    stack = session.stack
    if len(session.sizes) > 1:
        fill_pool(stack, "bench-1000", session.sizes[1])
        stack.must("GET", "pools/bench-1000/instances?limit=1000")
    parts = resident_mib(stack)
    goal = Goal(80, "at most 80 MiB (a 256 MB function)")
    anchor = "408 MiB idle, 710 MiB after a big listing (dstack 0.18.11 server)"
    yield record("memory of the API function", parts.pop("api"), "MiB", goal, anchor)
    for name, mib in sorted(parts.items()):
        yield record(f"memory: {name}", [sum(mib)], "MiB")
    yield record("memory: everything", [sum(map(sum, resident_mib(stack).values()))], "MiB", None, anchor)


def acquire(session: Session) -> Iterator[Record]:
    """A lease through the API and back, one caller."""
    stack = session.stack
    fill_pool(stack, "leases", 10)
    took: dict[str, list[float]] = {"acquire": [], "release": []}
    for _ in range(session.rounds(40) + 1):
        started = time.perf_counter()
        lease = stack.must("POST", "pools/leases/leases", {"holder": "bench", "allow_gpu": True})
        middle = time.perf_counter()
        stack.must("DELETE", f"leases/{lease['lease_id']}")
        took["acquire"].append((middle - started) * 1e3)
        took["release"].append((time.perf_counter() - middle) * 1e3)
    for name, samples in took.items():
        yield record(f"{name} through the API", samples[1:] or samples, "ms")


def crowd(session: Session) -> Iterator[Record]:
    """64 callers at once for 8 idle instances, through the deployed API."""
    stack = session.stack
    rounds = session.rounds(3)
    winners, double, seconds = [], [], []
    for number in range(rounds):
        pool = f"crowd-{number}"
        fill_pool(stack, pool, FREE)
        began = threading.Barrier(CROWD + 1)

        def take(holder: int, pool: str = pool, began: threading.Barrier = began) -> str | None:
            began.wait()
            wanted = {"holder": f"h{holder}", "allow_gpu": True}
            try:
                status, body = stack.call("POST", f"pools/{pool}/leases", wanted)
            finally:
                stack.hang_up()
            if status not in {201, 409}:
                raise BenchError(f"acquire answered {status}: {body}")
            return str(body["instance"]["instance_id"]) if status == 201 else None

        with ThreadPoolExecutor(CROWD) as threads:
            asked = [threads.submit(take, holder) for holder in range(CROWD)]
            began.wait()
            started = time.monotonic()
            taken = Counter(won for each in asked if (won := each.result()))
        seconds.append(time.monotonic() - started)
        winners.append(taken.total())
        double.append(sum(1 for count in taken.values() if count > 1))
    anchor = "at most 0.5/s, one at a time (dstack 0.18.11)"
    yield record("crowd: winners of 64 for 8", winners, "", Goal(FREE, "8 at most", at="p99"), "")
    yield record("crowd: at least", [min(winners)], "", Goal(FREE, "8 at least", at_least=True), "")
    yield record("crowd: double hand-outs", double, "", Goal(0, "none", at="p99"), "")
    yield record("crowd: answers", [CROWD / each for each in seconds], "1/s", None, anchor)


def warm_up(session: Session) -> Iterator[Record]:
    """Stop and start it again, as `make down` and `make up` do."""
    stack = session.stack
    yield record("make up, first (packages and deploys)", [stack.first_up_s], "s")
    if session.effort is Effort.ONCE:
        return
    starts, stops = [], []
    for _ in range(session.rounds(4)):
        stops.append(stack.down())
        starts.append(stack.up())
    yield record("make up, warm", starts, "s", Goal(10, "at most 10 s"), "6.0 s to 20 s (dstack 0.18.11 server)")
    yield record("make down", stops, "s")


def resident_mib(stack: Stack) -> dict[str, list[float]]:
    """Resident memory of each process, by what it is: a part, or a function by its last name."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,rss=,args="], capture_output=True, text=True, check=True, timeout=20
    ).stdout.splitlines()
    processes = {int(line.split(None, 3)[0]): line.split(None, 3) for line in listed if len(line.split(None, 3)) == 4}
    names = {pid: part for part, pid in stack.pids().items()}
    found: dict[str, list[float]] = {}
    for pid, (_, parent, kib, arguments) in processes.items():
        name = names.get(pid)
        if name is None and _descends(processes, int(parent), stack.pids()["control-plane"]):
            handler = arguments.rsplit(None, 1)[-1]
            name = "api" if handler == "app.app" else f"function {handler.rpartition('.')[2]}"
        if name:
            found.setdefault(name, []).append(int(kib) / 1024)
    if "api" not in found:
        raise BenchError("the API function does not run")
    return found


def _descends(processes: dict[int, list[str]], pid: int, ancestor: int) -> bool:
    while pid in processes and pid != ancestor:
        pid = int(processes[pid][1])
    return pid == ancestor

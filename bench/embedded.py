"""The embedded control plane from outside: everything that a user waits for. Goals 13, 20, 21 and the warm start."""

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from bench.fleet import fill_pool
from bench.processes import BenchError
from bench.records import Goal, Record, record
from bench.session import Session
from bench.stack import Stack

SMALL: Final = {"requirements": {"cpu": "2..", "memory": "2GB.."}, "backends": ["local"]}
CROWD: Final = 64
FREE: Final = 8
WARM_POOL: Final = "warm"


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
            status, body = stack.call("POST", f"pools/{pool}/leases", {"holder": f"h{holder}", "allow_gpu": True})
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


def provision(session: Session) -> Iterator[Record]:
    """From the order to an idle instance, beside what the provider takes by itself; and the workflow's transitions."""
    stack = session.stack
    pool = _pool(stack, "provision")
    overhead, transitions, provider = [], [], []
    for number in range(session.rounds(8)):
        own_s = _machine_s(stack, number)
        name = f"plain-{number}"
        overhead.append(_provision_s(stack, pool, name) - own_s)
        provider.append(own_s)
        transitions.append(_transitions(stack, name))
    stack.rehearse({"fault": "no-capacity", "type": "cpu-small", "count": 1})
    _provision_s(stack, pool, "second-offer")
    stack.rehearse()
    more = _transitions(stack, "second-offer") - sorted(transitions)[len(transitions) // 2]
    yield record("provision: the provider's own time", provider, "s")
    yield record("provision: overhead", overhead, "s", None, "loops of 2 to 10 s (dstack, read)")
    yield record("provision: transitions", transitions, "", Goal(8, "at most 8", at="p99"), "")
    yield record("provision: transitions for a failed offer", [more], "", Goal(3, "at most 3"), "")
    price = 25 * max(transitions)
    yield record("provision: transitions, per million", [price], "$", Goal(220, "at most $220"), "")


def warm_start(session: Session) -> Iterator[Record]:
    """From starting `tidepool run` to the first byte of the job's output, on an idle instance."""
    stack = session.stack
    pool = _pool(stack, WARM_POOL)
    _provision_s(stack, pool, "warm-1")
    command = session.tidepool("run", "--pool", pool, "--reuse", "--", "cat", "train.py", **stack.environ())
    first, whole = [], []
    for number in range(session.rounds(24) + 2):
        stack.until("the instance is idle again", lambda: stack.state("warm-1") == "idle")
        started = time.monotonic()
        with subprocess.Popen(
            command.argv,
            env=command.environ(),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            byte = os.read(process.stdout.fileno(), 1)
            came = time.monotonic() - started
            process.stdout.read()
            if process.wait(60) or not byte:
                raise BenchError(f"the run failed: {process.stderr.read().decode(errors='replace')[-800:]}")
        if number >= 2:
            first.append(came)
            whole.append(time.monotonic() - started)
    anchor = "at least 4 to 10 s, by its loops' intervals (dstack, read)"
    yield record("warm start: first byte", first, "s", Goal(1.0, "p50 at most 1 s"), anchor)
    yield record("warm start: first byte, p95", first, "s", Goal(1.5, "p95 at most 1.5 s", at="p95"), anchor)
    yield record("warm start: whole command", whole, "s")


def hung_teardown(session: Session) -> Iterator[Record]:
    """The end of one instance while the provider hangs on another one's."""
    stack = session.stack
    pool = _pool(stack, "hung")
    alone, beside = [], []
    for number in range(session.rounds(3)):
        names = [f"{kind}-{number}" for kind in ("alone", "stuck", "free")]
        for name, kind in zip(names, ("cpu-small", "cpu-medium", "cpu-small"), strict=True):
            _provision_s(stack, pool, name, kind)
        alone.append(_removal_s(stack, names[0]))
        stack.rehearse({"fault": "slow", "type": "cpu-medium", "value": 8, "count": 2})
        stack.must("DELETE", f"instances/{names[1]}")
        beside.append(_removal_s(stack, names[2]))
        stack.rehearse()
    anchor = "blocks the whole batch, up to 20 min (dstack 0.18.11)"
    delays = [max(0.0, later - first) for first, later in zip(alone, beside, strict=True)]
    yield record("teardown: order to gone", alone, "s")
    yield record("teardown beside a hung one: delay", delays, "s", Goal(1.0, "none (1 s of noise)"), anchor)


def warm_up(session: Session) -> Iterator[Record]:
    """Stop and start it again, as `make down` and `make up` do."""
    stack = session.stack
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


def _pool(stack: Stack, name: str) -> str:
    if name not in {each["name"] for each in stack.must("GET", "pools")["items"]}:
        stack.must("POST", "pools", {"name": name})
    return name


def _provision_s(stack: Stack, pool: str, name: str, kind: str = "cpu-small") -> float:
    """Order an instance and wait until it is idle; return how long that took."""
    started = time.monotonic()
    body: dict[str, Any] = {**SMALL, "name": name}
    if name != "second-offer":
        body["instance_types"] = [kind]
    stack.must("POST", f"pools/{pool}/instances", body)
    stack.until(f"{name} is idle", lambda: stack.state(name) == "idle")
    return time.monotonic() - started


def _removal_s(stack: Stack, name: str) -> float:
    """Remove an instance and wait until the provider confirmed its end; return how long that took."""
    started = time.monotonic()
    stack.must("DELETE", f"instances/{name}")
    stack.until(f"{name} is gone", lambda: stack.state(name) == "terminated")
    return time.monotonic() - started


def _machine_s(stack: Stack, number: int) -> float:
    """How long the local cloud takes to have a machine run its user data."""
    mark = stack.folder.root / f"mark-{number}"
    kind = {"type": "cpu-small", "region": "local-north", "zone": "local-north-a", "spot": False, "tags": {}}
    started = time.monotonic()
    data = f"#!/bin/sh\ntouch '{mark}'\nsleep 60\n"
    machine = stack.cloud("POST", "/machines", {"name": f"bench-{number}", "user_data": data, **kind})
    stack.until("the machine runs", mark.exists)
    took = time.monotonic() - started
    stack.cloud("DELETE", f"/machines/{machine['id']}")
    return took


def _transitions(stack: Stack, name: str) -> int:
    """State transitions of the workflow that provisioned an instance: the start, each state entered, each retry."""
    instance_id = stack.must("GET", f"instances/{name}")["instance_id"]
    client = stack.emulator.client("stepfunctions")
    machines = {each["name"]: each["stateMachineArn"] for each in client.list_state_machines()["stateMachines"]}
    arn = next(arn for machine, arn in machines.items() if machine.endswith("-provision"))
    for execution in client.list_executions(stateMachineArn=arn, maxResults=1000)["executions"]:
        if instance_id in execution["name"]:
            history = client.get_execution_history(executionArn=execution["executionArn"], maxResults=1000)["events"]
            kinds = Counter(event["type"] for event in history)
            entered = sum(count for kind, count in kinds.items() if kind.endswith("StateEntered"))
            tried = kinds["TaskScheduled"] + kinds["LambdaFunctionScheduled"]
            return 1 + entered + max(0, tried - kinds["TaskStateEntered"])
    raise BenchError(f"no workflow provisioned {name}")

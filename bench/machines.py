"""Machines on the embedded control plane: renting, running, returning. Goals 19 and 21, and the warm start."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from bench.processes import BenchError
from bench.records import Goal, Record, record
from bench.session import Session
from bench.stack import Stack

SMALL: Final = {"requirements": {"cpu": "2..", "memory": "2GB.."}, "backends": ["local"]}


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
    pool = _pool(stack, "warm")
    _provision_s(stack, pool, "warm-1", "cpu-medium")
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

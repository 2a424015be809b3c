"""A whole control plane in one process on a counted clock: real services, real store (on moto), simulated outside.

Nothing happens by itself: a test moves the clock, runs workflows a step at a time, lets agents sync, delivers stream
records, and may do any of it twice, late, or never.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

from chalicelib.backends.base import Capabilities, LaunchSpec, Machine, Phase, Rate
from chalicelib.config import load
from chalicelib.domain.errors import (
    BackendError,
    BackendThrottledError,
    NoCapacityError,
    TransientError,
    UnauthenticatedError,
    UnknownOutcomeError,
)
from chalicelib.domain.launch_rate import Bucket, full, turn
from chalicelib.domain.model import Offer
from chalicelib.services import adoption, agents, backends, provisioning, teardown, tokens
from chalicelib.services.deps import Deps
from chalicelib.services.jobs import JobReport
from tests.builders import NOW, make_offer
from tests.services.accounts import MemorySecrets, SimDrivers
from tests.services.sim_hosts import SimHosts

SETTINGS = {
    "TIDEPOOL_STAGE": "test",
    "TIDEPOOL_PROVISION_ARN": "provision",
    "TIDEPOOL_TEARDOWN_ARN": "teardown",
    "TIDEPOOL_ADOPT_ARN": "adopt",
    "TIDEPOOL_SYNC_S": "30",
    "TIDEPOOL_PUBLIC_URL": "http://api.test",
}


STOPS_IN_S = 3


class Cloud:
    """A provider in memory. `faults` are consumed by launches, one each; `stubborn` makes terminate fail n times.

    `stock` says how many machines of an offer (by key) there are still; those that it does not name never run out.
    """

    name = "sim"
    capabilities = Capabilities(spot=True, cluster=False, simulated=True, call_timeout=timedelta(seconds=5))

    def __init__(self, now: Any, offers: list[Offer]) -> None:
        self.now = now
        self.shelf = offers
        self.machines: dict[str, Machine] = {}
        self.user_data: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.faults: list[str] = []
        self.sold_out: set[str] = set()
        self.stock: dict[str, int] = {}
        self.stubborn = 0
        self.launches = 0
        self.shapes: dict[str, str] = {}
        self.gone_at: dict[str, datetime] = {}
        self.rate: Rate | None = None
        self.bucket: Bucket | None = None
        self.throttled = 0
        self.launched_ids: list[str] = []

    def limit(self, rate: Rate, *, told: Rate | None = None) -> None:
        """Refuse what is launched faster than `rate`. The driver knows of that limit, or of the one it is told."""
        self.rate, self.bucket = rate, full(rate.burst, self.now())
        self.capabilities = replace(self.capabilities, launches=told or rate)

    def _take(self) -> bool:
        if self.rate is None or self.bucket is None:
            return True
        taken = turn(self.bucket, per_s=self.rate.per_s, burst=self.rate.burst, ahead=0, now=self.now())
        self.bucket = taken.bucket or self.bucket
        return taken.bucket is not None

    def offers(self) -> list[Offer]:
        return list(self.shelf)

    def launch(self, spec: LaunchSpec) -> Machine:
        if not self._take():
            self.throttled += 1
            raise BackendThrottledError("slow down")
        fault = self.faults.pop(0) if self.faults else ""
        none_left = spec.offer.key in self.sold_out or self.stock.get(spec.offer.key) == 0
        if fault == "no-capacity" or none_left:
            raise NoCapacityError("sold out")
        if fault == "lost-request":
            raise UnknownOutcomeError("no answer")
        if fault == "unforeseen":
            raise ZeroDivisionError("what nobody foresaw")
        if fault and fault not in ("lost-answer", "silent"):
            raise KINDS[fault](f"scripted {fault}")
        known = self.find(spec.attempt_id, spec.owner)
        if known is None:
            self.launches += 1
            if spec.offer.key in self.stock:
                self.stock[spec.offer.key] -= 1
            self.launched_ids.append(spec.attempt_id)
            known = Machine(f"m-{self.launches}", spec.attempt_id, Phase.RUNNING, self.now())
            self.machines[known.ref] = known
            self.tags[known.ref] = spec.owner
            self.shapes[known.ref] = spec.offer.key
            if fault != "silent":
                self.user_data[known.ref] = spec.user_data
        if fault == "lost-answer":
            raise UnknownOutcomeError("the connection was cut")
        return known

    def find(self, attempt_id: str, owner: str, region: str = "") -> Machine | None:  # noqa: ARG002 - the protocol's
        return next((m for m in self.owned(owner) if m.attempt_id == attempt_id), None)

    def vanish(self, ref: str) -> None:
        """The machine is taken away, or powers itself off."""
        self.machines[ref] = replace(self.machines[ref], phase=Phase.GONE)

    def describe(self, ref: str) -> Machine:
        if ref in self.gone_at and self.gone_at[ref] <= self.now():
            self.vanish(ref)
        return self.machines.get(ref, Machine(ref, "", Phase.GONE))

    def terminate(self, ref: str) -> None:
        if self.stubborn:
            self.stubborn -= 1
            raise TransientError("terminate failed")
        if ref in self.machines and self.machines[ref].phase is not Phase.GONE:
            self.machines[ref] = replace(self.machines[ref], phase=Phase.STOPPING)
            self.gone_at.setdefault(ref, self.now() + timedelta(seconds=STOPS_IN_S))

    def owned(self, owner: str) -> Iterator[Machine]:
        yield from [m for r, m in self.machines.items() if m.phase is not Phase.GONE and self.tags[r] == owner]

    def alive(self) -> list[Machine]:
        """What bills."""
        return [machine for machine in self.machines.values() if machine.phase is not Phase.GONE]


KINDS: dict[str, type[BackendError]] = {cls.kind: cls for cls in BackendError.__subclasses__()}


class Objects:
    """Byte streams and objects in memory. While `fault` is there, reading and writing an object raises it."""

    def __init__(self, now: Any = lambda: NOW) -> None:
        self.chunks: dict[str, dict[int, bytes]] = {}
        self.now = now
        self.stored: dict[str, tuple[str, bytes, datetime]] = {}
        self.asked: list[str] = []
        self.fault: Exception | None = None

    def get(self, key: str, *, unless: str = "") -> tuple[str, bytes | None] | None:
        self.asked.append(key)
        if self.fault is not None:
            raise self.fault
        found = self.stored.get(key)
        return found and (found[0], None if found[0] == unless else found[1])

    def put(self, key: str, data: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.stored[key] = (sha256(data).hexdigest(), data, self.now())

    def modified(self, key: str) -> datetime | None:
        return self.stored[key][2] if key in self.stored else None

    def present(self, key: str) -> bool:
        return key in self.chunks

    def put_url(self, key: str, **_: Any) -> tuple[str, dict[str, str]]:
        return f"http://objects.test/{key}", {}

    def get_url(self, key: str, **_: Any) -> str:
        return f"http://objects.test/{key}"

    def append(self, prefix: str, offset: int, data: bytes, *, grows: bool = True) -> None:
        chunks = self.chunks.setdefault(prefix, {})
        if len(data) > len(chunks.get(offset, b"")) and (grows or offset not in chunks):
            chunks[offset] = data

    def read(self, prefix: str, after: int, limit: int) -> bytes:
        stream, position = b"", after
        for offset, data in sorted(self.chunks.get(prefix, {}).items()):
            if offset > position:
                break
            stream += data[position - offset :]
            position = max(position, offset + len(data))
        return stream[:limit]

    def end(self, prefix: str, after: int) -> int:
        return after + len(self.read(prefix, after, 1 << 40))

    def begins(self, prefix: str, after: int) -> int | None:
        return min((offset for offset in self.chunks.get(prefix, {}) if offset >= after), default=None)


class Wake:
    """Counts wake-ups."""

    def __init__(self) -> None:
        self.queues: set[str] = set()
        self.sent: list[str] = []

    def create(self, instance_id: str) -> None:
        self.queues.add(instance_id)

    def send(self, instance_id: str) -> None:
        self.sent.append(instance_id)

    def listen_url(self, instance_id: str, *, expires: timedelta) -> str:
        return f"http://wake.test/{instance_id}?for={expires}"

    def delete(self, instance_id: str) -> None:
        self.queues.discard(instance_id)


@dataclass
class Execution:
    """One execution of a workflow: the input of its next step, or what it waits for."""

    kind: str
    payload: dict[str, Any]
    wake_at: datetime
    callback: str = ""
    timeout_at: datetime | None = None
    over: bool = False


class Workflows:
    """Runs provision and teardown as their definitions do: call the task, then again, wait, await or end."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.executions: dict[str, Execution] = {}

    def start(self, arn: str, name: str, payload: dict[str, Any]) -> None:
        self.executions.setdefault(name, Execution(arn, dict(payload), self.world.clock))

    def running(self, arn: str, name: str) -> bool:
        found = self.executions.get(name)
        return found is not None and found.kind == arn and not found.over

    def succeed(self, callback: str, payload: dict[str, Any]) -> None:
        for execution in self.executions.values():
            if execution.callback == callback:
                execution.callback, execution.timeout_at = "", None
                execution.wake_at = self.world.clock
                execution.over = payload["state"] != "provisioning" and execution.kind != "adopt"

    def due(self) -> list[str]:
        """Names of executions that have something to do now."""
        clock = self.world.clock
        waiting = [(n, e) for n, e in self.executions.items() if not e.over]
        return [n for n, e in waiting if (e.timeout_at <= clock if e.timeout_at else e.wake_at <= clock)]

    def step(self, name: str) -> None:
        """Run one task of one execution."""
        execution = self.executions[name]
        execution.callback, execution.timeout_at = "", None
        here = {key: execution.payload[key] for key in ("project", "pool", "instance_id")}
        deps = self.world.deps
        if execution.kind == "adopt":
            self._adopt(execution, name, here)
            return
        if execution.kind == "teardown":
            seconds = teardown.advance(deps, **here, round_=execution.payload["round"])
            execution.payload["round"] += 1
            execution.over = seconds is None
            execution.wake_at = self.world.clock + timedelta(seconds=seconds or 0)
            return
        step = provisioning.advance(
            deps,
            **here,
            round_=execution.payload["round"],
            since=execution.payload["since"],
            steps=execution.payload["steps"],
        )
        execution.payload |= {"round": step.round, "since": step.since, "steps": step.steps}
        execution.over = step.next == "end"
        execution.wake_at = self.world.clock + timedelta(seconds=step.seconds if step.next == "wait" else 0)
        if step.next == "await":
            execution.callback = f"callback-{name}"
            execution.timeout_at = self.world.clock + timedelta(seconds=step.seconds)
            provisioning.await_agent(deps, **here, callback=execution.callback)

    def _adopt(self, execution: Execution, name: str, here: dict[str, str]) -> None:
        deps = self.world.deps
        project, pool, key = here.values()
        following = adoption.advance(deps, project, pool, key, kind=execution.payload["kind"])
        execution.over = following.next == "end"
        execution.wake_at = self.world.clock + timedelta(seconds=following.seconds if following.next == "wait" else 0)
        if following.next == "await":
            execution.callback = f"callback-{name}"
            execution.timeout_at = self.world.clock + timedelta(seconds=following.seconds)
            provisioning.await_agent(deps, **here, callback=execution.callback)


@dataclass
class SimAgent:
    """The agent of one machine: what it was told to run, and what it still has to report."""

    ref: str
    secret: str
    token: str = ""
    jobs: dict[str, JobReport] = field(default_factory=dict)
    off: bool = False


class World:
    """Everything together. Where agents are `obedient` they end what is not wanted, else a test says when it ends."""

    def __init__(self, *, seed: int = 1, offers: list[Offer] | None = None, **settings: str) -> None:
        self.clock = NOW
        default = [make_offer(backend="sim", price=1_000_000), make_offer(backend="sim", region="b", price=2_000_000)]
        self.cloud = Cloud(lambda: self.clock, default if offers is None else offers)
        self.objects, self.wake = Objects(lambda: self.clock), Wake()
        self.drivers, self.secrets, self.made = SimDrivers(self.cloud), MemorySecrets(), backends.DriverCache()
        self.workflows = Workflows(self)
        self.hosts = SimHosts(self)
        self.agents: dict[str, SimAgent] = {}
        self.obedient = False
        self.deps = Deps(
            settings=load({**SETTINGS, **settings}),
            now=lambda: self.clock,
            rng=Random(seed),
            objects=self.objects,
            wake=self.wake,
            executions=self.workflows,
            backend=self._backend,
            backend_names=self._backend_names,
            drivers=self.drivers,
            secrets=self.secrets,
            ssh=self.hosts,
        )

    def _backend(self, project: str, name: str) -> Any:
        return self.made.backend(self.deps, project, name)

    def _backend_names(self, project: str, *, closed: bool = False) -> tuple[str, ...]:
        return backends.names(self.deps, project, closed=closed)

    def pass_time(self, seconds: float) -> None:
        self.clock += timedelta(seconds=seconds)

    def run_workflows(self, limit: int = 200) -> None:
        """Run every execution that is due until all of them wait."""
        for _ in range(limit):
            due = self.workflows.due()
            if not due:
                return
            for name in due:
                self.workflows.step(name)
        raise AssertionError(f"workflows do not come to rest: {self.workflows.due()}")

    def boot(self) -> None:
        """Let every machine that executes its user data have an agent that registers."""
        self.hosts.boot()
        for machine in self.cloud.alive():
            if machine.ref in self.agents or machine.ref not in self.cloud.user_data:
                continue
            bootstrap = re.search(r"TIDEPOOL_BOOTSTRAP=(\S+)", self.cloud.user_data[machine.ref])
            assert bootstrap is not None
            agent = SimAgent(machine.ref, base64.urlsafe_b64encode(machine.ref.encode() * 20).decode()[:64])
            try:
                token = tokens.verify(self.deps, bootstrap[1].strip("'"))
                agent.token = f"tpa.{agents.register(self.deps, token, agent.secret).token_id}.{agent.secret}"
            except UnauthenticatedError:
                self.power_off(machine.ref)
            else:
                self.agents[machine.ref] = agent

    def power_off(self, ref: str) -> None:
        """What an agent does with its machine when it is told that its instance is over."""
        self.cloud.vanish(ref)

    def sync(self, ref: str, **report: Any) -> agents.SyncAnswer:
        """One sync of one machine's agent."""
        agent = self.agents[ref]
        token = tokens.verify(self.deps, agent.token)
        return agents.sync(self.deps, token, agents.SyncReport(boot_id=ref, jobs=tuple(agent.jobs.values()), **report))

    def sync_all(self) -> None:
        """Every living machine's agent syncs, takes the job it is given and forgets what was acknowledged."""
        self.hosts.sync_all()
        for ref in [machine.ref for machine in self.cloud.alive() if machine.ref in self.agents]:
            agent = self.agents[ref]
            try:
                answer = self.sync(ref)
            except UnauthenticatedError:
                self.power_off(ref)
                continue
            if answer.shutdown:
                self.power_off(ref)
                continue
            for run_id in answer.acknowledged:
                agent.jobs.pop(run_id, None)
            if self.obedient and not self._ended(agent, answer.job):
                continue
            if answer.job is not None and answer.job.run_id not in agent.jobs:
                agent.jobs[answer.job.run_id] = JobReport(answer.job.run_id, "running")

    @staticmethod
    def _ended(agent: SimAgent, wanted: Any) -> bool:
        """What an agent does with a job that is not wanted: it ends that before it begins another one."""
        before = dict(agent.jobs)
        for run_id, job in before.items():
            if job.state == "running" and (wanted is None or wanted.stop or wanted.run_id != run_id):
                agent.jobs[run_id] = JobReport(run_id, "exited", 143)
        return before == agent.jobs and not any(job.state == "running" for job in before.values())

    def interrupt_job(self, ref: str, exit_code: int) -> None:
        """The machine's job exits because its agent stopped it: the machine is taken back."""
        agent = self.agents[ref]
        agent.jobs = {job: JobReport(job, "exited", exit_code, interrupted=True) for job in agent.jobs}

    def finish_job(self, ref: str, exit_code: int = 0) -> None:
        """The machine's job exits; its agent reports it at its next sync."""
        agent = self.agents[ref]
        agent.jobs = {run_id: JobReport(run_id, "exited", exit_code) for run_id in agent.jobs}

"""Seeded schedules of users, agents, timers, streams, provider faults and crashes between any two writes.

After each step no machine serves two jobs, the nodes of a run are of one region, none begins before all are held, and
nothing that is called terminated bills. When everything has come to rest, nothing is held, nothing bills, nothing is
overdue, every run has ended, and the kept counts are what a recount finds.
A failing seed is in the test's name.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest

from chalicelib.backends.base import MachineEvent, Phase, Sign
from chalicelib.domain.errors import TidepoolError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import RUN_ENDS, Instance, JobSpec, Run, RunState
from chalicelib.domain.nodes import NodeJob
from chalicelib.domain.policies import POOL_ADD, RUN, parse
from chalicelib.services import (
    agents,
    assembly,
    gangs,
    instances,
    interruptions,
    leases,
    node_ends,
    pools,
    reconcile,
    run_ends,
    runs,
)
from chalicelib.store import instances as instance_store
from chalicelib.store import pools as pool_store
from chalicelib.store import runs as run_store
from tests.builders import make_offer
from tests.services.world import World
from tests.simulation.chaos import Chaos
from tests.simulation.streams import InstanceStream, TimerStream
from tests.store.seeds import recount

STEPS = int(os.environ.get("TIDEPOOL_SIMULATION_STEPS", "90"))
SEEDS = int(os.environ.get("TIDEPOOL_SIMULATION_SEEDS", "6"))
POOL = "default-pool"
FAULTS = ["no-capacity", "lost-answer", "lost-request", "silent", "unforeseen", "quota", "throttled", "transient"]


class Schedule:
    """One seed's story."""

    def __init__(self, seed: int, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rng = Random(seed)
        offers = [make_offer(backend="sim", region=f"r{n}", price=n * 100_000, spot=n % 2 == 1) for n in range(1, 5)]
        self.world = World(seed=seed, offers=offers, TIDEPOOL_READY_S="120")
        self.world.obedient = True
        self.world.cloud.capabilities = replace(self.world.cloud.capabilities, cluster=True)
        self.deps = self.world.deps
        pools.create_project(self.deps, "main")
        pools.resolve(self.deps, "main", None)
        self.timers = TimerStream(self.world, monkeypatch)
        self.stream = InstanceStream(stage)
        self.chaos = Chaos(monkeypatch, self.rng)
        self.leases: list[str] = []

    def add(self) -> None:
        policies, _ = parse({"idle_duration": self.rng.choice(["0s", "20s", "5m"])}, defaults=POOL_ADD)
        instances.add(self.deps, "main", POOL, policies, name="", actor="user:a", api_url="")

    def submit(self) -> None:
        body = {
            "idle_duration": self.rng.choice(["0s", "1m"]),
            "retry": self.rng.choice([False, True, {"on_events": ["interruption", "error"], "duration": "10m"}]),
            "max_duration": self.rng.choice([None, None, "5m"]),
        }
        policies, _ = parse(body, defaults=RUN)
        reuse, nodes = self.rng.random() < 0.3, self.rng.choice([1, 1, 2, 3])
        wanted = runs.RunSubmission("", None, JobSpec(("true",)), policies, reuse, nodes=nodes)
        runs.submit(self.deps, "main", wanted, actor="user:a", api_url="")

    def stop(self) -> None:
        active, _ = runs.page(self.deps, "main", limit=50, cursor=None, active=True)
        if active:
            name = self.rng.choice(active).run_id
            runs.stop(self.deps, "main", name, force=self.rng.random() < 0.5, actor="user:b")

    def acquire(self) -> None:
        policies, _ = parse({}, defaults=RUN)
        row = leases.acquire(self.deps, "main", POOL, policies, holder="user:c", duration=timedelta(seconds=40))
        self.leases.append(row.lease.lease_id)

    def acquire_gang(self) -> None:
        policies, _ = parse({}, defaults=RUN)
        rows = gangs.acquire(
            self.deps, "main", POOL, policies, nodes=2, holder="user:d", duration=timedelta(seconds=40)
        )
        assert len({row.offer.region for row in rows}) == 1
        self.leases += [row.lease.lease_id for row in rows]

    def release(self) -> None:
        if self.leases:
            leases.release(self.deps, "main", self.rng.choice(self.leases), actor="user:c")

    def heartbeat(self) -> None:
        if self.leases:
            leases.heartbeat(self.deps, "main", self.rng.choice(self.leases))

    def remove(self) -> None:
        live, _ = instance_store.live("main", POOL, limit=50)
        if live:
            row = self.rng.choice(live)
            instances.remove(self.deps, "main", row.name, pool=None, force=self.rng.random() < 0.5, actor="user:a")

    def cordon(self) -> None:
        live, _ = instance_store.live("main", POOL, limit=50)
        if live:
            instances.change(
                self.deps, "main", self.rng.choice(live).name, cordoned=self.rng.random() < 0.3, actor="user:a"
            )

    def fault(self) -> None:
        self.world.cloud.faults.append(self.rng.choice(FAULTS))

    def stubborn(self) -> None:
        self.world.cloud.stubborn = self.rng.randrange(3)

    def workflow(self) -> None:
        due = self.world.workflows.due()
        if due:
            self.world.workflows.step(self.rng.choice(due))

    def kill_workflow(self) -> None:
        """As a restart of the embedded control plane does."""
        for execution in self.world.workflows.executions.values():
            execution.over = True

    def sync(self) -> None:
        self.world.boot()
        before = self.executed()
        self.world.sync_all()
        for ref, job in self.executed() - before:
            self.check_begun(ref, job)

    def executed(self) -> set[tuple[str, str]]:
        """The machines that execute a job, each with the job."""
        return {
            (ref, job.run_id)
            for ref, agent in self.world.agents.items()
            for job in agent.jobs.values()
            if job.state == "running"
        }

    def check_begun(self, ref: str, job_id: str) -> None:
        """A machine has just been given a job: it is the only one there, and every node of the run is held."""
        assert [job for where, job in self.executed() if where == ref] == [job_id]
        run = run_store.get("main", "-".join(job_id.split("-")[:2]))
        assert all(job.lease_id for job in run.jobs), f"{ref} began {job_id} before all were there"

    def job_ends(self) -> None:
        working = [ref for ref, agent in self.world.agents.items() if agent.jobs]
        if working:
            self.world.finish_job(self.rng.choice(working), self.rng.choice([0, 0, 1]))

    def preempt(self) -> None:
        alive = self.world.cloud.alive()
        if alive:
            self.world.cloud.vanish(self.rng.choice(alive).ref)

    def notice(self) -> None:
        """A machine's agent is told that it is taken back, stops its job, and tells; now or never."""
        alive = [machine.ref for machine in self.world.cloud.alive() if machine.ref in self.world.agents]
        if alive:
            ref = self.rng.choice(alive)
            if self.rng.random() < 0.7:
                self.world.interrupt_job(ref, self.rng.choice([0, 143]))
            self.world.sync(ref, interruption=agents.Notice(self.world.clock + timedelta(seconds=120)))

    def provider_event(self) -> None:
        """An event about a machine that lives, or did once; it may come twice, and a machine may go without one."""
        refs = list(self.world.cloud.machines)
        if refs:
            ref, sign = self.rng.choice(refs), self.rng.choice(list(Sign))
            if sign is Sign.GONE:
                self.world.cloud.vanish(ref)
            interruptions.heard(self.deps, MachineEvent(ref, sign, self.world.clock + timedelta(seconds=120)))

    def reconcile(self) -> None:
        reconcile.compare(self.deps)

    def wait(self) -> None:
        self.world.pass_time(self.rng.choice([1, 5, 20, 60, 300]))

    def sweep(self) -> None:
        self.timers.sweep()

    def ttl(self) -> None:
        self.timers.expire_one(self.rng)

    def fire(self) -> None:
        self.timers.deliver(self.rng)

    def lose_record(self) -> None:
        """A record ends in the failure queue."""
        if self.timers.records:
            self.timers.records.pop()

    def project(self) -> None:
        self.stream.deliver(self.rng)

    def step(self, crash: float) -> None:
        """One random action; it may be refused, and it may die half way."""
        weights = {
            self.add: 3, self.submit: 5, self.stop: 2, self.acquire: 2, self.release: 2, self.heartbeat: 1,
            self.acquire_gang: 1,
            self.remove: 2, self.cordon: 1, self.fault: 3, self.stubborn: 1, self.workflow: 14, self.sync: 10,
            self.job_ends: 4, self.preempt: 2, self.reconcile: 1, self.wait: 8, self.sweep: 3, self.ttl: 2,
            self.fire: 8, self.project: 4, self.kill_workflow: 0.3, self.lose_record: 0.3, self.notice: 2,
            self.provider_event: 2,
        }  # fmt: skip
        action = self.rng.choices(list(weights), list(weights.values()))[0]
        with self.chaos.maybe(crash), contextlib.suppress(TidepoolError):
            action()

    def settle(self) -> None:
        """Let the world go on by itself, without new faults, until long after every deadline."""
        self.world.cloud.faults.clear()
        self.world.cloud.stubborn = 0
        live, _ = instance_store.live("main", POOL, limit=100)
        for row in live:
            if row.cordoned and row.state is not State.TERMINATING:
                instances.change(self.deps, "main", row.name, cordoned=False, actor="user:a")
        for minute in range(60 * 5):
            if minute % 5 == 0:
                reconcile.compare(self.deps)
            self.timers.sweep()
            for timer in list(self.timers.records):
                with contextlib.suppress(TidepoolError):
                    self.fire_now(timer)
            self.world.run_workflows()
            self.sync()
            for ref, agent in self.world.agents.items():
                if agent.jobs:
                    self.world.finish_job(ref)
            self.sync()
            live, _ = instance_store.live("main", POOL, limit=1)
            active, _ = runs.page(self.deps, "main", limit=100, cursor=None, active=True)
            if minute >= 10:
                self.check_gathering(active)
            if not live and not active and not self.world.cloud.alive():
                break
            self.world.pass_time(60)
        self.stream.deliver(Random(0))

    def fire_now(self, timer) -> None:
        from chalicelib.services import expiry

        expiry.fire(self.deps, timer)
        self.timers.records.remove(timer)

    def check_always(self) -> None:
        holders: dict[str, tuple[str, int]] = {}
        live, _ = instance_store.live("main", POOL, limit=100)
        names = {row.instance_id: row for row in live}
        active, _ = runs.page(self.deps, "main", limit=100, cursor=None, active=True)
        for run in active:
            self.check_together(run, names)
            for job in run.jobs or (NodeJob(0, instance_id=run.instance_id, lease_id=run.lease_id),):
                row = names.get(job.instance_id)
                if row is not None and row.lease is not None and job.lease_id == row.lease.lease_id:
                    assert run_ends.run_of(row) == run.run_id
                    me = (run.run_id, job.rank)
                    assert holders.setdefault(row.instance_id, me) == me
        for machine in self.world.cloud.alive():
            instance_id = machine.attempt_id.rpartition("-")[0]
            row = instance_store.find("main", instance_id)
            assert row.state is not State.TERMINATED or self._closed(instance_id, machine.attempt_id)

    def check_together(self, run: Run, rows: Mapping[str, Instance]) -> None:
        """All nodes are of one cluster, and have jobs only when each has a machine of its own."""
        assert len({job.cluster for job in run.jobs if job.instance_id}) <= 1
        offers = [row.offer for job in run.jobs if (row := rows.get(job.instance_id)) is not None]
        assert len({(offer.backend, offer.region) for offer in offers if offer is not None}) <= 1
        if run.jobs and run.state in node_ends.ON_MACHINES:
            assert all(job.lease_id for job in run.jobs)
            assert len(set(run.instance_ids)) == len(run.jobs)

    def check_gathering(self, active: list[Run]) -> None:
        """What a run holds while others are missing it does not hold for long."""
        for run in active:
            gathers = run.jobs and run.state is RunState.PROVISIONING
            assert not gathers or self.world.clock - run.changed_at < assembly.TOGETHER_WITHIN + timedelta(minutes=10)

    def _closed(self, instance_id: str, attempt_id: str) -> bool:
        """A machine that was made after its attempt had been given up is reconcile's to find."""
        shown = instances.show(self.deps, "main", instance_id)
        return any(a.attempt_id == attempt_id and not a.machine_ref for a in shown.attempts)

    def check_at_rest(self) -> None:
        live, _ = instance_store.live("main", POOL, limit=100)
        assert [(row.name, row.state, row.reason, row.detail) for row in live] == []
        assert [machine for machine in self.world.cloud.machines.values() if machine.phase is not Phase.GONE] == []
        everything, _ = run_store.page("main", 1000)
        assert [(run.name, run.state) for run in everything if run.state not in RUN_ENDS] == []
        counted = recount("main", POOL)
        _, kept = pool_store.directory("main", POOL)
        kept_counts = {e.offer.shape: (e.total, e.available) for e in kept if (e.total, e.available) != (0, 0)}
        assert kept_counts == counted
        assert self.world.wake.queues == set()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_schedule_ends_with_nothing_billing_and_the_truth_told(seed, dynamodb, monkeypatch):
    schedule = Schedule(seed, dynamodb, monkeypatch)
    for number in range(STEPS):
        schedule.step(crash=0.12)
        if number % 4 == 0:
            schedule.check_always()
    schedule.settle()
    schedule.check_at_rest()

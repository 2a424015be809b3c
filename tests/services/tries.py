"""What the tests of a run's tries do again and again: run it, let its agent speak, take its machine, go on."""

from datetime import timedelta

from chalicelib.domain.model import RunState
from chalicelib.services import agents, reconcile, runs
from chalicelib.services.jobs import LogChunk
from tests.services.steps import fire_due, ready, run_of, state_of, submit

EVERY = {"retry": {"duration": "1h"}}


def running(world, **body):
    run = submit(world, **body)
    ready(world)
    world.sync_all()
    assert run_of(world, run).state is RunState.RUNNING
    return run_of(world, run)


def machine_of(world, run):
    return state_of(world, Named(run_of(world, run).instance_id)).machine_ref


class Named:
    def __init__(self, instance_id):
        self.instance_id = instance_id


def say(world, run, data, offset=0):
    """The agent stores output of its present job, and the end of the job with it when there is one."""
    world.sync(machine_of(world, run), logs=(LogChunk(run_of(world, run).job_id, offset, data),))


def output(world, run):
    """All that is stored, as a reader finds it who follows the answers."""
    said, after = b"", 0
    while piece := (answer := runs.logs(world.deps, "main", run.run_id, after=after, limit=10_000)).data:
        said, after = said + piece, answer.next
    return said.decode()


def settle(world, minutes):
    """Let everything go on; an agent that was given a job says so within the minute."""
    for _ in range(minutes):
        fire_due(world)
        ready(world)
        world.sync_all()
        reconcile.compare(world.deps)
        ready(world)
        world.sync_all()
        world.pass_time(60)


def interrupt(world, run, exit_code=143):
    ref = machine_of(world, run)
    world.sync(ref, interruption=agents.Notice(world.clock + timedelta(seconds=120)))
    world.interrupt_job(ref, exit_code)
    world.sync_all()

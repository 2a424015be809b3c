"""Machines where a process dies, an answer is lost, or two of them meet between a decision and its write."""

from contextlib import suppress
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from chalicelib.backends.base import Phase
from chalicelib.domain.errors import ThrottledError, UnknownOutcomeError
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import AttemptState
from chalicelib.services import instances, reconcile
from chalicelib.store import instances as instance_store
from chalicelib.store import journal
from tests.builders import make_attempt
from tests.services.steps import add, ready, state_of, until_deadline


def provisioning_workflows(world):
    return [execution for name, execution in world.workflows.executions.items() if name.startswith("up-")]


def end_workflows(world):
    """What Step Functions does to an execution at its last event, and a deployment to one that fails."""
    for execution in provisioning_workflows(world):
        execution.over = True


def denied(*_arguments):
    raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeExecution")


def step_all(world):
    """One step of each workflow that is due, and two seconds."""
    for name in world.workflows.due():
        world.workflows.step(name)
    world.pass_time(2)


@pytest.mark.parametrize("teardown_comes", ["at once", "later"])
def test_nothing_is_bought_for_an_instance_that_was_removed_while_the_market_was_asked(
    world, monkeypatch, teardown_comes
):
    """Provision reads the row; it is removed, and its teardown finds no attempt and buries it; provision goes on."""
    row = add(world)
    offers, asked = world.cloud.offers, []

    def slow_offers():
        if not asked:
            asked.append(row)
            instances.remove(world.deps, "main", row.name, pool=None, force=True, actor="user:me")
            if teardown_comes == "at once":
                world.workflows.step(next(name for name in world.workflows.executions if name.startswith("down-")))
        return offers()

    monkeypatch.setattr(world.cloud, "offers", slow_offers)
    world.run_workflows()
    assert world.cloud.launches == 0
    assert state_of(world, row).state is State.TERMINATED


def test_reconcile_ends_a_machine_whose_instance_is_gone_although_its_attempt_is_open(world):
    """The request is withdrawn after the last look before the launch; its provision dies with the launch's answer."""
    row = add(world)
    launch = world.cloud.launch

    def fatal_launch(spec):
        instances.remove(world.deps, "main", row.name, pool=None, force=True, actor="user:me")
        instance_store.bury(
            instance_store.get("main", "default-pool", row.instance_id),
            now=world.clock,
            reason=Reason.CONFIRMED_GONE,
            actor="teardown",
        )
        launch(spec)
        raise SystemExit

    world.cloud.launch = fatal_launch
    with pytest.raises(SystemExit):
        world.run_workflows()
    assert journal.attempts(row.instance_id)[0].state is AttemptState.INTENT
    assert [machine.phase for machine in world.cloud.alive()] == [Phase.RUNNING]
    reconcile.compare(world.deps)
    assert [machine.phase for machine in world.cloud.alive()] == [Phase.STOPPING]


def test_the_thousandth_attempt_is_the_last_one_and_buys_one_machine(world):
    """A number of four digits must not sort before one of three: its launch would be overlooked and made again."""
    row = add(world, retry={"duration": "24h"})
    offer, long_ago = world.cloud.offers()[0], world.clock - timedelta(hours=1)
    for number in range(1, 1000):
        refused = {"state": AttemptState.REFUSED, "kind": "no_capacity", "started_at": long_ago, "offer": offer}
        attempt_id = f"{row.instance_id}-{number}"
        journal.put_attempt(row.instance_id, make_attempt(attempt_id=attempt_id, number=number, **refused))
    world.cloud.faults = ["lost-answer"]
    for _ in range(6):
        for name in world.workflows.due():
            world.workflows.step(name)
        assert len(world.cloud.alive()) == 1
        world.pass_time(1)
    assert state_of(world, row).state is State.PROVISIONING


def test_what_an_agent_tells_before_the_lost_answer_of_its_launch_is_made_good_is_kept(world):
    """It tells its facts once, until any answer comes; a gang needs its address."""
    row = add(world)
    world.cloud.faults = ["lost-answer"]
    while not world.cloud.alive():
        step_all(world)
    world.boot()
    assert state_of(world, row).state is State.PENDING
    (ref,) = world.agents
    world.sync(ref, facts={"addresses": ["10.1.0.4"]})
    for _ in range(6):
        step_all(world)
        world.pass_time(1)
    world.sync_all()
    assert state_of(world, row).state is State.IDLE
    assert journal.facts(row.instance_id) == {"addresses": ["10.1.0.4"]}


def test_a_launch_that_would_begin_too_late_is_not_begun(world, monkeypatch):
    """The attempt is written, slowly; the launch's answer is lost; a look-up that counts from when the attempt was
    begun believes that nothing was made; another machine is bought; then the first one appears.
    """
    row = add(world)
    put, launch, slow, lost = journal.put_attempt, world.cloud.launch, [], []

    def slow_put(*arguments):
        put(*arguments)
        if not slow:
            slow.append(arguments)
            world.pass_time(12)

    def lost_launch(spec):
        if not lost:
            lost.append(spec)
            raise UnknownOutcomeError("no answer")
        return launch(spec)

    monkeypatch.setattr(journal, "put_attempt", slow_put)
    monkeypatch.setattr(world.cloud, "launch", lost_launch)
    while not lost:
        step_all(world)
    step_all(world)
    launch(lost[0])
    for _ in range(10):
        step_all(world)
    first, second = journal.attempts(row.instance_id)
    assert (first.state, first.detail) == (AttemptState.REFUSED, "the store was too slow")
    assert second.state is AttemptState.LAUNCHED
    assert [machine.attempt_id for machine in world.cloud.alive()] == [second.attempt_id]


@pytest.mark.parametrize("end", [UnknownOutcomeError("no answer"), SystemExit("killed")], ids=["lost", "died"])
def test_that_nothing_was_made_is_believed_only_when_the_launch_is_over(world, monkeypatch, end):
    """The launch begins nine seconds after its attempt was written, takes five, and gives no answer; a look-up finds
    nothing; two seconds later the machine appears.
    """
    row = add(world)
    put, launch, asked = journal.put_attempt, world.cloud.launch, []

    def slow_put(*arguments):
        put(*arguments)
        world.pass_time(9)

    def lost_launch(spec):
        asked.append(spec)
        world.pass_time(5)
        raise end

    monkeypatch.setattr(journal, "put_attempt", slow_put)
    monkeypatch.setattr(world.cloud, "launch", lost_launch)
    with suppress(SystemExit):
        step_all(world)
    step_all(world)
    launch(*asked)
    step_all(world)
    (attempt,) = journal.attempts(row.instance_id)
    assert (attempt.state, attempt.machine_ref) == (AttemptState.LAUNCHED, "m-1")


def test_a_request_whose_workflow_cannot_be_described_is_driven_anyway(world, monkeypatch):
    """The workflow was named but its start failed; who asks whether it runs is denied the answer."""
    with monkeypatch.context() as dying:
        dying.setattr(world.workflows, "start", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            add(world)
    ((row,), _) = instance_store.live("main", "default-pool", limit=5)
    monkeypatch.setattr(world.workflows, "running", denied)
    until_deadline(world, row)
    ready(world)
    assert (state_of(world, row).state, world.cloud.launches) == (State.IDLE, 1)


def test_a_request_that_no_workflow_can_serve_is_given_up_and_goes(world, monkeypatch):
    """Each workflow ends before it did anything, and none can be described."""
    row = add(world)
    monkeypatch.setattr(world.workflows, "running", denied)
    start = world.workflows.start

    def start_and_end(*arguments):
        start(*arguments)
        end_workflows(world)

    monkeypatch.setattr(world.workflows, "start", start_and_end)
    end_workflows(world)
    while state_of(world, row).state is State.PENDING:
        assert world.clock - row.created_at < timedelta(hours=4)
        until_deadline(world, row)
    ended = state_of(world, row)
    assert (ended.state, ended.reason) == (State.TERMINATED, Reason.PROVISIONING_DEADLINE)
    assert instance_store.live("main", "default-pool", limit=5) == ([], None)


def test_a_request_that_waits_for_capacity_is_driven_on_when_its_workflow_has_ended(world):
    """A day's wait is longer than an execution may be: the timer notices within half an hour, not after the day."""
    row = add(world, retry={"duration": "24h"})
    world.cloud.faults = ["no-capacity"] * 2
    world.run_workflows()
    end_workflows(world)
    until_deadline(world, row)
    ready(world)
    assert state_of(world, row).state is State.IDLE
    assert world.clock - row.created_at < timedelta(hours=1)


def test_a_workflow_that_replaced_another_is_not_replaced_while_it_runs(world):
    """The first one is gone; the second waits for a machine that will not go; the timer comes again and again."""
    row = add(world)
    end_workflows(world)
    world.cloud.faults, world.cloud.stubborn = ["silent"], 10**6
    for _ in range(5):
        until_deadline(world, row)
        assert sum(not execution.over for execution in provisioning_workflows(world)) == 1
    assert len(provisioning_workflows(world)) == 2
    assert len(world.cloud.alive()) == 1


REFUSALS = [ThrottledError("busy"), ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_reconcile_goes_on_when_a_workflow_cannot_be_started(world, monkeypatch, error):
    """The row is taken out; its teardown does not start: the `teardown` timer has it, and the rest is compared."""
    row = add(world)
    ready(world)
    world.cloud.vanish("m-1")
    world.pass_time(100)

    def refuse(*_arguments):
        raise error

    with monkeypatch.context() as failing:
        failing.setattr(world.workflows, "start", refuse)
        reconcile.compare(world.deps)
    assert state_of(world, row).state is State.TERMINATING
    until_deadline(world, row)
    assert state_of(world, row).state is State.TERMINATED

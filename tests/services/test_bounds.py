"""Requests that do not end by themselves: how often they try, what they keep, and what they say meanwhile."""

import pytest

from chalicelib.backends.base import Rate
from chalicelib.domain.attempts import KEPT, SILENT_LIMIT
from chalicelib.domain.errors import BackendAuthError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.matching import reuse_passes
from chalicelib.domain.model import AttemptState
from chalicelib.domain.policies import POOL_ADD, RUN, parse
from chalicelib.services import instances, offers, teardown
from chalicelib.store import journal
from tests.builders import make_attempt, make_offer
from tests.services.steps import add, ready, settle, state_of


def pass_hours(world, hours, *, step_s=30):
    for _ in range(int(hours * 3600 / step_s)):
        world.run_workflows()
        world.pass_time(step_s)


@pytest.mark.parametrize("retry", [False, True])
def test_after_some_machines_whose_agents_never_report_no_further_one_is_bought(world, retry):
    """A wrong image or address is the same on every machine, and each of them is paid for until its deadline."""
    world.cloud.shelf = [make_offer(backend="sim", region=f"r{n}", price=1_000_000 + n) for n in range(8)]
    row = add(world, retry=retry)
    pass_hours(world, 2)
    assert world.cloud.launches == SILENT_LIMIT
    assert world.cloud.alive() == []
    assert state_of(world, row).state is State.TERMINATED
    assert any("agent of none reported" in step.detail for step in instances.show(world.deps, "main", row.name).history)


def test_a_request_that_waits_for_days_keeps_the_newest_attempts_and_counts_the_others(world):
    world.cloud.shelf = [make_offer(backend="sim", region=f"r{n}", price=1_000_000 + n) for n in range(25)]
    world.cloud.faults = ["no-capacity"] * 10_000
    row = add(world, retry={"duration": "3h"})
    pass_hours(world, 1, step_s=60)
    kept = journal.attempts(row.instance_id)
    assert len(kept) <= KEPT + 25
    assert kept[-1].number > len(kept), "numbers go on: a machine that comes late is not taken for another attempt's"
    assert f"{kept[-1].number} attempts failed" in state_of(world, row).detail


def test_who_waits_for_capacity_says_for_what_and_until_when(world):
    row = add(world, retry={"duration": "2h"}, instance_types=["no-such-type"])
    world.run_workflows()
    waiting = state_of(world, row)
    assert waiting.state is State.PENDING
    assert waiting.detail.startswith("waiting for capacity until 2030-01-02 05:04 UTC: no offers")
    assert "instance_types removed" in waiting.detail


def test_a_machine_that_cannot_be_ended_says_why_it_still_bills_and_then_that_it_ended(world):
    row = add(world)
    ready(world)
    world.cloud.stubborn = 3
    instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    world.run_workflows()
    stuck = state_of(world, row)
    assert stuck.state is State.TERMINATING
    assert stuck.detail.startswith(teardown.NOT_YET)
    assert "terminate failed" in stuck.detail
    settle(world, minutes=5)
    ended = state_of(world, row)
    assert (ended.state, ended.detail) == (State.TERMINATED, "")


def test_a_provider_that_cannot_say_what_a_launch_made_is_asked_less_and_less_and_then_the_request_ends(
    world, monkeypatch
):
    world.cloud.faults = ["lost-request"]
    row = add(world)
    (name,) = world.workflows.due()
    world.workflows.step(name)
    asked = []

    def refuse(*_arguments):
        asked.append(world.clock)
        raise BackendAuthError("the secret has expired")

    with monkeypatch.context() as patched:
        patched.setattr(world.cloud, "find", refuse)
        pass_hours(world, 0.9, step_s=5)
        assert state_of(world, row).state is State.PENDING
        assert "cannot say" in state_of(world, row).detail
        assert len(asked) < 40
        pass_hours(world, 0.3, step_s=5)
        assert state_of(world, row).state is State.TERMINATING, "its teardown asks on: there may be a machine"
    settle(world, minutes=20)
    assert state_of(world, row).state is State.TERMINATED


def test_a_burial_costs_what_was_launched_and_not_what_was_tried(world, monkeypatch):
    row = add(world)
    world.workflows.executions.clear()
    for number in range(1, 60):
        attempt_id = f"{row.instance_id}-{number}"
        journal.put_attempt(
            row.instance_id, make_attempt(number=number, state=AttemptState.REFUSED, attempt_id=attempt_id)
        )
    revoked = []
    monkeypatch.setattr(teardown, "_revoke", lambda _project, token: revoked.append(token))
    instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    world.run_workflows()
    assert state_of(world, row).state is State.TERMINATED
    assert revoked == []


def test_who_was_told_to_slow_down_keeps_its_place(world):
    """The provider takes half of what it should: those who asked first are served first all the same."""
    world.cloud.shelf = world.cloud.shelf[:1]
    world.cloud.limit(Rate(1, 1), told=Rate(2, 4))
    rows = []
    for _ in range(12):
        rows.append(add(world))
        world.pass_time(0.001)
    for _ in range(120):
        world.run_workflows()
        world.pass_time(1)
    assert world.cloud.throttled > 0
    order = [attempt_id.rpartition("-")[0] for attempt_id in world.cloud.launched_ids]
    places = {row.instance_id: place for place, row in enumerate(rows)}
    assert all(abs(place - places[instance_id]) <= 4 for place, instance_id in enumerate(order)), order


def test_a_backend_that_is_not_there_is_said_beside_the_offers_of_the_others(world):
    policies, _ = parse({"backends": ["sim", "nope"]}, defaults=POOL_ADD)
    market = offers.market(world.deps, "main", policies)
    assert len(market.offers) == 2
    assert market.failed == ["there is no backend nope; the project has sim"]


def test_an_explicit_no_to_gpu_machines_holds_for_idle_ones_too():
    """A request that names nothing takes whatever is idle; one that names this does not."""
    silent, _ = parse({}, defaults=RUN)
    explicit, _ = parse({"allow_gpu": False}, defaults=RUN)
    assert len(reuse_passes(silent)) == 2
    assert reuse_passes(explicit) == [explicit]

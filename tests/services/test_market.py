"""What requests share: a provider's launch rate, and the memory of what is sold out."""

from datetime import timedelta

import pytest

from chalicelib.backends.base import Rate
from chalicelib.domain.lifecycle import State
from chalicelib.services import instances, launch_limit, stock_outs
from chalicelib.store import journal
from tests.builders import make_offer
from tests.services.steps import add, ready, state_of

CROWD = 50
LIMIT = Rate(per_s=2, burst=2)
TWO_REGIONS = [make_offer(backend="sim", price=1_000_000), make_offer(backend="sim", region="b", price=2_000_000)]


def play(world, seconds):
    """Let time pass a second at a time and workflows go on."""
    for _ in range(seconds):
        world.run_workflows()
        world.pass_time(1)


def crowd(world, count=CROWD):
    """As many requests, a millisecond apart."""
    rows = []
    for _ in range(count):
        rows.append(add(world))
        world.pass_time(0.001)
    return rows


@pytest.fixture
def limited(world):
    """A provider that refuses what is launched faster than its limit, and a control plane that knows the limit."""
    world.cloud.shelf = TWO_REGIONS[:1]
    world.cloud.limit(LIMIT)
    return world


def test_fifty_requests_at_once_are_all_served_in_the_order_of_need_and_none_is_refused(limited):
    rows = crowd(limited)
    play(limited, CROWD // 2 + 5)
    assert limited.cloud.launches == CROWD
    assert limited.cloud.throttled == 0, "the shared limiter holds before the provider has to"
    order = [attempt_id.rpartition("-")[0] for attempt_id in limited.cloud.launched_ids]
    position = {row.instance_id: place for place, row in enumerate(rows)}
    assert all(abs(place - position[instance_id]) <= LIMIT.burst for place, instance_id in enumerate(order))


def test_a_provider_that_is_slower_than_it_says_loses_nobody(limited):
    """The limit is shared with somebody else's tool: half of what should be allowed is refused."""
    limited.cloud.limit(Rate(1, 1), told=LIMIT)
    rows = crowd(limited, 20)
    play(limited, 240)
    assert limited.cloud.throttled > 0
    assert limited.cloud.launches == 20
    assert {state_of(limited, row).state for row in rows} == {State.PROVISIONING}


def test_a_request_whose_worker_died_in_the_queue_delays_the_others_for_a_while_only(limited):
    dead, *rows = crowd(limited, 8)
    offer = TWO_REGIONS[0]
    for _ in range(LIMIT.burst):
        launch_limit.wait_s(limited.deps, limited.cloud, rows[0], offer)
    assert launch_limit.wait_s(limited.deps, limited.cloud, dead, offer) > 0
    limited.workflows.executions.pop(f"up-{dead.instance_id}")
    play(limited, 60)
    assert limited.cloud.launches == len(rows)


def test_removing_a_request_that_waits_for_its_turn_leaves_nothing_behind(limited):
    rows = crowd(limited, 10)
    limited.run_workflows()
    instances.remove(limited.deps, "main", rows[-1].name, pool=None, force=True, actor="user:me")
    play(limited, 60)
    assert limited.cloud.launches == 9
    assert state_of(limited, rows[-1]).state is State.TERMINATED


def test_what_was_sold_out_for_one_request_ranks_last_for_the_next(world):
    world.cloud.faults = ["no-capacity"]
    first = add(world)
    ready(world)
    assert state_of(world, first).offer.region == "b"
    second = add(world)
    ready(world)
    assert state_of(world, second).offer.region == "b"
    assert [a.offer.region for a in journal.attempts(second.instance_id)] == ["b"], (
        "the sold-out one was not even asked"
    )


def test_a_sold_out_offer_is_still_tried_when_there_is_no_other(world):
    world.cloud.shelf = TWO_REGIONS[:1]
    world.cloud.faults = ["no-capacity"]
    add(world)
    ready(world)
    row = add(world)
    ready(world)
    assert state_of(world, row).state is State.IDLE


def test_a_stock_out_is_over_after_its_time_and_at_once_when_a_launch_works(world):
    world.cloud.faults = ["no-capacity"]
    add(world)
    ready(world)
    assert list(stock_outs.cooled(world.deps, "main")) == [TWO_REGIONS[0].key]
    world.pass_time(181)
    assert not stock_outs.cooled(world.deps, "main")
    world.cloud.faults = ["no-capacity"]
    add(world)
    ready(world)
    until = stock_outs.cooled(world.deps, "main")[TWO_REGIONS[0].key]
    assert until - world.clock > timedelta(minutes=5), "the second in a row counts twice as long"
    stock_outs.forget(world.deps, "main", TWO_REGIONS[0])
    assert not stock_outs.cooled(world.deps, "main")


@pytest.mark.parametrize("kind", ["auth", "balance"])
def test_a_backend_whose_account_is_out_is_reported_as_that_and_asked_once(world, kind, capsys):
    world.cloud.faults = [kind, kind]
    row = add(world, retry=True)
    ready(world)
    ended = state_of(world, row)
    assert ended.state is State.TERMINATING or ended.state is State.TERMINATED
    assert kind in ended.detail
    assert "capacity" not in ended.detail
    assert len(journal.attempts(row.instance_id)) == 1, "the second offer is of the same backend"
    assert '"event": "backend-out"' in capsys.readouterr().out

"""What the frequent verbs cost in request units and calls, among 10 instances and among 10,000, live or ended."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Instance
from chalicelib.domain.timers import Timer, TimerKind
from chalicelib.store import calls, instances, listing, rows, runs, tables, timers
from chalicelib.store.models import InstanceRow, TimerRow
from tests.builders import NOW, ago, later, make_gpu, make_instance, make_lease, make_offer, make_run
from tests.store.meter import Meter, metered, size

FEW, MANY = 10, 10_000
DEADLINE = later(minutes=5)
GPUS = make_offer(
    backend="runpod",
    region="eu-central-1",
    zone="eu-central-1a",
    instance_type="p5.48xlarge",
    gpus=make_gpu(name="H100", memory_gib=80, count=8),
    price=98_320_000,
)


def full(number: int, **rest: Any) -> Instance:
    """An instance with everything that a row can hold, at a realistic length."""
    instance_id = f"i-{number:026d}"
    lease = make_lease(pool="research-pool", instance_id=instance_id, fence=12_345, holder="user:jane.doe@example.com")
    values = {
        "project": "my-organisation",
        "pool": "research-pool",
        "instance_id": instance_id,
        "name": f"gallant-porpoise-{number}",
        "fence": 12_345,
        "offer": GPUS,
        "deadline": DEADLINE,
        "idle_limit": timedelta(hours=72),
        "machine_ref": "i-0123456789abcdef0",
        "attempt": 3,
        "spent": 123_456_789,
    }
    return make_instance(**values | ({"lease": lease} if rest.get("state") is State.BUSY else {}) | rest)


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
def test_a_row_stays_below_the_kilobyte_that_one_write_unit_pays(state):
    instance = full(1, state=state, detail="x" * 60, reserved_for="run-" + "0" * 26)
    assert size(rows.encode(instance, wrote="step", write=calls.fresh_write(), flips=9).serialize()) < 1024


@pytest.fixture(params=[FEW, MANY])
def count(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def crowd(emulated: Any, count: int) -> int:
    """`count` idle instances, and a fourth as many ended ones."""
    filling = [rows.encode(_member(number), wrote="step", write="w").serialize() for number in range(count)]
    gone = ago(hours=1)
    for number in range(count // 4):
        ended = _member(number, instance_id=f"e-{number:05d}", state=State.TERMINATED, changed_at=gone)
        filling.append(rows.encode(ended, wrote="step", write="w").serialize())
    _fill(emulated, tables.connection(InstanceRow).table_name, filling)
    return count


@pytest.fixture
def meter(emulated: Any) -> Callable[[], Any]:
    """A context that meters the store's calls."""

    @contextmanager
    def measure() -> Iterator[Meter]:
        with metered(tables.connection(InstanceRow).connection.client, emulated) as running:
            yield running

    return measure


def test_the_verbs_cost_the_same_among_ten_and_among_ten_thousand(crowd, meter):
    """One filling for all of them: it takes longer than they do."""
    with meter() as acquire:
        candidate = instances.claimable("acme", "main", GPUS.shape, 5)[0]
        lease = make_lease(instance_id=candidate.instance_id, fence=candidate.fence + 1)
        busy = instances.claim(candidate, now=NOW, actor="user:test", deadline=DEADLINE, lease=lease)
    assert (acquire.reads, acquire.writes, acquire.calls.total()) == (0.5, 3, 3)

    with meter() as release:
        instances.step(busy, Event.RELEASED, now=NOW, reason=Reason.RELEASED, actor="x", deadline=DEADLINE, lease=None)
    assert (release.reads, release.writes, release.calls.total()) == (0, 3, 2)

    with meter() as page:
        texts, _ = listing.page("acme", "main", limit=10, cursor=None)
    assert len(texts) == FEW
    assert (page.reads, page.calls.total()) == (1.0, 1)

    (idle,), _ = instances.live("acme", "main", 1)
    with meter() as beat:
        instances.touch(idle, now=later(minutes=1))
    assert (beat.reads, beat.writes, beat.calls.total()) == (0, 2, 1)

    with meter() as burial:
        going = instances.step(idle, Event.REMOVED, now=NOW, reason=Reason.USER_REMOVED, actor="x", deadline=DEADLINE)
    assert (burial.reads, burial.writes, burial.calls.total()) == (0, 3, 2)
    assert going.state is State.TERMINATING


def test_an_expiry_costs_the_same_whatever_else_is_filed(emulated, meter, count):
    """Among timers of other minutes: the sweep looks, deletes, and the row is read and moved on."""
    _fill(emulated, tables.connection(TimerRow).table_name, [_timer_item(number) for number in range(count // 4)])
    row = full(1, project="acme", pool="main")
    calls.put(rows.encode(row, wrote="step", write="w"))
    timer = timers.put(Timer(TimerKind.IDLE, f"instance/acme/main/{row.instance_id}", row.fence, NOW))
    with meter() as expiry:
        found = timers.due(timer.partition, NOW, 100)
        timers.delete(found)
        seen = instances.get("acme", "main", row.instance_id)
        instances.step(seen, Event.EXPIRED, now=NOW, reason=Reason.IDLE_TIMEOUT, actor="timer", deadline=DEADLINE)
    assert found == [timer]
    assert (expiry.reads, expiry.writes, expiry.calls.total()) == (1.5, 4, 5)


def test_the_list_of_active_runs_does_not_pay_for_ended_ones(emulated, meter):
    costs = []
    for ended in (0, 40):
        for number in range(ended):
            over = runs.create(make_run(run_id=f"run-{number:03d}", name=f"n-{number}"), None)
            runs.step(over, runs.RunState.DONE, now=NOW, reason=runs.RunReason.EXITED, actor="x")
        if not ended:
            runs.create(make_run(run_id="run-live"), None)
        with meter() as page:
            assert [run.run_id for run in runs.page("acme", 10, None, active=True)[0]] == ["run-live"]
        costs.append((page.reads, page.calls.total()))
    assert costs == [(1.0, 2)] * 2


def test_making_and_burying_an_instance_costs_what_it_is_known_to_cost(emulated, meter):
    with meter() as creation:
        made = instances.create(make_instance(state=State.PENDING, fence=1), {"cpus": 4}, DEADLINE)
    assert (creation.reads, creation.writes, creation.calls.total()) == (0, 11, 2)
    options = {"now": NOW, "actor": "x"}
    going = instances.step(made, Event.REMOVED, reason=Reason.USER_REMOVED, deadline=DEADLINE, **options)
    with meter() as burial:
        instances.bury(going, reason=Reason.CONFIRMED_GONE, **options)
    assert (burial.reads, burial.writes, burial.calls.total()) == (0, 8, 1)


def test_a_look_at_an_id_in_its_pool_is_one_read_and_by_name_two(emulated, meter):
    made = instances.create(make_instance(state=State.PENDING, instance_id=f"i-{1:018d}"), {}, DEADLINE)
    with meter() as direct:
        assert instances.find("acme", made.instance_id, "main") == made
    assert (direct.reads, direct.calls.total()) == (1, 1)
    with meter() as named:
        assert instances.find("acme", made.name, "main") == made
    assert (named.reads, named.calls.total()) == (2, 2)


def _member(number: int, **rest: Any) -> Instance:
    ordinary = {"project": "acme", "pool": "main", "name": f"member-{number}", "changed_at": ago(minutes=1)}
    return full(number, **ordinary | rest)


def _timer_item(number: int) -> dict[str, Any]:
    timer = Timer(TimerKind.IDLE, f"instance/acme/main/i-{number:026d}", 1, later(minutes=1 + number % 600))
    return TimerRow(timer.partition, timer.sort, ttl=int(timer.due_at.timestamp())).serialize()


def _fill(client: Any, table: str, items: list[dict[str, Any]]) -> None:
    batches = [items[start : start + 25] for start in range(0, len(items), 25)]

    def write(batch: list[dict[str, Any]]) -> None:
        answer = client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item}} for item in batch]})
        assert not answer["UnprocessedItems"]

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, batches))

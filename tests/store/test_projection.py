"""What the stream's records come to: history and counts, whatever is repeated, reordered or cut short."""

import random

import pytest

from chalicelib.domain.errors import UnavailableError
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Instance
from chalicelib.store import calls, instances, journal, pools, projection, rows
from chalicelib.store.models import InstanceRow, JournalRow
from tests.builders import NOW, later, make_instance, make_lease, make_offer, make_pool
from tests.store.seeds import DEADLINE, recount

pytestmark = pytest.mark.usefixtures("dynamodb")

Record = tuple[calls.Image | None, calls.Image | None]


class Stream:
    """The records that writes leave behind, taken from the table around each write."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, change, *arguments, **options) -> Instance:
        """Do one write to one instance and note the images before and after it."""
        before = _image("i-1")
        done = change(*arguments, **options)
        after = _image("i-1")
        if done.state is State.TERMINATED:
            ended = calls.get(InstanceRow, rows.ended_part("acme", "main"), rows.ended_key(done), consistent=True)
            self.records += [(before, None), (None, ended)]
        else:
            self.records.append((before, after))
        return done

    def step(self, seen: Instance, event: Event, reason: Reason, **rest) -> Instance:
        """One step."""
        options = {"now": NOW, "reason": reason, "actor": "x", "deadline": DEADLINE}
        return self.write(instances.step, seen, event, **options, **rest)


def life() -> list[Record]:
    """A whole life: two attempts at different prices, a lease, flags, a touch, removal, burial."""
    stream = Stream()
    row = stream.write(instances.create, make_instance(state=State.PENDING, fence=1), {}, DEADLINE)
    row = stream.step(row, Event.LAUNCHED, Reason.LAUNCHED, offer=make_offer(price=1))
    row = stream.step(row, Event.ATTEMPT_FAILED, Reason.MACHINE_GONE, offer=None)
    row = stream.step(row, Event.LAUNCHED, Reason.LAUNCHED, offer=make_offer())
    row = stream.step(row, Event.READY, Reason.AGENT_READY)
    row = stream.write(instances.touch, row, now=later(minutes=1))
    row = stream.write(instances.flag, row, cordoned=True, now=NOW, actor="user:test")
    row = stream.write(instances.flag, row, cordoned=False, now=NOW, actor="user:test")
    row = stream.step(row, Event.ACQUIRED, Reason.ACQUIRED, lease=make_lease(fence=row.fence + 1))
    row = stream.step(row, Event.RELEASED, Reason.RELEASED, lease=None)
    row = stream.step(row, Event.REMOVED, Reason.USER_REMOVED)
    stream.write(
        instances.bury, row, now=later(minutes=2), reason=Reason.USER_REMOVED, actor="user:me", how=Reason.UNINSTALLED
    )
    return stream.records


def counts() -> tuple[int, int]:
    """Total and available of the pool, as kept."""
    (pool,) = pools.list_pools("acme")
    return pool.total, pool.available


def recounted() -> tuple[int, int]:
    """The same, counted."""
    by_shape = recount("acme", "main").values()
    return sum(total for total, _ in by_shape), sum(available for _, available in by_shape)


def test_the_kept_counts_follow_every_step_of_a_life():
    expected = [(1, 0), (1, 0), (1, 0), (1, 0), (1, 1), (1, 1), (1, 0), (1, 1), (1, 0), (1, 1), (1, 0), (1, 0), (0, 0)]
    seen = []
    for record in life():
        projection.apply(*record)
        seen.append(counts())
    assert seen == expected


def test_the_history_is_complete_and_in_order():
    for record in life():
        projection.apply(*record)
    history = journal.everything("i-1").history
    assert [step.fence for step in history] == list(range(1, 10))
    assert [step.source for step in history] == [None, *(step.target for step in history[:-1])]
    assert history[-1].target is State.TERMINATED
    assert (history[-1].reason, history[-1].actor) == (Reason.UNINSTALLED, "host")
    assert history[-1].at == later(minutes=2)


@pytest.mark.parametrize("seed", range(3))
def test_records_that_come_twice_change_nothing(seed):
    """A batch that failed halfway is delivered again from its beginning, any number of times."""
    rng = random.Random(seed)
    records = life()
    position = 0
    while position < len(records):
        projection.apply(*records[position])
        position += 1
        if rng.random() < 0.4:
            position = max(0, position - rng.randint(1, 5))
            continue
    assert counts() == recounted() == (0, 0)
    assert len(journal.everything("i-1").history) == 9


def test_shapes_that_no_instance_has_leave_the_directory():
    for record in life():
        projection.apply(*record)
    assert pools.directory("acme", "main")[1] == []
    assert [item["name"]["S"] for item in calls.query_all(projection.PoolRow, "acme")] == ["#project", "main"]


def test_a_shape_that_another_instance_has_stays_in_the_directory():
    other = rows.encode(make_instance(instance_id="i-2", name="other"), wrote="create", write="w").serialize()
    projection.apply(None, other)
    for record in life():
        projection.apply(*record)
    (entry,) = pools.directory("acme", "main")[1]
    assert (entry.offer.shape, entry.total, entry.available) == (make_offer().shape, 1, 1)


def test_the_counts_carry_the_offer_so_a_shape_needs_no_other_entry():
    records = life()[:5]
    for record in records:
        projection.apply(*record)
    (entry,) = pools.directory("acme", "main")[1]
    assert (entry.offer.shape, entry.total, entry.available) == (make_offer().shape, 1, 1)


def test_an_instance_without_offer_counts_for_its_pool_but_is_no_shape():
    projection.apply(*life()[0])
    assert counts() == (1, 0)
    assert pools.directory("acme", "main")[1] == []


@pytest.mark.parametrize("counted", [0, 5, 11])
def test_records_that_come_after_their_pool_was_deleted_are_history_and_no_counts(counted):
    """Whatever was counted before went with the pool, so nothing may be taken from it later."""
    records = life()
    for record in records[:counted]:
        projection.apply(*record)
    delete_pool()
    for record in records[counted:]:
        projection.apply(*record)
    assert len(journal.everything("i-1").history) == 9
    assert shapes() == []
    pools.create(make_pool(created_at=later(minutes=3)))
    assert counts() == (0, 0)


def test_a_new_pool_does_not_count_what_was_in_the_old_one_of_its_name():
    records = life()
    for record in records[:5]:
        projection.apply(*record)
    delete_pool()
    pools.create(make_pool(created_at=later(minutes=3)))
    for record in records[5:]:
        projection.apply(*record)
    assert len(journal.everything("i-1").history) == 9
    assert counts() == (0, 0)
    assert shapes() == []


def test_an_end_that_overtakes_its_life_is_counted_right_in_the_end():
    """The ended row lies in another partition, so its record may come from a shard that is ahead."""
    records = life()
    for record in [records[-1], *records[:-1]]:
        projection.apply(*record)
    assert counts() == (0, 0)


def delete_pool() -> None:
    """Delete the pool, as soon as its last live instance has gone."""
    pools.begin_delete("acme", "main")
    pools.end_delete("acme", "main")


def shapes() -> list[str]:
    """The rows of counts that there are."""
    return [item["name"]["S"] for item in calls.query_all(projection.PoolRow, "acme") if "main#" in item["name"]["S"]]


def test_a_touch_is_not_projected():
    before = len(list(calls.query_all(JournalRow, "i-1")))
    stream = Stream()
    row = stream.write(instances.create, make_instance(state=State.PENDING, fence=1), {}, DEADLINE)
    stream.write(instances.touch, row, now=later(minutes=1))
    stream.records.pop(0)
    projection.apply(*stream.records[0])
    assert len(list(calls.query_all(JournalRow, "i-1"))) == before + 1  # the specification alone
    assert counts() == (0, 0)


def test_an_ended_row_that_expires_changes_nothing():
    records = life()
    for record in records:
        projection.apply(*record)
    projection.apply(records[-1][1], None)
    assert counts() == (0, 0)


def test_a_projection_that_died_after_its_transaction_finishes_when_it_is_repeated(monkeypatch):
    records = life()
    for record in records[:-1]:
        projection.apply(*record)
    with monkeypatch.context() as broken:
        broken.setattr(journal, "expire", _die)
        with pytest.raises(UnavailableError):
            projection.apply(*records[-1])
    projection.apply(*records[-1])
    assert counts() == (0, 0)
    assert all("ttl" in item for item in calls.query_all(JournalRow, "i-1"))


def _image(instance_id: str) -> calls.Image | None:
    return calls.get(InstanceRow, "acme/main", instance_id, consistent=True)


def _die(*_arguments):
    raise UnavailableError("the process died here")

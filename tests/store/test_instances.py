"""Instances on their table: what is stored, what a condition refuses, and what is in the index."""

from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from chalicelib.domain.errors import (
    AlreadyExistsError,
    IllegalTransitionError,
    LeaseLostError,
    LostRaceError,
    NotFoundError,
)
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Instance
from chalicelib.domain.timers import TimerKind
from chalicelib.store import calls, instances, journal, pools, timers
from tests.builders import NOW, later, make_gpu, make_instance, make_lease, make_offer
from tests.store.seeds import DEADLINE, claimables, ended, filed, seed

pytestmark = pytest.mark.usefixtures("dynamodb")


def acquire(seen: Instance, **changes: object) -> Instance:
    """Take an idle instance, the ordinary way."""
    lease = make_lease(instance_id=seen.instance_id, fence=seen.fence + 1)
    arguments = {"now": NOW, "reason": Reason.ACQUIRED, "actor": "user:test", "deadline": DEADLINE, "lease": lease}
    return instances.step(seen, Event.ACQUIRED, **(arguments | changes))


def release(seen: Instance, **changes: object) -> Instance:
    """Give a busy instance back, the ordinary way."""
    arguments = {"now": NOW, "reason": Reason.RELEASED, "actor": "user:test", "deadline": DEADLINE, "lease": None}
    return instances.step(seen, Event.RELEASED, **(arguments | changes))


@pytest.mark.parametrize(
    "instance",
    [
        make_instance(state=State.PENDING, fence=0),
        make_instance(idle_limit=timedelta(minutes=5), deadline=DEADLINE),
        make_instance(idle_limit=timedelta(0), offer=make_offer(priced_at=None, availability="unknown")),
        make_instance(idle_limit=timedelta(milliseconds=1500), detail='über "42" \\', reserved_for="run-1"),
        make_instance(state=State.BUSY, unreachable_since=NOW, cordoned=True, spent=7, offer=make_offer(spot=True)),
        make_instance(offer=make_offer(gpus=(make_gpu(), make_gpu(name="H100", memory_gib=80, count=7)))),
    ],
    ids=lambda instance: instance.state.value,
)
def test_what_is_read_is_what_was_written(instance):
    assert seed(instance) == instance
    assert instances.get("acme", "main", "i-1") == instance


def test_a_new_instance_comes_with_its_name_its_specification_and_a_timer():
    created = instances.create(make_instance(state=State.PENDING, fence=1), {"cpus": 4}, DEADLINE)
    assert created.deadline == DEADLINE
    assert instances.get("acme", "main", "i-1") == created
    assert journal.spec("i-1") == {"cpus": 4}
    assert [(timer.kind, timer.fence, timer.due_at) for timer in filed(DEADLINE)] == [
        (TimerKind.PROVISIONING, 1, DEADLINE)
    ]


def test_a_name_is_taken_once_among_the_live():
    instances.create(make_instance(state=State.PENDING), {}, DEADLINE)
    with pytest.raises(AlreadyExistsError):
        instances.create(make_instance(state=State.PENDING, instance_id="i-2"), {}, DEADLINE)
    assert journal.spec("i-2") is None


def test_no_instance_is_made_in_a_pool_that_is_unknown_or_being_deleted():
    with pytest.raises(NotFoundError):
        instances.create(make_instance(state=State.PENDING, pool="other"), {}, DEADLINE)
    pools.begin_delete("acme", "main")
    with pytest.raises(NotFoundError):
        instances.create(make_instance(state=State.PENDING), {}, DEADLINE)
    assert not instances.any_live("acme", "main")


def test_the_second_of_two_writers_loses():
    seen = seed(make_instance())
    acquire(seen)
    with pytest.raises(LostRaceError):
        acquire(seen)


def test_a_writer_who_read_before_idle_busy_idle_loses():
    """A reads idle; B acquires and releases, so the state is idle again; A writes: the fence tells."""
    seen = seed(make_instance())
    again = release(acquire(seen))
    assert again.state is seen.state
    with pytest.raises(LostRaceError):
        instances.step(seen, Event.EXPIRED, now=NOW, reason=Reason.IDLE_TIMEOUT, actor="timer", deadline=DEADLINE)


def test_a_step_on_a_row_that_is_gone_loses_and_makes_no_row():
    with pytest.raises(LostRaceError):
        acquire(make_instance())
    assert not instances.any_live("acme", "main")


def test_an_illegal_step_never_reaches_the_table():
    seen = seed(make_instance(state=State.PENDING))
    with pytest.raises(IllegalTransitionError):
        acquire(seen)
    assert filed(DEADLINE) == []
    assert instances.get("acme", "main", "i-1") == seen


def test_a_step_cannot_change_what_is_not_its_own():
    with pytest.raises(TypeError, match="name"):
        acquire(seed(make_instance()), name="other")


def test_a_step_raises_the_fence_and_files_the_timer_of_the_new_state():
    busy = acquire(seed(make_instance()))
    assert (busy.state, busy.fence, busy.reason, busy.deadline) == (State.BUSY, 5, Reason.ACQUIRED, DEADLINE)
    assert [(timer.kind, timer.fence, timer.target) for timer in filed(DEADLINE)] == [
        (TimerKind.LEASE, 5, "instance/acme/main/i-1")
    ]


def test_a_deadline_that_is_over_already_is_filed_where_the_sweep_still_looks():
    release(acquire(seed(make_instance())), deadline=NOW - timedelta(hours=1))
    assert [timer.due_at for timer in filed(NOW)] == [NOW]


def test_a_timer_is_filed_although_the_step_then_loses():
    """The order that can be crashed in: the timer is there before the row needs it."""
    seen = seed(make_instance())
    acquire(seen, deadline=later(minutes=1))
    with pytest.raises(LostRaceError):
        acquire(seen, deadline=DEADLINE)
    assert len(filed(DEADLINE)) == 1


def test_fields_that_a_step_does_not_name_stay_and_those_it_clears_go():
    busy = acquire(seed(make_instance(spent=7, detail="was odd")))
    assert (busy.spent, busy.detail, busy.offer) == (7, "", make_offer())
    assert release(busy).lease is None


@pytest.mark.parametrize(
    "flags", [{"unreachable_since": NOW}, {"cordoned": True}, {"ends_at": NOW}, {"offer": None, "state": State.PENDING}]
)
def test_only_idle_reachable_uncordoned_uninterrupted_instances_are_claimable(flags):
    seed(make_instance(**flags))
    assert claimables() == []


def test_an_instance_leaves_the_index_when_taken_and_comes_back_when_given_back():
    seen = seed(make_instance())
    assert claimables() == ["i-1"]
    busy = acquire(seen)
    assert claimables() == []
    release(busy)
    assert claimables() == ["i-1"]


def test_candidates_come_the_longest_idle_first_and_by_shape():
    seed(make_instance(instance_id="i-1", name="a", changed_at=NOW))
    seed(make_instance(instance_id="i-2", name="b", changed_at=NOW - timedelta(hours=1)))
    seed(make_instance(instance_id="i-3", name="c", offer=make_offer(price=1)))
    assert claimables() == ["i-2", "i-1"]
    assert claimables(make_offer(price=1)) == ["i-3"]


def test_a_claim_takes_a_candidate_without_reading_its_row():
    seed(make_instance())
    (candidate,) = instances.claimable("acme", "main", make_offer().shape, 5)
    lease = make_lease(fence=candidate.fence + 1)
    busy = instances.claim(candidate, now=NOW, actor="user:test", deadline=DEADLINE, lease=lease)
    assert (busy.state, busy.fence, busy.lease, busy.deadline) == (State.BUSY, 5, lease, DEADLINE)
    assert busy == instances.get("acme", "main", "i-1")
    assert [timer.kind for timer in filed(DEADLINE)] == [TimerKind.LEASE]
    with pytest.raises(LostRaceError):
        instances.claim(candidate, now=NOW, actor="user:test", deadline=DEADLINE, lease=lease)


@pytest.mark.parametrize("change", [{"cordoned": True}, {"unreachable": True}, {"ends_at": DEADLINE}])
def test_a_claim_loses_against_a_flag_that_was_set_after_the_index_was_read(change):
    seen = seed(make_instance())
    (candidate,) = instances.claimable("acme", "main", make_offer().shape, 5)
    instances.flag(seen, now=NOW, actor="user:test", **change)
    with pytest.raises(LostRaceError):
        instances.claim(candidate, now=NOW, actor="x", deadline=DEADLINE, lease=make_lease(fence=5))


def test_a_lease_with_another_fence_than_it_will_have_is_refused():
    seed(make_instance())
    (candidate,) = instances.claimable("acme", "main", make_offer().shape, 5)
    with pytest.raises(ValueError, match="fence"):
        instances.claim(candidate, now=NOW, actor="x", deadline=DEADLINE, lease=make_lease(fence=4))


def test_flags_move_an_instance_in_and_out_of_the_index_without_a_new_fence():
    seen = seed(make_instance())
    cordoned = instances.flag(seen, cordoned=True, now=NOW, actor="user:test")
    assert (cordoned.cordoned, cordoned.fence, cordoned.actor) == (True, seen.fence, seen.actor)
    assert claimables() == []
    instances.flag(cordoned, cordoned=False, now=NOW, actor="user:test")
    assert claimables() == ["i-1"]


def test_giving_back_an_instance_that_was_cordoned_meanwhile_loses():
    """A reads busy; B cordons it (the fence stays); A releases: it would enter the index although cordoned."""
    busy = seed(make_instance(state=State.BUSY))
    instances.flag(busy, cordoned=True, now=NOW, actor="user:test")
    with pytest.raises(LostRaceError):
        release(busy)
    assert release(instances.get("acme", "main", "i-1")).state is State.IDLE
    assert claimables() == []


def test_giving_back_an_instance_that_is_taken_back_meanwhile_loses():
    """A reads busy; the provider gives notice (the fence stays); A releases: it would enter the index."""
    busy = seed(make_instance(state=State.BUSY))
    flagged = instances.flag(busy, ends_at=DEADLINE, now=NOW, actor="agent")
    assert (flagged.ends_at, flagged.fence) == (DEADLINE, busy.fence)
    with pytest.raises(LostRaceError):
        release(busy)


def test_a_first_notice_wins_over_a_second_one_that_was_read_before_it():
    seen = seed(make_instance())
    instances.flag(seen, ends_at=DEADLINE, now=NOW, actor="agent")
    with pytest.raises(LostRaceError):
        instances.flag(seen, ends_at=NOW, now=NOW, actor="provider")


def test_a_notice_that_moved_makes_an_end_lose_that_stands_on_it():
    seen = seed(make_instance())
    with pytest.raises(LostRaceError):
        instances.step(
            instances.flag(seen, ends_at=DEADLINE, now=NOW, actor="agent") and seen,
            Event.LOST,
            now=NOW,
            reason=Reason.INTERRUPTED,
            actor="timer",
            deadline=DEADLINE,
            holding="ends_at",
        )


def test_giving_back_an_instance_whose_idle_limit_changed_meanwhile_loses():
    """A reads the limit and computes the deadline; B changes the limit; A releases with the old deadline."""
    busy = seed(make_instance(state=State.BUSY, idle_limit=timedelta(minutes=5)))
    instances.flag(busy, idle_limit=timedelta(hours=5), now=NOW, actor="user:test")
    with pytest.raises(LostRaceError):
        release(busy)


def test_two_flags_set_from_the_same_reading_do_not_undo_one_another():
    """A and B read idle, unreachable; A cordons; B notes it is reachable again: it must not enter the index."""
    seen = seed(make_instance(unreachable_since=NOW))
    instances.flag(seen, cordoned=True, now=NOW, actor="user:test")
    with pytest.raises(LostRaceError):
        instances.flag(seen, unreachable=False, now=NOW, actor="agent")
    assert instances.touch(seen, now=NOW).cordoned
    assert claimables() == []


def test_a_new_idle_limit_counts_from_when_the_instance_became_idle():
    seen = seed(make_instance(idle_limit=timedelta(minutes=5), deadline=later(minutes=5)))
    changed = instances.flag(seen, idle_limit=timedelta(hours=1), now=later(minutes=2), actor="user:test")
    assert (changed.idle_limit, changed.deadline) == (timedelta(hours=1), later(hours=1))
    assert [(timer.kind, timer.fence) for timer in filed(later(hours=1))] == [(TimerKind.IDLE, seen.fence)]


def test_an_idle_limit_that_is_over_already_expires_now():
    seen = seed(make_instance(changed_at=NOW - timedelta(hours=1)))
    assert instances.flag(seen, idle_limit=timedelta(minutes=5), now=NOW, actor="user:test").deadline == NOW
    assert [timer.due_at for timer in filed(NOW)] == [NOW]


def test_an_idle_limit_that_is_taken_away_leaves_no_deadline():
    seen = seed(make_instance(idle_limit=timedelta(minutes=5), deadline=DEADLINE))
    changed = instances.flag(seen, idle_limit=None, now=NOW, actor="user:test")
    assert (changed.idle_limit, changed.deadline) == (None, None)


def test_the_idle_limit_of_a_busy_instance_leaves_its_lease_alone():
    seen = seed(make_instance(state=State.BUSY, deadline=DEADLINE))
    assert instances.flag(seen, idle_limit=timedelta(minutes=5), now=NOW, actor="user:test").deadline == DEADLINE


def test_a_touch_notes_presence_and_keeps_the_fence():
    seen = seed(make_instance())
    touched = instances.touch(seen, now=later(minutes=1))
    assert touched == replace(seen, seen_at=later(minutes=1))
    assert claimables() == ["i-1"]


def test_a_touch_ends_unreachable_and_the_instance_is_claimable_again():
    seen = seed(make_instance(unreachable_since=NOW))
    assert not instances.touch(seen, now=later(minutes=1)).unreachable
    assert claimables() == ["i-1"]


def test_a_touch_that_read_the_row_before_it_was_flagged_ends_unreachable_too():
    seen = seed(make_instance())
    instances.flag(seen, unreachable=True, now=NOW, actor="timer")
    touched = instances.touch(seen, now=later(minutes=1))
    assert (touched.unreachable, touched.seen_at) == (False, later(minutes=1))


def test_a_touch_extends_the_lease_and_never_shortens_it():
    busy = seed(make_instance(state=State.BUSY))
    longer = instances.touch(busy, now=NOW, lease_expires=later(minutes=9), fence=4)
    assert (longer.lease.expires_at, longer.deadline) == (later(minutes=9), later(minutes=9))
    same = instances.touch(longer, now=later(minutes=1), lease_expires=later(minutes=5), fence=4)
    assert (same.lease.expires_at, same.seen_at) == (later(minutes=9), later(minutes=1))


def test_a_touch_with_an_old_fence_notes_presence_but_extends_nothing():
    busy = acquire(release(seed(make_instance(state=State.BUSY))))
    touched = instances.touch(busy, now=later(minutes=1), lease_expires=later(hours=1), fence=4)
    assert (touched.lease, touched.seen_at) == (busy.lease, later(minutes=1))


def test_a_touch_that_read_the_row_before_it_moved_extends_nothing():
    busy = seed(make_instance(state=State.BUSY))
    idle = release(busy)
    touched = instances.touch(busy, now=later(minutes=1), lease_expires=later(hours=1), fence=4)
    assert touched == replace(idle, seen_at=later(minutes=1))


def test_touching_an_instance_that_ended_says_so():
    with pytest.raises(NotFoundError):
        instances.touch(make_instance(), now=NOW)


def test_a_holder_extends_its_lease_without_speaking_for_the_agent():
    busy = seed(make_instance(state=State.BUSY))
    longer = instances.extend(busy, lease_expires=later(hours=1), fence=4)
    assert (longer.lease.expires_at, longer.seen_at) == (later(hours=1), busy.seen_at)
    assert instances.extend(longer, lease_expires=later(minutes=1), fence=4) == longer


def test_of_two_heartbeats_at_once_the_longer_one_counts():
    """A and B read the lease; B extends it by five hours; A, which asked for two minutes, must not shorten that."""
    busy = seed(make_instance(state=State.BUSY))
    longer = instances.extend(busy, lease_expires=later(hours=5), fence=4)
    assert instances.extend(busy, lease_expires=later(hours=2), fence=4) == longer
    assert instances.get("acme", "main", "i-1") == longer
    longest = instances.extend(busy, lease_expires=later(hours=6), fence=4)
    assert (longest.lease.expires_at, longest.deadline) == (later(hours=6), later(hours=6))


def test_a_heartbeat_that_meets_the_agents_touch_extends_what_that_left():
    busy = seed(make_instance(state=State.BUSY))
    instances.touch(busy, now=later(minutes=1), lease_expires=later(minutes=30), fence=4)
    longer = instances.extend(busy, lease_expires=later(hours=1), fence=4)
    assert (longer.lease.expires_at, longer.seen_at) == (later(hours=1), later(minutes=1))


def test_a_heartbeat_that_read_the_row_before_it_ended_has_lost_its_lease():
    busy = seed(make_instance(state=State.BUSY))
    going = instances.step(
        busy, Event.REMOVED, now=NOW, reason=Reason.USER_REMOVED, actor="user:test", deadline=DEADLINE
    )
    instances.bury(going, now=NOW, reason=Reason.CONFIRMED_GONE, actor="teardown")
    with pytest.raises(LeaseLostError):
        instances.extend(busy, lease_expires=later(hours=1), fence=4)


def test_a_heartbeat_on_a_row_that_never_rests_gives_up(monkeypatch):
    """Every time that it reads, somebody else extends the lease by a little before it writes."""
    seen = seed(make_instance(state=State.BUSY))
    get, minutes = instances.get, count(20)

    def stale_get(*key):
        row = get(*key)
        instances.touch(row, now=NOW, lease_expires=later(minutes=next(minutes)), fence=4)
        return row

    instances.touch(seen, now=NOW, lease_expires=later(minutes=19), fence=4)
    monkeypatch.setattr(instances, "get", stale_get)
    with pytest.raises(LostRaceError):
        instances.extend(seen, lease_expires=later(hours=1), fence=4)


def test_a_lease_that_is_over_cannot_be_extended():
    busy = seed(make_instance(state=State.BUSY))
    again = acquire(release(busy))
    for seen in (busy, again):
        with pytest.raises(LeaseLostError):
            instances.extend(seen, lease_expires=later(hours=1), fence=4)


def test_a_buried_instance_leaves_the_live_ones_and_frees_its_name():
    instances.create(make_instance(state=State.PENDING, fence=1), {}, DEADLINE)
    going = instances.step(
        instances.get("acme", "main", "i-1"),
        Event.REMOVED,
        now=NOW,
        reason=Reason.USER_REMOVED,
        actor="user:test",
        deadline=DEADLINE,
    )
    gone = instances.bury(going, now=later(minutes=1), reason=Reason.CONFIRMED_GONE, actor="teardown", detail="bye")
    assert (gone.state, gone.fence, gone.deadline, gone.detail) == (State.TERMINATED, 3, None, "bye")
    assert not instances.any_live("acme", "main")
    assert ended("acme", "main", NOW, 10) == [gone]
    assert instances.find("acme", "brave-otter-42") == instances.find("acme", "i-1") == gone
    with pytest.raises(NotFoundError):
        instances.get("acme", "main", "i-1")
    second = instances.create(make_instance(state=State.PENDING, instance_id="i-2"), {}, DEADLINE)
    assert instances.find("acme", "brave-otter-42") == second
    assert instances.find("acme", "i-1") == gone


def test_burying_twice_or_from_an_old_reading_loses():
    going = seed(make_instance(state=State.TERMINATING))
    instances.bury(going, now=NOW, reason=Reason.CONFIRMED_GONE, actor="teardown")
    with pytest.raises(LostRaceError):
        instances.bury(going, now=later(minutes=1), reason=Reason.CONFIRMED_GONE, actor="teardown")
    assert len(ended("acme", "main", NOW, 10)) == 1


@pytest.mark.parametrize("now", [{"state": State.BUSY}, {"state": State.TERMINATING, "fence": 5}])
def test_nothing_is_buried_on_a_reading_that_is_not_the_row(now):
    row = seed(make_instance(**now))
    with pytest.raises(LostRaceError):
        instances.bury(make_instance(state=State.TERMINATING), now=NOW, reason=Reason.CONFIRMED_GONE, actor="x")
    assert instances.find("acme", "brave-otter-42") == row


@pytest.mark.parametrize("state", [State.IDLE, State.BUSY, State.PENDING, State.PROVISIONING])
def test_only_a_terminating_instance_is_buried(state):
    with pytest.raises(IllegalTransitionError):
        instances.bury(seed(make_instance(state=state)), now=NOW, reason=Reason.CONFIRMED_GONE, actor="teardown")


def test_ended_instances_come_newest_first_from_a_moment_on():
    for number in range(1, 4):
        going = seed(make_instance(state=State.TERMINATING, instance_id=f"i-{number}", name=f"n-{number}"))
        instances.bury(going, now=later(minutes=number), reason=Reason.CONFIRMED_GONE, actor="teardown")
    assert [each.instance_id for each in ended("acme", "main", later(minutes=2), 10)] == ["i-3", "i-2"]
    assert [each.instance_id for each in ended("acme", "main", NOW, 1)] == ["i-3"]


def test_live_instances_are_read_in_pages():
    for number in range(5):
        seed(make_instance(instance_id=f"i-{number}", name=f"n-{number}"))
    first, cursor = instances.live("acme", "main", 3, None)
    second, end = instances.live("acme", "main", 3, cursor)
    assert [each.instance_id for each in first + second] == [f"i-{number}" for number in range(5)]
    assert end is None


def test_an_unknown_name_is_not_found():
    with pytest.raises(NotFoundError):
        instances.find("acme", "nobody")


def test_an_id_is_found_in_its_pool_before_a_name_that_looks_like_it():
    first, second = (f"i-{number:018d}" for number in (1, 2))
    instances.create(make_instance(state=State.PENDING, instance_id=first, name="a"), {}, DEADLINE)
    instances.create(make_instance(state=State.PENDING, instance_id=second, name=first), {}, DEADLINE)
    assert instances.find("acme", first, "main").instance_id == first
    assert instances.find("acme", first).instance_id == second


@pytest.mark.parametrize("pool", ["", "other", "main#ended", "x" * 4_000])
def test_an_id_is_looked_up_when_it_is_not_in_the_pool_that_was_named(pool):
    row = instances.create(make_instance(state=State.PENDING, instance_id=f"i-{1:018d}"), {}, DEADLINE)
    assert instances.find("acme", row.instance_id, pool) == row


def test_one_that_ends_while_it_is_looked_up_is_found_where_it_went(monkeypatch):
    """The look at the name, then the burial, then the look at the row."""
    going = seed(make_instance(state=State.TERMINATING))
    read = calls.get

    def slow_read(*arguments, **options):
        monkeypatch.setattr(calls, "get", read)
        item = read(*arguments, **options)
        instances.bury(going, now=NOW, reason=Reason.CONFIRMED_GONE, actor="teardown")
        return item

    monkeypatch.setattr(calls, "get", slow_read)
    assert instances.find("acme", going.name).state is State.TERMINATED


def test_another_project_does_not_find_it():
    seed(make_instance())
    for project in ("acm", "acme2", "acme/main"):
        with pytest.raises(NotFoundError):
            instances.find(project, "brave-otter-42")


def test_every_resting_row_without_deadline_has_no_timer():
    release(acquire(seed(make_instance())), deadline=None)
    assert [timer.kind for timer in timers.due(filed_partition(), later(days=1), 10)] == [TimerKind.LEASE]


def filed_partition() -> str:
    """Where the lease timer of `acquire` is."""
    return filed(DEADLINE)[0].partition

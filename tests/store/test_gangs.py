"""Several instances in one transaction: all of them or none, also when two gangs want the same ones."""

from typing import Any

import pytest

from chalicelib.domain.errors import LostRaceError, ThrottledError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Instance
from chalicelib.domain.nodes import NodeJob, NodeState
from chalicelib.store import gangs, instances, runs
from tests.builders import NOW, later, make_instance, make_lease, make_offer, make_run
from tests.store.seeds import claimables, filed, seed
from tests.store.test_races import race

UNTIL = later(minutes=10)


def candidates() -> list[instances.Candidate]:
    return instances.claimable("acme", "main", make_offer().shape, 100)


def claim(wanted: list[instances.Candidate], holder: str = "user:a") -> list[Instance]:
    leases = [
        make_lease(instance_id=each.instance_id, fence=each.fence + 1, holder=holder, expires_at=UNTIL)
        for each in wanted
    ]
    return gangs.claim(wanted, leases, now=NOW, actor=holder)


def seeded(count: int) -> list[instances.Candidate]:
    for number in range(count):
        seed(make_instance(instance_id=f"i-{number}", name=f"n-{number}"))
    return candidates()


@pytest.mark.usefixtures("dynamodb")
def test_a_gang_holds_all_that_it_asked_for_with_a_timer_for_each():
    found = seeded(3)
    held = claim(found)
    assert [row.instance_id for row in held] == [each.instance_id for each in found]
    assert held == [instances.get("acme", "main", each.instance_id) for each in found]
    assert {row.state for row in held} == {State.BUSY}
    assert len({row.lease.lease_id for row in held if row.lease}) == 3
    assert claimables() == []
    assert len(filed(UNTIL)) == 3


@pytest.mark.usefixtures("dynamodb")
@pytest.mark.parametrize("spoilt", [0, 1, 2])
def test_one_that_is_taken_leaves_all_the_others_free(spoilt):
    found = seeded(3)
    claim([found[spoilt]], "user:quick")
    with pytest.raises(LostRaceError, match=found[spoilt].name):
        claim(found, "user:late")
    assert len(claimables()) == 2


@pytest.mark.usefixtures("dynamodb")
def test_one_that_was_cordoned_since_the_look_spoils_the_gang():
    found = seeded(2)
    instances.flag(instances.get("acme", "main", "i-1"), cordoned=True, now=NOW, actor="user:x")
    with pytest.raises(LostRaceError):
        claim(found)
    assert instances.get("acme", "main", "i-0").state is State.IDLE


@pytest.mark.usefixtures("emulated")
def test_of_two_gangs_that_want_the_same_instance_one_gets_all_and_the_other_nothing():
    found = seeded(5)
    one, two = found[:3], found[2:]
    outcomes: list[Any] = race([lambda: claim(one, "user:one"), lambda: claim(two, "user:two")])
    won = [each for each in outcomes if isinstance(each, list)]
    assert all(isinstance(each, (list, LostRaceError, ThrottledError)) for each in outcomes)
    assert len(won) == 1
    holders = [row.lease.holder for each in found if (row := instances.get("acme", "main", each.instance_id)).lease]
    assert len(holders) == 3
    assert len(set(holders)) == 1


@pytest.mark.usefixtures("emulated")
def test_gangs_that_overlap_in_a_ring_never_leave_one_that_is_half_held():
    found = seeded(6)
    rings = [[found[number], found[(number + 1) % 6], found[(number + 2) % 6]] for number in range(6)]
    race([lambda ring=ring, who=f"user:{number}": claim(ring, who) for number, ring in enumerate(rings)])
    holders = [row.lease.holder for each in found if (row := instances.get("acme", "main", each.instance_id)).lease]
    assert holders
    assert all(holders.count(holder) == 3 for holder in holders)


@pytest.mark.usefixtures("dynamodb")
def test_a_note_of_jobs_keeps_the_fence_and_loses_to_another_note():
    seen = runs.create(make_run(jobs=(NodeJob(0), NodeJob(1))), None)
    noted = runs.note(seen, (NodeJob(0, instance_id="i-0", state=NodeState.READY), NodeJob(1)))
    assert noted.fence == seen.fence
    assert runs.get("acme", seen.run_id) == noted
    with pytest.raises(LostRaceError):
        runs.note(seen, (NodeJob(0), NodeJob(1, instance_id="i-1")))


@pytest.mark.usefixtures("dynamodb")
def test_a_run_on_one_machine_is_stored_without_jobs():
    assert runs.create(make_run(), None).jobs == ()

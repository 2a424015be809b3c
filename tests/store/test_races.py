"""Many threads on one table, on the emulator: who wins, and that nobody wins twice."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from chalicelib.domain.errors import (
    AlreadyExistsError,
    IdempotencyPendingError,
    IllegalTransitionError,
    LostRaceError,
    TidepoolError,
    UnauthenticatedError,
)
from chalicelib.domain.lifecycle import Event, Reason, State
from chalicelib.domain.model import Role
from chalicelib.store import backends, calls, idempotency, instances, pools, projection, rows, tokens
from chalicelib.store.models import InstanceRow
from tests.builders import NOW, later, make_instance, make_lease, make_offer, make_token
from tests.store.seeds import DEADLINE, ended, seed

pytestmark = pytest.mark.usefixtures("emulated")

THREADS = 12


def race(verbs: Iterable[Callable[[], Any]]) -> list[Any]:
    """Let each verb run in a thread of its own, all at once; return what each came to: its value or its error."""
    waiting = list(verbs)
    barrier = Barrier(len(waiting))

    def run(verb: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return verb()
        except TidepoolError as error:
            return error

    with ThreadPoolExecutor(len(waiting)) as threads:
        return list(threads.map(run, waiting))


def winners(outcomes: list[Any], loss: type[TidepoolError]) -> list[Any]:
    """What won; everything else must have lost in the one way that is expected."""
    won = [each for each in outcomes if not isinstance(each, TidepoolError)]
    assert all(type(each) is loss for each in outcomes if isinstance(each, TidepoolError))
    return won


def test_of_many_who_claim_one_instance_one_gets_it():
    seed(make_instance())
    (candidate,) = instances.claimable("acme", "main", make_offer().shape, 5)

    def claim(holder: str) -> Any:
        lease = make_lease(fence=candidate.fence + 1, holder=holder)
        return instances.claim(candidate, now=NOW, actor=holder, deadline=DEADLINE, lease=lease)

    outcomes = race([lambda holder=f"user:{number}": claim(holder) for number in range(THREADS)])
    (winner,) = winners(outcomes, LostRaceError)
    stored = instances.get("acme", "main", "i-1")
    assert stored == winner
    assert stored.fence == candidate.fence + 1


def test_a_crowd_that_claims_a_pool_empties_it_without_a_double():
    """24 claimants, 8 instances: each claimant goes on to the next candidate until one is its own or none is left."""
    for number in range(8):
        seed(make_instance(instance_id=f"i-{number}", name=f"n-{number}"))

    def claim(holder: str) -> Any:
        while found := instances.claimable("acme", "main", make_offer().shape, 3):
            for candidate in found:
                lease = make_lease(instance_id=candidate.instance_id, fence=candidate.fence + 1, holder=holder)
                try:
                    return instances.claim(candidate, now=NOW, actor=holder, deadline=DEADLINE, lease=lease)
                except LostRaceError:
                    continue
        return None

    outcomes = race([lambda holder=f"user:{number}": claim(holder) for number in range(2 * THREADS)])
    taken = [each for each in outcomes if each is not None]
    assert len(taken) == len({each.instance_id for each in taken}) == 8
    assert {each.lease.holder for each in taken} == {each.lease.holder for each in instances.live("acme", "main", 9)[0]}


@pytest.mark.parametrize("turn", range(4))
def test_an_expiry_and_a_claim_of_the_same_idle_instance_do_not_both_happen(turn):
    seen = seed(make_instance())
    (candidate,) = instances.claimable("acme", "main", make_offer().shape, 5)

    def expire() -> Any:
        options = {"now": NOW, "reason": Reason.IDLE_TIMEOUT, "actor": "timer", "deadline": DEADLINE}
        return instances.step(seen, Event.EXPIRED, **options)

    def claim() -> Any:
        lease = make_lease(fence=candidate.fence + 1)
        return instances.claim(candidate, now=NOW, actor="user:test", deadline=DEADLINE, lease=lease)

    (winner,) = winners(race([expire, claim] if turn % 2 else [claim, expire]), LostRaceError)
    stored = instances.get("acme", "main", "i-1")
    assert stored == winner
    assert (stored.lease is not None) == (stored.state is State.BUSY)


def test_a_crowd_of_flags_steps_and_touches_leaves_the_index_as_the_row_says():
    """Whatever order they come in: in the index exactly when idle, reachable and not cordoned."""
    seed(make_instance())

    def current() -> Any:
        return instances.get("acme", "main", "i-1")

    def give_back() -> Any:
        lease = make_lease(fence=current().fence + 1)
        options = {"now": NOW, "actor": "x", "deadline": DEADLINE}
        busy = instances.step(current(), Event.ACQUIRED, reason=Reason.ACQUIRED, lease=lease, **options)
        return instances.step(busy, Event.RELEASED, reason=Reason.RELEASED, lease=None, **options)

    verbs: list[Callable[[], Any]] = []
    for number in range(4):
        verbs += [
            lambda on=bool(number % 2): instances.flag(current(), cordoned=on, now=NOW, actor="x"),
            lambda: instances.flag(current(), unreachable=True, now=NOW, actor="timer"),
            lambda: instances.touch(current(), now=later(minutes=1)),
            give_back,
        ]
    outcomes = race(verbs)
    losses = [each for each in outcomes if isinstance(each, TidepoolError)]
    assert all(isinstance(each, LostRaceError | IllegalTransitionError) for each in losses)
    assert len(losses) < len(outcomes)
    row = current()
    item = calls.get(InstanceRow, "acme/main", "i-1", consistent=True)
    assert ("claim_shape" in item) == rows.is_claimable(row)


def test_of_many_who_take_one_name_one_gets_it():
    def create(number: int) -> Any:
        return instances.create(make_instance(state=State.PENDING, instance_id=f"i-{number}"), {}, DEADLINE)

    outcomes = race([lambda number=number: create(number) for number in range(THREADS)])
    (winner,) = winners(outcomes, AlreadyExistsError)
    assert instances.find("acme", "brave-otter-42") == winner
    assert len(instances.live("acme", "main", 100)[0]) == 1


def test_of_many_who_bury_one_instance_one_does():
    going = seed(make_instance(state=State.TERMINATING))
    options = {"now": NOW, "reason": Reason.CONFIRMED_GONE, "actor": "teardown"}
    winners(race([lambda: instances.bury(going, **options)] * THREADS), LostRaceError)
    assert len(ended("acme", "main", NOW, 100)) == 1
    assert not instances.any_live("acme", "main")


def test_of_many_who_begin_one_request_one_works():
    outcomes = race([lambda: idempotency.begin("k", "hash", NOW)] * THREADS)
    assert winners(outcomes, IdempotencyPendingError) == [None]


def test_of_many_agents_with_one_bootstrap_token_one_gets_in():
    tokens.put(make_token(token_id="boot", role=Role.AGENT))

    def exchange(digit: str) -> Any:
        own = make_token(token_id=f"agent-{digit}", role=Role.AGENT, secret_sha256=digit * 64)
        return tokens.use_bootstrap("boot", digit * 64, agent=own)

    outcomes = race([lambda digit=digit: exchange(digit) for digit in "0123456789ab"])
    (winner,) = winners(outcomes, UnauthenticatedError)
    assert [tokens.get(f"agent-{digit}") for digit in "0123456789ab"].count(None) == 11
    assert tokens.get(winner.token_id) == winner


def test_records_projected_by_many_at_once_count_once():
    seed(make_instance())
    image = calls.get(InstanceRow, "acme/main", "i-1", consistent=True)
    race([lambda: projection.apply(None, image)] * THREADS)
    (pool,) = pools.list_pools("acme")
    assert (pool.total, pool.available) == (1, 1)


def test_a_pool_that_is_being_deleted_gets_no_instance_however_close_they_come():
    """Whoever creates either comes before the mark, and is then seen by `any_live`, or is refused."""

    def delete() -> Any:
        pools.begin_delete("acme", "main")
        if instances.any_live("acme", "main"):
            return pools.cancel_delete("acme", "main")
        return pools.end_delete("acme", "main")

    def create() -> Any:
        return instances.create(make_instance(state=State.PENDING), {}, DEADLINE)

    race([delete, create])
    names = [pool.name for pool in pools.list_pools("acme")]
    assert instances.any_live("acme", "main") == ("main" in names)


def test_of_many_who_write_one_backend_on_the_same_read_one_is_stored():
    seen = backends.entry("acme", "mine")
    outcomes = race([lambda spare=(str(n),): backends.put(seen, None, spare) for n in range(THREADS)])
    (winner,) = winners(outcomes, LostRaceError)
    assert backends.entry("acme", "mine") == winner

"""Projects and pools: who may be made, which one is the default, and what a directory tells."""

import pytest

from chalicelib.domain.errors import AlreadyExistsError, ConflictError, NotFoundError
from chalicelib.store import pools
from tests.builders import NOW, make_offer, make_pool

pytestmark = pytest.mark.usefixtures("dynamodb")


def test_a_project_is_made_once():
    with pytest.raises(AlreadyExistsError):
        pools.create_project("acme", NOW)
    assert pools.project("acme") == {"name": "acme", "default_pool": "main", "created_at": NOW}
    assert pools.project("acm") is None


def test_the_first_pool_is_the_default_and_stays_it():
    second = pools.create(make_pool(name="second"))
    assert (pools.get("acme", "main").is_default, second.is_default) == (True, False)
    assert pools.default("acme") == "main"


def test_a_pool_is_made_once_and_only_in_a_project():
    with pytest.raises(AlreadyExistsError):
        pools.create(make_pool())
    with pytest.raises(NotFoundError):
        pools.create(make_pool(project="nobody"))
    assert pools.project("nobody") is None


def test_the_default_can_be_moved_to_an_open_pool_only():
    pools.create(make_pool(name="second"))
    assert pools.set_default("acme", "second").is_default
    assert not pools.get("acme", "main").is_default
    pools.begin_delete("acme", "main")
    for name in ("main", "nowhere"):
        with pytest.raises(NotFoundError):
            pools.set_default("acme", name)
    assert pools.default("acme") == "second"


def test_a_pool_is_removed_in_two_steps_and_can_be_kept_between_them():
    with pytest.raises(ConflictError):
        pools.end_delete("acme", "main")
    assert pools.begin_delete("acme", "main").deleting
    assert not pools.cancel_delete("acme", "main").deleting
    with pytest.raises(ConflictError):
        pools.end_delete("acme", "main")


def test_a_pool_that_is_closed_is_not_drained_for_that():
    closed = pools.begin_delete("acme", "main")
    assert (closed.deleting, closed.draining) == (True, False)


def test_a_pool_that_is_draining_stays_so_for_whoever_closes_or_opens_it():
    """One deletion is forced; another, without force, finds instances and takes its own mark back."""
    draining = pools.begin_delete("acme", "main", drain=True)
    assert (draining.deleting, draining.draining) == (True, True)
    assert pools.begin_delete("acme", "main") == draining
    assert pools.cancel_delete("acme", "main") == draining
    assert [(pool.deleting, pool.draining) for pool in pools.everywhere()] == [(True, True)]
    pools.end_delete("acme", "main")
    assert pools.list_pools("acme") == []


def test_a_pool_that_is_opened_again_can_be_drained_later():
    pools.begin_delete("acme", "main")
    opened = pools.cancel_delete("acme", "main")
    assert (opened.deleting, opened.draining) == (False, False)
    assert pools.cancel_delete("acme", "main") == opened
    assert pools.begin_delete("acme", "main", drain=True).draining


@pytest.mark.parametrize("key", ["#project", f"main#{make_offer().shape}", "main#", ""])
@pytest.mark.parametrize("verb", [pools.get, pools.set_default])
def test_the_key_of_another_row_is_no_pool(verb, key):
    pools.note_shape("acme", "main", make_offer())
    with pytest.raises(NotFoundError):
        verb("acme", key)
    assert pools.default("acme") == "main"


def test_a_removed_pool_takes_its_shapes_and_the_default_with_it():
    pools.create(make_pool(name="main-2"))
    pools.note_shape("acme", "main-2", make_offer())
    pools.note_shape("acme", "main", make_offer())
    pools.begin_delete("acme", "main")
    for _ in range(2):
        pools.end_delete("acme", "main")
    assert [pool.name for pool in pools.list_pools("acme")] == ["main-2"]
    assert pools.default("acme") is None
    pools.create(make_pool())
    assert pools.directory("acme", "main")[1] == []
    assert len(pools.directory("acme", "main-2")[1]) == 1
    assert pools.default("acme") == "main"


def test_removing_another_pool_leaves_the_default():
    pools.create(make_pool(name="second"))
    pools.begin_delete("acme", "second")
    pools.end_delete("acme", "second")
    assert pools.default("acme") == "main"


@pytest.mark.parametrize("stale", ["main", "second"])
def test_a_default_that_moves_while_a_pool_is_removed_is_what_it_moved_to(stale, monkeypatch):
    """The removal reads the default; the default moves; the removal writes: it must read again."""
    pools.create(make_pool(name="second"))
    pools.begin_delete("acme", "main")
    if stale == "main":
        pools.set_default("acme", "second")
    current, readings = pools.default, iter([stale])
    monkeypatch.setattr(pools, "default", lambda project: next(readings, None) or current(project))
    pools.end_delete("acme", "main")
    assert current("acme") == ("second" if stale == "main" else None)
    assert [pool.name for pool in pools.list_pools("acme")] == ["second"]


@pytest.mark.parametrize("verb", [pools.begin_delete, pools.cancel_delete, pools.get, pools.directory])
def test_an_unknown_pool_is_not_found_and_not_made(verb):
    with pytest.raises(NotFoundError):
        verb("acme", "nowhere")
    assert [pool.name for pool in pools.list_pools("acme")] == ["main"]


def test_a_directory_holds_the_shapes_of_one_pool_alone():
    """`main` is a prefix of the other names, and they sort around its shapes."""
    for name in ("main-2", "main0", "mai", "maina"):
        pools.create(make_pool(name=name))
        pools.note_shape("acme", name, make_offer(price=1))
    for price in (7, 8, 7):
        pools.note_shape("acme", "main", make_offer(price=price))
    pool, entries = pools.directory("acme", "main")
    assert pool.name == "main"
    assert sorted(entry.offer.price for entry in entries) == [7, 8]
    assert [(entry.total, entry.available) for entry in entries] == [(0, 0), (0, 0)]


def test_a_noted_shape_gives_back_the_whole_offer():
    pools.note_shape("acme", "main", make_offer(spot=True, zone="z"))
    assert pools.directory("acme", "main")[1][0].offer == make_offer(spot=True, zone="z")


def test_every_pool_of_every_project_is_found_for_maintenance():
    pools.create_project("other", NOW)
    pools.create(make_pool(project="other", name="side"))
    pools.note_shape("acme", "main", make_offer())
    assert sorted((pool.project, pool.name) for pool in pools.everywhere()) == [("acme", "main"), ("other", "side")]

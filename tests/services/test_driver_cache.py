"""Drivers are kept, because each has connections, a token and megabytes of clients; and only so many."""

from chalicelib.services import backends
from chalicelib.services.backends import KEPT_DRIVERS, DriverCache, Wanted

NAMES = [f"luna-{number}" for number in range(KEPT_DRIVERS + 1)]


def configured(world, names=NAMES):
    for name in names:
        backends.add(world.deps, "main", Wanted(name, "moon", {}, {"key": "a-good-key"}), actor="me")
    return DriverCache()


def test_a_driver_is_made_once_for_as_long_as_its_secret_is_the_same(world):
    kept = configured(world, ["luna"])
    first = kept.backend(world.deps, "main", "luna")
    assert kept.backend(world.deps, "main", "luna") is first
    changed = Wanted("luna", "moon", {}, {"key": "another-good-key"})
    backends.add(world.deps, "main", changed, replacing=True, actor="me")
    assert kept.backend(world.deps, "main", "luna") is not first


def test_the_driver_that_was_not_used_for_the_longest_goes_when_there_are_too_many(world):
    kept = configured(world)
    made = {name: kept.backend(world.deps, "main", name) for name in NAMES[:-1]}
    kept.backend(world.deps, "main", NAMES[0])
    kept.backend(world.deps, "main", NAMES[-1])
    assert kept.backend(world.deps, "main", NAMES[0]) is made[NAMES[0]]
    assert kept.backend(world.deps, "main", NAMES[1]) is not made[NAMES[1]]

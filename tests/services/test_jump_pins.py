"""A jump host is held to the one key that it showed a project."""

from base64 import b64encode

import pytest

from chalicelib.domain.host_records import Destination, HostRecord
from chalicelib.services import hosts, instances, pools
from tests.services.host_steps import add, record_of, spend, wanted
from tests.services.sim_hosts import private_key
from tests.services.steps import ready
from tests.services.world import World

DOOR = Destination("door", "u", 2200)


def line(word: str) -> str:
    return "ssh-ed25519 " + b64encode(b"\0\0\0\x0bssh-ed25519" + word.encode()).decode()


@pytest.fixture
def world(world: World) -> World:
    pools.create(world.deps, "main", "lab")
    for number in range(2):
        world.hosts.add(f"box-{number}", addresses=(f"10.0.0.{5 + number}/24",)).jump_key = line("door")
    return world


def behind(world: World, door: Destination, **asked) -> HostRecord:
    """A look at the second host through a jump host, as it is ordered."""
    return hosts.begin_check(world.deps, "main", wanted("box-1", jump=door, **asked), hosts.Key(private_key()))


def test_another_host_behind_it_finds_it_by_the_same_key_whoever_logs_in_there(world):
    first = add(world, "box-0", jump=DOOR)
    ready(world)
    known = record_of(world, first)
    assert known.jump_pinned == line("door")
    second = behind(world, Destination("DOOR", "somebody-else", 2200))
    assert (second.jump_pinned, second.jump_fingerprint) == (known.jump_pinned, known.jump_fingerprint)
    assert behind(world, Destination("door", "u", 22)).jump_pinned == ""


def test_it_is_known_after_the_host_behind_it_was_removed(world):
    first = add(world, "box-0", jump=DOOR)
    ready(world)
    instances.remove(world.deps, "main", first.name, pool=None, force=False, actor="user:me")
    spend(world, 5)
    again = add(world, "box-0", jump=DOOR)
    assert record_of(world, again).jump_pinned == line("door")


def test_a_jump_host_that_is_an_instance_is_held_to_the_key_of_that(world):
    world.hosts.add("door")
    door = add(world, "door")
    ready(world)
    pinned = record_of(world, door).pinned
    assert pinned
    assert behind(world, Destination("door", "u", 22)).jump_pinned == pinned


def test_who_says_which_key_it_has_is_believed(world):
    add(world, "box-0", jump=DOOR)
    ready(world)
    assert behind(world, DOOR, host_key=f"[door]:2200 {line('new')}").jump_pinned == ""

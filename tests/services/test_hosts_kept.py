"""What is kept of hosts, for how long, and what it is compared with: checks, keys, owed cleanups, names."""

from dataclasses import replace

import pytest

from chalicelib.domain.errors import ConflictError, InvalidInputError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Instance
from chalicelib.services import hosts, instances, pools, reconcile
from chalicelib.store import calls, projection
from chalicelib.store import hosts as host_store
from chalicelib.store import instances as instance_store
from chalicelib.store import pools as pool_store
from chalicelib.store.models import HostRow, InstanceRow, NameRow
from tests.services.host_steps import add, codes, record_of, spend, wanted
from tests.services.sim_hosts import SimHost, private_key
from tests.services.steps import ready, state_of
from tests.services.world import World

ONE, TWO = "SHA256:" + 43 * "k", "SHA256:" + 43 * "z"


@pytest.fixture
def world(world: World) -> World:
    pools.create(world.deps, "main", "lab")
    return world


def check(world: World, host: str = "box-1", **asked):
    """A look at a host, when it is over."""
    record = hosts.begin_check(world.deps, "main", wanted(host, **asked), hosts.Key(private_key()))
    world.run_workflows()
    return hosts.get_check(world.deps, "main", record.key)


def told(record, what: str) -> tuple[str, str]:
    (found,) = [each for each in record.checks if each["check"] == what]
    return found["status"], found["code"]


def remove(world: World, row: Instance) -> None:
    instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    spend(world, 5)


def owed(world: World, host: SimHost) -> Instance:
    """An instance that ended while its host was away."""
    row = add(world, host.name)
    ready(world)
    host.cut = True
    remove(world, row)
    assert record_of(world, row).owed_since is not None
    return row


def expire(world: World) -> None:
    """What DynamoDB does with rows after their time to live."""
    now = world.clock.timestamp()
    for model in (HostRow, InstanceRow, NameRow):
        for each in list(model.scan()):
            if each.ttl is not None and int(each.ttl) < now:
                each.delete()


def test_a_check_is_kept_for_an_hour_and_no_longer(world):
    world.hosts.add()
    record = check(world)
    world.pass_time(50 * 60)
    expire(world)
    assert hosts.get_check(world.deps, "main", record.key).is_over
    world.pass_time(20 * 60)
    expire(world)
    assert host_store.list_checks("main") == []


def lost(world: World):
    """A check whose workflow is gone before it did anything."""
    record = hosts.begin_check(world.deps, "main", wanted(), hosts.Key(private_key()))
    for execution in world.workflows.executions.values():
        execution.over = True
    return record


def test_a_check_whose_workflow_is_gone_ends(world):
    record = lost(world)
    world.pass_time(40 * 60)
    reconcile.compare(world.deps)
    assert world.secrets.kept == {}
    found = hosts.get_check(world.deps, "main", record.key)
    assert (found.is_over, found.failure) == (True, "it took longer than it may")


def test_a_key_does_not_outlive_its_check_when_reconcile_was_away_for_a_while(world):
    lost(world)
    world.pass_time(2 * 24 * 3600)
    expire(world)
    reconcile.compare(world.deps)
    assert world.secrets.kept == {}


def test_a_key_that_cannot_be_deleted_keeps_no_other_from_being_deleted(world, monkeypatch):
    first, second = lost(world), lost(world)
    world.pass_time(40 * 60)
    delete = world.secrets.delete
    monkeypatch.setattr(world.secrets, "delete", lambda name: 1 / 0 if name == first.secret else delete(name))
    reconcile.compare(world.deps)
    assert list(world.secrets.kept) == [first.secret]
    assert second.secret != first.secret


def test_a_host_that_is_owed_is_listed_for_as_long_as_it_is_owed(world):
    row = owed(world, world.hosts.add())
    world.pass_time(80 * 24 * 3600)
    expire(world)
    assert [each.instance.instance_id for each in hosts.listed(world.deps, "main")] == [row.instance_id]
    world.pass_time(11 * 24 * 3600)
    expire(world)
    assert hosts.listed(world.deps, "main") == []


def test_a_host_that_another_control_plane_has_by_now_is_forgotten_on_demand(world):
    """Its agent of ours is gone, so nobody will ever confirm."""
    host = world.hosts.add()
    row = owed(world, host)
    live = add(world, world.hosts.add("box-2").name)
    with pytest.raises(ConflictError, match="remove it first"):
        hosts.forget(world.deps, "main", live.name)
    for _ in range(2):
        hosts.forget(world.deps, "main", row.name)
    ready(world)
    assert [each.instance.name for each in hosts.listed(world.deps, "main")] == [live.name]
    host.cut = False
    world.hosts.sync(host)
    assert not host.agent  # it was told that it is not wanted


def test_an_installation_that_never_claimed_its_host_owes_nothing_there(world):
    """What is there is still the former instance's: its own cleanup is pending, and there is nothing of the new one."""
    host = world.hosts.add()
    former = owed(world, host)
    host.install_faults = ["failed"] * 3
    row = add(world, host.name)
    spend(world, 10)
    assert host.ran[-1] == "uninstall"
    assert state_of(world, row).state is State.TERMINATED
    assert [each.instance.instance_id for each in hosts.listed(world.deps, "main")] == [former.instance_id]


def test_a_host_cannot_clear_what_another_host_owes(world):
    owing, liar = world.hosts.add("owing"), world.hosts.add("liar")
    row = owed(world, owing)
    liar.owner = dict(owing.owner)  # anybody may read that file, and a host may print what it likes
    add(world, "liar")
    spend(world, 1)
    assert record_of(world, row).owed_since is not None


def test_a_host_that_is_owed_and_added_to_another_project_owes_nothing(world):
    pools.create_project(world.deps, "other")
    pools.create(world.deps, "other", "lab")
    host = world.hosts.add()
    owed(world, host)
    host.cut, host.agent = False, ""
    again = hosts.add(world.deps, "other", "lab", wanted(), hosts.Key(private_key())).instance
    spend(world, 1)
    assert instance_store.find("other", again.instance_id).state is State.IDLE
    assert hosts.listed(world.deps, "main") == []


def test_a_host_key_that_is_the_pinned_one_contradicts_nothing(world):
    """Added on first use; then its owner has connected by ssh, and the command line sends what known_hosts has."""
    world.hosts.add(fingerprint=ONE)
    row = add(world)
    ready(world)
    assert add(world, host_key=ONE).instance_id == row.instance_id
    with pytest.raises(ConflictError) as caught:
        add(world, host_key=TWO)
    assert caught.value.context["differences"] == {"host_key": {"is": ONE, "asked": TWO}}
    assert f"Its host key is {ONE}, and not among those that are given now: compare it" in str(caught.value)
    assert "Remove it" not in str(caught.value)


def test_a_check_holds_a_host_to_the_key_of_the_instance_that_it_is(world):
    host = world.hosts.add(fingerprint=ONE)
    add(world)
    ready(world)
    host.fingerprint = TWO
    assert told(check(world), "host-key") == ("fail", "host-key-changed")


def test_a_new_key_where_an_instance_had_another_one_is_a_warning(world):
    host = world.hosts.add(fingerprint=ONE)
    row = add(world)
    ready(world)
    remove(world, row)
    host.fingerprint = TWO
    assert told(check(world), "host-key") == ("warn", "host-key-new")
    again = add(world)
    ready(world)
    assert told(record_of(world, again), "host-key") == ("warn", "host-key-new")
    assert state_of(world, again).state is State.IDLE
    remove(world, again)
    add(world)
    world.run_workflows()
    assert told(check(world), "host-key") == ("pass", "ok")


def test_a_check_of_an_instance_of_ours_names_it_and_passes(world):
    world.hosts.add()
    add(world, name="gpu-node-1")
    ready(world)
    found = check(world)
    assert told(found, "owner") == ("warn", "adopted-here")
    assert "gpu-node-1" in found.checks[-1]["found"]
    assert next(each for each in found.checks if each["check"] == "host-key")["found"].endswith(" (seen before)")
    assert (found.step.value, found.failure) == ("done", "")


def test_a_machine_under_another_address_is_told_what_to_remove_and_that_works(world):
    world.hosts.known["box-1-again"] = world.hosts.add("box-1", machine_id="a" * 32)
    first = add(world, name="mine")
    ready(world)
    second = add(world, "box-1-again", take_over=True)
    ready(world)
    assert codes(world, second) == ["already-adopted"]
    assert record_of(world, second).checks[-1]["fix"].startswith("tidepool pool rm mine")
    remove(world, first)
    third = add(world, "box-1-again")
    spend(world, 1)
    assert state_of(world, third).state is State.IDLE


def test_a_clone_with_the_owner_file_of_an_instance_may_be_taken_over(world):
    first = world.hosts.add("box-1")
    add(world)
    ready(world)
    world.hosts.add("clone").owner = dict(first.owner)
    refused = add(world, "clone")
    spend(world, 1)
    assert codes(world, refused) == ["owner-other-instance"]
    taken = add(world, "clone", take_over=True)
    spend(world, 1)
    assert state_of(world, taken).state is State.IDLE


def test_an_instance_is_not_named_like_the_id_of_another(world):
    world.hosts.add("box-1")
    first = add(world, "box-1")
    with pytest.raises(InvalidInputError) as caught:
        add(world, "box-2", name=first.instance_id)
    assert caught.value.field == "name"


def test_a_host_that_tells_ever_new_facts_leaves_one_shape_in_its_pool(world):
    """Each change is projected, and a shape that no instance has goes with it."""
    world.hosts.add()
    row = state_of(world, add(world))
    ready(world)
    row = state_of(world, row)
    key = {"part": {"S": "main/lab"}, "instance_id": {"S": row.instance_id}}
    projection.apply(None, item(key))
    for cpus in range(9, 19):
        before = item(key)
        offer = replace(row.offer, resources=replace(row.offer.resources, cpus=cpus))
        pool_store.note_shape("main", "lab", offer)
        row = instance_store.renew(row, offer)
        projection.apply(before, item(key))
    _, shapes = pool_store.directory("main", "lab")
    assert [(each.offer.resources.cpus, each.total) for each in shapes] == [(18, 1)]


def item(key):
    (found,) = calls.get_many(InstanceRow, [key], consistent=True)
    return found

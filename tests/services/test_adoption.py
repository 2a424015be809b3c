"""Servers that somebody owns become instances, and everything that can stand in the way."""

import re
from base64 import b64encode
from functools import partial

import pytest

from chalicelib.domain.errors import ConflictError, InvalidInputError, LostRaceError, NoMatchError
from chalicelib.domain.host_records import Destination, Step
from chalicelib.domain.lifecycle import Reason, State
from chalicelib.domain.model import RunState
from chalicelib.services import hosts, instances, pools, reconcile
from chalicelib.ssh.errors import (
    AuthFailedError,
    HostKeyChangedError,
    HostKeyMismatchError,
    NotSshError,
    TargetRefusedError,
    UnreachableError,
)
from chalicelib.store import hosts as host_store
from tests.services.host_steps import add, codes, record_of, spend, wanted
from tests.services.sim_hosts import FAULTS, private_key
from tests.services.steps import ready, state_of, submit
from tests.services.world import World


@pytest.fixture
def world(world: World) -> World:
    pools.create(world.deps, "main", "lab")
    return world


def test_a_host_becomes_an_idle_instance_with_what_it_has(world):
    world.hosts.add("box-1", cpus=16, gpus=8)
    row = add(world)
    assert (row.state, row.reason, row.detail) == (State.PENDING, Reason.ADD_SSH, "preflight")
    ready(world)
    row = state_of(world, row)
    assert row.state is State.IDLE
    assert (row.offer.backend, row.offer.region, row.offer.zone, row.offer.price) == ("ssh", "remote", "10.0.0.0/24", 0)
    assert row.offer.resources.cpus == 16
    assert [(gpu.name, gpu.count, gpu.memory_mib) for gpu in row.offer.resources.gpus] == [("A100", 8, 40960)]
    record = record_of(world, row)
    assert (record.step, record.address, record.fingerprint) == (
        Step.DONE,
        "10.0.0.5",
        world.hosts.known["box-1"].fingerprint,
    )


def test_the_key_is_gone_as_soon_as_the_adoption_is_over(world):
    world.hosts.add()
    add(world)
    assert len(world.secrets.kept) == 1
    ready(world)
    assert world.secrets.kept == {}


def test_one_connection_and_two_scripts_are_all_that_an_adoption_takes(world):
    host = world.hosts.add()
    add(world)
    ready(world)
    assert (host.connections, host.ran) == (1, ["probe", "install"])


def test_a_check_that_fails_ends_the_adoption_at_once_and_leaves_nothing(world):
    host = world.hosts.add("box-1", sudo="no", cpus=4)
    row = add(world, gpu="A100:8")
    ready(world)
    row = state_of(world, row)
    assert row.state is State.TERMINATED
    assert set(codes(world, row)) == {"sudo-needs-password", "gpus-missing"}
    assert all(check["fix"] for check in record_of(world, row).checks if check["status"] == "fail")
    assert "sudo-needs-password" in row.detail
    assert host.is_clean
    assert world.secrets.kept == {}


def test_a_refused_key_is_not_tried_again(world):
    host = world.hosts.add()
    host.refuses_key = True
    row = add(world)
    ready(world)
    assert state_of(world, row).state is State.TERMINATED
    assert (host.connections, codes(world, row)) == (1, ["auth-failed"])
    (key,) = [check for check in record_of(world, row).checks if check["check"] == "host-key"]
    assert (key["status"], key["found"]) == ("pass", f"{host.fingerprint} (first-use)")
    assert record_of(world, row).fingerprint == host.fingerprint
    assert world.secrets.kept == {}


def test_a_host_that_does_not_answer_is_tried_for_five_minutes(world):
    host = world.hosts.add()
    host.down = True
    row = add(world)
    spend(world, 4)
    assert state_of(world, row).state is State.PENDING
    assert re.fullmatch(r"preflight, try \d+: no answer", state_of(world, row).detail)
    spend(world, 3)
    assert state_of(world, row).state is State.TERMINATED
    assert codes(world, row) == ["unreachable"]
    assert 4 <= host.connections <= 20


@pytest.mark.parametrize(("fault", "tries", "minutes"), [("refused", 20, 3), ("dns", 3, 2)])
def test_what_waiting_does_not_cure_ends_soon(world, fault, tries, minutes):
    host = world.hosts.add()
    host.faults = [fault] * 100
    row = add(world)
    spend(world, minutes)
    assert state_of(world, row).state is State.TERMINATED
    assert host.connections <= tries


def test_a_host_that_has_answered_before_is_tried_for_ten_minutes(world):
    host = world.hosts.add()
    host.install_faults = ["lost-answer"]
    row = add(world)
    world.run_workflows()
    host.faults = ["refused"] * 100
    spend(world, 8)
    assert state_of(world, row).state is State.PENDING
    host.faults = []
    spend(world, 2)
    assert state_of(world, row).state is State.IDLE


def test_a_check_of_a_host_that_does_not_answer_is_over_after_two_tries(world):
    host = world.hosts.add()
    host.down = True
    record = hosts.begin_check(world.deps, "main", wanted(), hosts.Key(private_key()))
    spend(world, 0.5, every_s=10)
    assert hosts.get_check(world.deps, "main", record.key).is_over
    assert host.connections == 2


def test_a_host_that_answers_in_time_is_adopted_after_all(world):
    host = world.hosts.add()
    host.faults = ["timeout"] * 4
    row = add(world)
    spend(world, 3)
    assert state_of(world, row).state is State.IDLE


def test_a_name_that_does_not_resolve_is_given_up_soon(world):
    row = add(world, "no-such-box")
    spend(world, 2)
    assert state_of(world, row).state is State.TERMINATED
    assert codes(world, row) == ["unreachable"]


def test_an_installation_that_fails_is_repeated_and_then_undone(world):
    host = world.hosts.add()
    host.install_faults = ["failed"]
    row = add(world)
    spend(world, 1)
    assert state_of(world, row).state is State.IDLE
    other = world.hosts.add("box-2")
    other.install_faults = ["failed"] * 3
    row = add(world, "box-2")
    spend(world, 2)
    assert state_of(world, row).state is State.TERMINATED
    assert other.ran[-1] == "uninstall"
    assert "No space left" in state_of(world, row).detail


def test_an_installation_whose_answer_was_lost_is_done_again(world):
    host = world.hosts.add()
    host.install_faults = ["lost-answer"]
    row = add(world)
    spend(world, 1)
    assert state_of(world, row).state is State.IDLE
    assert host.ran.count("install") == 2


def test_an_agent_that_never_reports_is_uninstalled_and_the_reason_said(world):
    host = world.hosts.add()
    host.cut = True
    row = add(world)
    spend(world, 8)
    row = state_of(world, row)
    assert row.state is State.TERMINATED
    assert "journalctl" in row.detail
    assert host.is_clean
    assert world.secrets.kept == {}
    assert record_of(world, row).owed_since is None


def test_a_changed_host_key_refuses_everything(world):
    host = world.hosts.add()
    host.install_faults = ["lost-answer"]
    row = add(world)
    world.run_workflows()
    host.fingerprint = "SHA256:" + 43 * "x"
    spend(world, 1)
    assert state_of(world, row).state is not State.IDLE
    assert "host-key-changed" in record_of(world, row).failure


@pytest.mark.parametrize(
    ("error", "code", "fix"),
    [
        (UnreachableError("jump host door is unknown", cause="dns", hop="door"), "jump-unreachable", "--from-here"),
        (NotSshError("jump host door: banner", hop="door"), "jump-unreachable", "--from-here"),
        (TargetRefusedError("jump host door is 10.0.0.1", hop="door"), "jump-refused", "TIDEPOOL_HOST_NETWORKS"),
        (AuthFailedError("jump host door refuses", hop="door"), "jump-auth-failed", "ssh-copy-id -i KEY.pub u@door"),
        (HostKeyMismatchError("jump host door shows", hop="door"), "jump-host-key", "on the jump host"),
        (HostKeyChangedError("jump host door shows", hop="door"), "jump-host-key", "on the jump host"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_jump_host_is_told_as_that(world, monkeypatch, error, code, fix):
    world.hosts.add().faults = [code] * 9
    monkeypatch.setitem(FAULTS, code, error)
    row = add(world, jump=Destination("door", "u"))
    spend(world, 2)
    (told,) = record_of(world, row).checks
    assert (told["check"], told["code"]) == ("reachability", code)
    assert fix in told["fix"]
    assert "jump host door" in record_of(world, row).failure


def test_the_key_of_a_jump_host_is_pinned_as_soon_as_it_was_seen(world, monkeypatch):
    host = world.hosts.add()
    host.jump_key = "ssh-ed25519 " + b64encode(b"\0\0\0\x0bssh-ed25519door").decode()
    late = UnreachableError("box-1 cannot be reached through door", cause="jump", jump_key=host.jump_key)
    host.faults = ["late"]
    monkeypatch.setitem(FAULTS, "late", late)
    row = add(world, jump=Destination("door", "u"))
    world.run_workflows()
    assert record_of(world, row).jump_pinned == host.jump_key
    ready(world)
    assert record_of(world, row).jump_fingerprint.startswith("SHA256:")


def test_the_same_host_again_is_the_same_instance(world):
    world.hosts.add()
    first = add(world)
    assert add(world).instance_id == first.instance_id
    ready(world)
    assert add(world).instance_id == first.instance_id
    assert world.secrets.kept == {}


def test_the_same_host_with_other_wishes_is_a_conflict_that_names_them(world):
    world.hosts.add()
    row = add(world)
    with pytest.raises(ConflictError) as caught:
        add(world, region="rack-1", name="other")
    assert caught.value.context["instance"] == row.name
    assert caught.value.context["differences"].keys() == {"region", "name"}
    assert str(caught.value) == (
        f"{record_of(world, row).destination} is instance {row.name} already. "
        f"Its region was remote when it was added, and is rack-1 now. "
        f"Its name was {row.name} when it was added, and is other now. "
        f"Remove it first (tidepool pool rm {row.name}), or leave out: region, name."
    )


@pytest.mark.parametrize("from_here", [False, True])
def test_the_same_host_by_another_way_in_is_the_same_instance(world, from_here):
    world.hosts.add()
    row = add(world)
    ready(world)
    host_store.change(record_of(world, row), from_here=not from_here)
    assert add(world, from_here=from_here).instance_id == row.instance_id


def test_one_machine_under_two_addresses_is_one_instance(world):
    world.hosts.add("box-1", machine_id="a" * 32)
    again = world.hosts.add("box-1-again", machine_id="a" * 32)
    row = add(world)
    ready(world)
    second = add(world, "box-1-again")
    spend(world, 1)
    assert state_of(world, second).state is State.TERMINATED
    assert codes(world, second) == ["already-adopted"]
    assert row.name in record_of(world, second).failure
    assert again.is_clean
    assert state_of(world, row).state is State.IDLE


def test_a_host_of_another_control_plane_is_refused_unless_it_is_to_be_taken_over(world):
    host = world.hosts.add()
    names = ("control_plane", "control_plane_url", "project", "instance_id", "since")
    host.owner = dict(zip(names, ("another", "http://b", "x", "i-x", "2024"), strict=True))
    row = add(world)
    ready(world)
    assert codes(world, row) == ["owner-foreign"]
    spend(world, 1)
    taken = add(world, take_over=True)
    spend(world, 1)
    assert state_of(world, taken).state is State.IDLE
    assert host.owner["instance_id"] == taken.instance_id


def test_a_host_without_docker_gets_no_work_in_an_image_until_its_agent_finds_one(world):
    host = world.hosts.add(docker=False)
    add(world)
    ready(world)
    with pytest.raises(NoMatchError) as refused:
        submit(world, pool="lab", reuse=True, image="python:3.13")
    (reason,) = refused.value.context["reasons"].values()
    assert reason == "has no Docker, and an image was asked for"
    host.docker = True
    host.facts_told = False
    world.hosts.sync(host)
    assert submit(world, pool="lab", reuse=True, image="python:3.13").state is RunState.STARTING


def test_a_removed_host_is_clean_and_can_be_added_again(world):
    host = world.hosts.add()
    row = add(world)
    ready(world)
    instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    spend(world, 1)
    assert state_of(world, row).state is State.TERMINATED
    assert host.is_clean
    again = add(world)
    assert again.instance_id != row.instance_id
    spend(world, 1)
    assert state_of(world, again).state is State.IDLE


def test_a_host_that_is_away_when_it_is_removed_is_cleaned_when_it_returns(world):
    host = world.hosts.add()
    row = add(world)
    ready(world)
    host.cut = True
    instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    spend(world, 5)
    assert state_of(world, row).state is State.TERMINATED
    (owed,) = hosts.listed(world.deps, "main")
    assert owed.record.owed_since is not None
    assert not host.is_clean
    spend(world, 60, every_s=600)
    host.cut = False
    spend(world, 1)
    assert host.is_clean
    assert hosts.listed(world.deps, "main") == []


def test_a_host_that_is_owed_may_be_added_again_and_owes_nothing_then(world):
    host = world.hosts.add()
    row = add(world)
    ready(world)
    host.cut = True
    instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    spend(world, 5)
    host.cut = False
    host.agent = ""
    again = add(world)
    spend(world, 1)
    assert state_of(world, again).state is State.IDLE
    assert [each.instance.instance_id for each in hosts.listed(world.deps, "main")] == [again.instance_id]


def test_a_host_that_is_removed_while_it_is_adopted_is_left_clean(world):
    host = world.hosts.add()
    host.faults = ["timeout"]
    row = add(world)
    world.run_workflows()
    instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    spend(world, 5)
    assert state_of(world, row).state is State.TERMINATED
    assert host.is_clean
    assert world.secrets.kept == {}


def test_an_adoption_whose_workflow_is_gone_is_driven_on_by_its_timer(world):
    world.hosts.add()
    row = add(world)
    for execution in world.workflows.executions.values():
        execution.over = True
    spend(world, 6)
    assert state_of(world, row).state is State.IDLE


def test_a_check_looks_and_changes_nothing(world):
    host = world.hosts.add("box-1", sudo="no")
    record = hosts.begin_check(world.deps, "main", wanted(), hosts.Key(private_key()))
    world.run_workflows()
    found = hosts.get_check(world.deps, "main", record.key)
    assert found.is_over
    assert [check["code"] for check in found.checks if check["status"] == "fail"] == ["sudo-needs-password"]
    assert host.ran == ["probe"]
    assert world.secrets.kept == {}
    assert hosts.listed(world.deps, "main") == []


def test_a_key_that_is_none_is_refused_before_anything_is_stored(world):
    with pytest.raises(InvalidInputError) as caught:
        hosts.add(world.deps, "main", "lab", wanted(), hosts.Key("ssh-ed25519 AAAA"))
    assert caught.value.context["field"] == "private_key"
    assert world.secrets.kept == {}
    assert host_store.list_hosts("main") == []


def test_a_name_that_is_taken_leaves_no_key_behind(world):
    world.hosts.add()
    add(world, name="mine")
    with pytest.raises(Exception, match="mine"):
        add(world, "box-2", name="mine")
    assert len(world.secrets.kept) == 1


def test_what_a_crash_left_of_a_request_is_cleared_away(world, monkeypatch):
    world.hosts.add()
    monkeypatch.setattr(hosts, "_created", partial(_dies))
    with pytest.raises(KeyboardInterrupt):
        add(world)
    assert len(world.secrets.kept) == 1
    with pytest.raises(LostRaceError):
        add(world)
    world.pass_time(600)
    reconcile.compare(world.deps)
    assert world.secrets.kept == {}
    assert host_store.list_hosts("main") == []
    monkeypatch.undo()
    row = add(world)
    spend(world, 1)
    assert state_of(world, row).state is State.IDLE


def _dies(*_):
    raise KeyboardInterrupt

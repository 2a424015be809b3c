"""The course of an adoption where two come at once, something comes late, or somebody leaves in the middle."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from chalicelib.domain.errors import AlreadyExistsError
from chalicelib.domain.host_records import Step
from chalicelib.domain.lifecycle import State
from chalicelib.services import adoption, hosts, instances, pools
from chalicelib.services.adoption_steps import LIMITS, Done
from chalicelib.ssh.errors import CommandTimeoutError
from chalicelib.ssh.login import USUAL
from chalicelib.store import hosts as host_store
from chalicelib.store import instances as instance_store
from chalicelib.store.models import InstanceRow
from tests.services.host_steps import add, codes, record_of, spend, wanted
from tests.services.sim_hosts import SimHost, SimShell
from tests.services.steps import ready, state_of
from tests.services.world import World


@pytest.fixture
def world(world: World) -> World:
    pools.create(world.deps, "main", "lab")
    return world


def carry(world, record, host):
    """Do with a host what its client is told, once; return what comes next."""
    step = adoption.next_step(world.deps, host_store.get(record.project, record.key)).script
    printed = host.execute(step.text, world.clock)
    done = Done(printed.stdout, printed.stderr, printed.exit_code)
    return adoption.answered(world.deps, host_store.get(record.project, record.key), step.step, done)


def carry_all(world, row, host):
    """Do everything that a client is told, and say which steps that were."""
    ran, following = [], adoption.next_step(world.deps, record_of(world, row))
    while not following.is_over:
        if following.script is None:
            world.pass_time(30)
            following = adoption.next_step(world.deps, record_of(world, row))
        else:
            ran.append(following.script.step.value)
            following = carry(world, record_of(world, row), host)
    return ran


def owned_by_an_ended_instance(world):
    host = world.hosts.add()
    names = ("control_plane", "control_plane_url", "project", "instance_id", "since")
    host.owner = dict(zip(names, (world.deps.settings.owner, "http://a", "main", "i-gone", "2024"), strict=True))
    return host


def test_what_an_ended_instance_left_is_replaced_without_asking(world):
    host = owned_by_an_ended_instance(world)
    row = add(world)
    ready(world)
    assert state_of(world, row).state is State.IDLE
    assert host.owner["instance_id"] == row.instance_id


def test_of_two_projects_that_replace_one_ended_instance_the_second_does_not_take_the_host_from_the_first(world):
    pools.create_project(world.deps, "other")
    pools.create(world.deps, "other", "lab")
    host = owned_by_an_ended_instance(world)
    one = hosts.add(world.deps, "main", "lab", wanted(from_here=True), None)
    two = hosts.add(world.deps, "other", "lab", wanted(from_here=True), None)
    for each in (one, two):
        carry(world, each.record, host)
    late = adoption.next_step(world.deps, host_store.get("other", two.record.key)).script
    carry(world, one.record, host)
    ready(world)
    assert instance_store.find("main", one.instance.instance_id).state is State.IDLE
    printed = host.execute(late.text, world.clock)
    said = adoption.answered(
        world.deps, host_store.get("other", two.record.key), Step.INSTALL, Done(printed.stdout, "", 3)
    )
    assert said.is_over
    assert "owner-other-instance" in said.record.failure
    assert host.owner["instance_id"] == one.instance.instance_id


def test_a_host_clears_nothing_that_another_machine_owes(world):
    owing, liar = world.hosts.add("owing"), world.hosts.add("liar")
    row = add(world, "owing")
    ready(world)
    owing.cut = True
    instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    spend(world, 5)
    liar.owner = dict(owing.owner)  # anybody may read that file, and a host may print what it likes
    add(world, "liar")
    spend(world, 1)
    assert record_of(world, row).owed_since is not None


def test_an_agent_that_comes_while_it_is_uninstalled_comes_too_late(world, monkeypatch):
    host = world.hosts.add()
    host.cut = True
    row = add(world)
    spend(world, 2)
    host.cut = False
    real, answers = SimHost._uninstall, []

    def uninstall(self, script):
        if not answers:
            world.hosts.boot()
            answers.append(world.hosts.sync(host))  # its first sync, while the script waits for the lock
        return real(self, script)

    monkeypatch.setattr(SimHost, "_uninstall", uninstall)
    for _ in range(20):
        world.pass_time(5)
        world.run_workflows()
    spend(world, 1)
    assert answers[0].job is None
    assert state_of(world, row).state is State.TERMINATED
    assert host.is_clean


def test_an_adoption_that_died_between_row_and_record_waits_three_minutes_for_its_agent(world, monkeypatch):
    host = world.hosts.add()
    host.cut = True
    row = add(world)
    real = host_store.change

    def dies(seen, **changes):
        if changes.get("step") is Step.AGENT:
            raise KeyboardInterrupt
        return real(seen, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(host_store, "change", dies)
        with pytest.raises(KeyboardInterrupt):
            world.run_workflows()
    assert (state_of(world, row).state, record_of(world, row).step) == (State.PROVISIONING, Step.INSTALL)
    spend(world, 5)
    assert state_of(world, row).state is State.TERMINATED
    assert host.ran == ["probe", "install", "uninstall"]
    assert host.is_clean


def test_a_client_whose_agent_never_comes_is_given_the_uninstallation(world):
    host = world.hosts.add()
    host.cut = True
    row = add(world, from_here=True)
    assert carry_all(world, row, host) == ["preflight", "install", "uninstall"]
    assert host.is_clean
    assert record_of(world, row).failure == adoption.NO_AGENT
    spend(world, 1)
    assert state_of(world, row).state is State.TERMINATED
    assert record_of(world, row).owed_since is None


def test_an_adoption_from_here_without_client_and_agent_is_ended_by_its_timer(world):
    host = world.hosts.add()
    host.cut = True
    row = add(world, from_here=True)
    carry(world, record_of(world, row), host)
    carry(world, record_of(world, row), host)
    spend(world, 10)
    assert state_of(world, row).state is State.TERMINATED
    assert record_of(world, row).owed_since is not None
    host.cut = False
    host.agent = "unregistered"
    assert record_of(world, row).failure == adoption.NO_AGENT


def test_an_adoption_from_here_whose_client_left_before_the_agent_came_is_done(world):
    host = world.hosts.add()
    row = add(world, from_here=True)
    carry(world, record_of(world, row), host)
    carry(world, record_of(world, row), host)
    ready(world)
    assert state_of(world, row).state is State.IDLE
    assert record_of(world, row).step is Step.DONE


def test_an_installation_that_hangs_is_tried_three_times(world, monkeypatch):
    host = world.hosts.add()
    real = SimShell.run

    def run(self, script, *, sudo=False, limit_s):
        if "name=tidepool-install" in script:
            host.ran.append("hangs")
            world.pass_time(limit_s)
            raise CommandTimeoutError("it took too long", host="box-1", limit_s=limit_s)
        return real(self, script, sudo=sudo, limit_s=limit_s)

    monkeypatch.setattr(SimShell, "run", run)
    row = add(world)
    spend(world, 10)
    assert host.ran == ["probe", "hangs", "hangs", "hangs", "uninstall"]
    assert state_of(world, row).state is State.TERMINATED
    assert codes(world, row) == ["command-timeout"]


def test_one_run_of_a_slow_host_through_a_jump_host_fits_its_function(world, monkeypatch):
    host = world.hosts.add()
    host.install_faults = ["failed"] * 3
    connecting_s = 2 * (USUAL.dial_s + USUAL.handshake_s + USUAL.auth_s)
    limit_s = json.loads(Path(".chalice/config.json").read_text())["lambda_functions"]["adopt"]["lambda_timeout"]
    real_call, real_run, took = type(world.hosts).__call__, SimShell.run, []

    @contextmanager
    def slowly(self, record, key):
        began = world.clock
        world.pass_time(connecting_s)
        with real_call(self, record, key) as shell:
            yield shell
        took.append((world.clock - began).total_seconds())

    def run(self, script, *, sudo=False, limit_s):
        world.pass_time(limit_s + USUAL.channel_s)
        return real_run(self, script, sudo=sudo, limit_s=limit_s)

    monkeypatch.setattr(type(world.hosts), "__call__", slowly)
    monkeypatch.setattr(SimShell, "run", run)
    add(world)
    spend(world, 10)
    assert len(took) >= 3
    assert max(took) < limit_s
    assert sum(each.total_seconds() for each in LIMITS.values()) + connecting_s > limit_s  # or nothing is proven


@pytest.mark.parametrize("step", [Step.PREFLIGHT, Step.INSTALL])
def test_what_sudo_or_the_shell_says_when_it_refuses_is_told(world, step):
    host = world.hosts.add()
    row = add(world, from_here=True)
    if step is Step.INSTALL:
        carry(world, record_of(world, row), host)
    denied = Done("", "sudo: sorry, you are not allowed to execute sh", 1)
    adoption.answered(world.deps, record_of(world, row), step, denied)
    assert "sorry, you are not allowed" in record_of(world, row).failure


def test_a_host_that_was_never_touched_owes_nothing_and_may_be_added_again_at_once(world):
    host = world.hosts.add("box-1", sudo="no")
    row = add(world, from_here=True)
    carry(world, record_of(world, row), host)
    assert state_of(world, row).state is State.TERMINATING
    host.sudo = "yes"
    with pytest.raises(AlreadyExistsError) as caught:  # its name is free when its row is gone
        add(world, from_here=True, name=row.name)
    assert caught.value.context["state"] == "terminating"
    again = add(world, from_here=True)  # before any teardown ran
    assert again.instance_id != row.instance_id
    world.run_workflows()
    assert state_of(world, row).state is State.TERMINATED
    assert record_of(world, row).owed_since is None
    assert add(world, from_here=True).instance_id == again.instance_id


def test_an_installation_that_was_never_handed_out_is_not_waited_for(world):
    host = world.hosts.add()
    row = add(world, from_here=True)
    step = adoption.next_step(world.deps, record_of(world, row)).script
    instances.remove(world.deps, "main", row.name, pool=None, force=True, actor="user:me")
    printed = host.execute(step.text, world.clock)
    adoption.answered(world.deps, record_of(world, row), step.step, Done(printed.stdout, "", 0))
    world.run_workflows()
    assert state_of(world, row).state is State.TERMINATED
    assert record_of(world, row).owed_since is None
    assert host.is_clean


def test_the_history_of_a_host_says_how_it_ended(world):
    untouched, left, owing = (world.hosts.add(name) for name in ("untouched", "left", "owing"))
    untouched.sudo = "no"
    rows = [add(world, each.name) for each in (untouched, left, owing)]
    ready(world)
    owing.cut = True
    for row in rows[1:]:
        instances.remove(world.deps, "main", row.name, pool=None, force=False, actor="user:me")
    spend(world, 5)
    how = {each.name: each.ended_how for each in InstanceRow.scan()}
    assert [how[row.name] for row in rows] == ["nothing-installed", "uninstalled", "cleanup-pending"]

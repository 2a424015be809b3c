"""A client carries the scripts of an adoption through an ssh of its own, and hands in what they print."""

import pytest

from chalicelib.domain.host_records import Step
from chalicelib.domain.lifecycle import State
from chalicelib.services import adoption, pools
from chalicelib.services.adoption_steps import Done
from tests.services.host_steps import add, codes, record_of, spend
from tests.services.steps import state_of
from tests.services.world import World


@pytest.fixture
def world(world: World) -> World:
    pools.create(world.deps, "main", "lab")
    return world


def test_a_client_that_carries_the_scripts_gets_the_same_ones(world):
    host = world.hosts.add()
    row = add(world, from_here=True)
    assert world.secrets.kept == {}
    said = adoption.next_step(world.deps, record_of(world, row))
    ran = []
    for _ in range(4):
        if said.script is None:
            break
        ran.append(said.script.step.value)
        printed = host.execute(said.script.text, world.clock)
        done = Done(printed.stdout, printed.stderr, printed.exit_code)
        said = adoption.answered(world.deps, record_of(world, row), said.script.step, done)
    assert ran == ["preflight", "install"]
    assert said.pause_s > 0
    world.boot()
    world.sync_all()
    assert adoption.next_step(world.deps, record_of(world, row)).record.step is Step.DONE
    assert state_of(world, row).state is State.IDLE


def test_an_answer_that_comes_twice_or_late_changes_nothing(world):
    host = world.hosts.add()
    row = add(world, from_here=True)
    step = adoption.next_step(world.deps, record_of(world, row)).script
    done = Done(host.execute(step.text, world.clock).stdout, "", 0)
    first = adoption.answered(world.deps, record_of(world, row), Step.PREFLIGHT, done)
    again = adoption.answered(world.deps, record_of(world, row), Step.PREFLIGHT, done)
    assert again.record == first.record
    assert again.script.step is Step.INSTALL


def test_a_client_that_reports_another_key_than_the_pinned_one_is_sent_nothing_more(world):
    host = world.hosts.add()
    row = add(world, from_here=True)
    first, other = host.fingerprint, "SHA256:" + 43 * "x"
    step = adoption.next_step(world.deps, record_of(world, row), first).script
    done = Done(host.execute(step.text, world.clock).stdout, "", 0)
    said = adoption.answered(world.deps, record_of(world, row), Step.PREFLIGHT, done, first)
    assert said.script.step is Step.INSTALL
    refused = adoption.answered(world.deps, record_of(world, row), Step.INSTALL, done, other)
    assert (refused.is_over, refused.script) == (True, None)
    record = record_of(world, row)
    assert (record.fingerprint, codes(world, row)) == (first, ["host-key-changed"])
    assert first in record.failure
    assert other in record.failure
    spend(world, 3)
    assert state_of(world, row).state is State.TERMINATED


def test_a_client_that_returns_to_another_key_is_refused_before_it_gets_a_script(world):
    host = world.hosts.add()
    row = add(world, from_here=True)
    assert adoption.next_step(world.deps, record_of(world, row), host.fingerprint).script is not None
    returned = adoption.next_step(world.deps, record_of(world, row), "SHA256:" + 43 * "x")
    assert (returned.is_over, returned.script) == (True, None)
    assert codes(world, row) == ["host-key-changed"]


def test_a_login_without_a_shell_is_told_as_a_check_with_its_fix(world):
    world.hosts.add()
    row = add(world, from_here=True)
    said = adoption.answered(
        world.deps, record_of(world, row), Step.PREFLIGHT, Done("This account is closed.\n", "", 1)
    )
    assert said.is_over
    assert codes(world, row) == ["script-output"]
    assert "This account is closed" in record_of(world, row).failure


def test_a_key_that_a_client_reports_must_be_the_one_that_was_given(world):
    host = world.hosts.add()
    given = "SHA256:" + 43 * "g"
    row = add(world, from_here=True, host_key=given)
    refused = adoption.next_step(world.deps, record_of(world, row), host.fingerprint)
    assert (refused.is_over, codes(world, row)) == (True, ["host-key-mismatch"])
    assert given in record_of(world, row).failure
    assert host.fingerprint in record_of(world, row).failure
    spend(world, 3)
    again = add(world, from_here=True, host_key=host.fingerprint)
    assert adoption.next_step(world.deps, record_of(world, again), host.fingerprint).script is not None


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        ("ubuntu@box-1: Permission denied (publickey).", "auth-failed"),
        ("Host key verification failed.", "host-key-mismatch"),
        ("kex_exchange_identification: banner line contains invalid characters", "not-ssh"),
        (
            "debug1: kex_exchange_identification: banner line 0: 220 mail.test ESMTP\n"
            "kex_exchange_identification: Connection closed by remote host",
            "not-ssh",
        ),
    ],
)
def test_what_the_clients_ssh_says_is_told_as_the_check_it_fails(world, stderr, code):
    world.hosts.add()
    row = add(world, from_here=True)
    said = adoption.answered(world.deps, record_of(world, row), Step.PREFLIGHT, Done("", stderr, 255))
    assert said.is_over
    assert codes(world, row) == [code]


@pytest.mark.parametrize(
    "words",
    [
        "ssh: connect to host box-1 port 22: Connection refused",
        "kex_exchange_identification: read: Connection reset by peer",
        "kex_exchange_identification: banner line 0: Exceeded MaxStartups\nkex_exchange_identification: read: reset",
    ],
)
def test_a_host_that_a_client_cannot_reach_may_be_tried_again(world, words):
    world.hosts.add()
    row = add(world, from_here=True)
    refused = Done("", words, 255)
    said = adoption.answered(world.deps, record_of(world, row), Step.PREFLIGHT, refused)
    assert not said.is_over
    assert said.script is not None
    assert said.pause_s > 0


@pytest.mark.parametrize(
    ("other", "code", "fix"),
    [
        ("another", "owner-foreign", "remove it there, or add it with --take-over"),
        ("", "owner-other-instance", "remove i-x first, or add it with --take-over"),
    ],
)
def test_a_host_that_somebody_else_takes_between_look_and_installation_is_told_as_the_check_it_fails(
    world, other, code, fix
):
    host = world.hosts.add()
    row = add(world, from_here=True)
    look = adoption.next_step(world.deps, record_of(world, row)).script
    printed = Done(host.execute(look.text, world.clock).stdout, "", 0)
    install = adoption.answered(world.deps, record_of(world, row), Step.PREFLIGHT, printed).script
    names = ("control_plane", "control_plane_url", "project", "instance_id", "since")
    host.owner = dict(zip(names, (other or world.deps.settings.owner, "http://b", "x", "i-x", "2024"), strict=True))
    printed = Done(host.execute(install.text, world.clock).stdout, "", 3)
    said = adoption.answered(world.deps, record_of(world, row), Step.INSTALL, printed)
    assert said.is_over
    assert codes(world, row) == [code]
    assert said.record.failure == f"{code} (http://b, project x, instance i-x, since 2024)"
    (told,) = [check for check in said.record.checks if check["check"] == "owner"]
    assert told["fix"] == fix
    assert host.owner["instance_id"] == "i-x"

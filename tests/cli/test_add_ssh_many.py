"""--from-here to many real hosts: what is bad among them, what is gone on with, and clients that end in the middle."""

import json
import os
import signal

import pytest

from tests.cli.conftest import finish
from tests.cli.ssh_here import steps, wait_for
from tests.cli.stub_problem import Problem


def test_twenty_hosts_of_which_three_are_bad(stub, site, add):
    site.write(
        "Host node-03\n  Port 1",
        f"Host node-07\n  IdentityFile {site.make_key('unknown')}\n  IdentitiesOnly yes\n  User nobody-{os.getpid()}",
        f"Host node-11\n  UserKnownHostsFile {site.folder}/empty",
    )
    ended = add("node-[01-20]", "--parallel", "6")
    assert ended.code == 8
    lines = ended.out.splitlines()
    assert lines[-1] == "20 hosts: 17 added, 3 failed"
    told = {line.split()[0]: line for line in lines if line.startswith("node-")}
    assert len(told) == 20
    assert "failed: unreachable: ssh: connect to host 127.0.0.3 port 1: Connection refused" in told["node-03"]
    assert "failed: auth-failed" in told["node-07"]
    assert "failed: host-key-unknown" in told["node-11"]
    assert len(stub.hosts) == 17


def test_the_same_command_again_goes_on_with_what_is_not_done(stub, site, add):
    site.write("Host node-02\n  Port 1")
    assert add("node-[01-03]").code == 8
    site.write()
    before = site.connections()
    ended = add("node-[01-03]")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "3 hosts: 1 added, 2 already there")
    assert len(stub.hosts) == 3
    assert site.connections() == before + 1  # what is adopted need not even be on


def test_a_host_that_is_done_and_asked_for_differently_is_a_conflict(stub, add):
    assert add("node-01").code == 0
    stub.refusals[("POST", "/hosts")] = Problem(409, "conflict", "it has another network", differences={"network": {}})
    ended = add("node-01", "--network", "10.0.0.0/8")
    assert (ended.code, "it has another network" in ended.err) == (5, True)


def test_a_file_of_hosts_and_json_are_one_document(stub, site, add, tmp_path):
    (tmp_path / "hosts").write_text("node-[01-02] # the first\nnode-03:1\n")
    stub.is_fit = lambda request: request["host"] != "127.0.0.2"
    ended = add("--hosts", str(tmp_path / "hosts"), "--json")
    assert (ended.code, ended.err) == (8, "")
    one, two, three = json.loads(ended.out)
    assert (one["host"], one["result"], one["fingerprint"]) == ("node-01", "added", site.fingerprint)
    assert (two["result"], two["code"], two["checks"][1]["fix"]) == ("failed", "docker-missing", "install it")
    assert (three["result"], three["code"], three["fix"][:9]) == ("failed", "unreachable", "check the")


def test_a_host_that_is_not_fit_shows_its_checks_and_what_to_do(stub, site, add):
    stub.is_fit = lambda _: False
    ended = add("node-01")
    assert (ended.code, steps(stub)) == (9, [("preflight", 0)])
    assert "docker  fail    docker-missing  no docker" in ended.out
    assert "fix docker: install it" in ended.out
    assert ended.err.splitlines()[-1] == "error: node-01 is not fit: 1 of 2 checks failed"


def test_a_check_from_here_changes_nothing(stub, site, add):
    ended = add("node-01", command=("host", "check"))
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "node-01 can be adopted")
    assert (steps(stub), stub.instances) == ([("preflight", 0)], [])
    stub.is_fit = lambda _: False
    assert add("node-[01-02]", command=("host", "check")).code == 9


# --- killed and interrupted


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_is_ended_in_the_middle_is_gone_on_with(stub, site, start, cli, tmp_path, number):
    go = tmp_path / "go"
    wait = f"until [ -e {go} ]; do sleep 0.1; done"
    stub.carried["install"] = f"set -- $SSH_CONNECTION; touch {tmp_path}/at-$3; {wait}"
    words = ("pool", "add-ssh", "--from-here", "-F", str(site.config), "node-[01-02]")
    process = start(*words, start_new_session=True)
    wait_for(lambda: len(list(tmp_path.glob("at-*"))) == 2)
    process.send_signal(number)
    if number == signal.SIGKILL:
        process.wait(60)
        go.touch()  # what it leaves behind holds its streams
    ended = finish(process)
    go.touch()
    assert len(stub.hosts) == 2
    if number == signal.SIGINT:
        assert ended.code == 130
        assert "half done at install; the same command again goes on; `tidepool pool rm node-0" in ended.err
        assert [step for step, _ in steps(stub)] == ["preflight"] * 2  # how ssh was ended is nothing to hand in
    stub.carried["install"] = "echo quick"
    again = cli(*words)
    assert (again.code, again.out.splitlines()[-1]) == (0, "2 hosts: 2 added")
    assert len(stub.hosts) == 2
    assert [step for step, _ in steps(stub)].count("preflight") == 2


def test_a_lost_answer_is_asked_for_again(stub, site, add):
    lost = []

    def lose(request):
        if request.path.endswith("/steps") and request.body and not lost:
            lost.append(request)
            stub.faults = ["lost-answer"]

    stub.on_request = lose
    assert add("node-01").code == 0
    assert lost
    assert [step for step, _ in steps(stub)] == ["preflight", "install"]

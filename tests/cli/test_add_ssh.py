"""`pool add-ssh` and `host …` where the control plane connects: what is sent, what is shown, how it ends."""

import getpass
import json
import signal
import subprocess
import time
from datetime import UTC, datetime

import pytest

from chalicelib.api.host_wire import NewHost
from chalicelib.domain.host_records import Destination
from tests.cli import stub_hosts
from tests.cli.builders import NOW, NOW_TEXT, make_attempt, make_check, make_host_facts, make_instance
from tests.cli.ssh_here import wait_for
from tests.cli.stub_hosts import JUMP_KEY, SHOWN, UNFIT
from tests.cli.stub_problem import Problem
from tests.ssh.server import private_key

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3nLXgWDlVgH1EsHwr7yyvTfGkWw7Wo9jC9bTrC0Fz4"


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "id_ed25519"
    path.write_text(private_key())
    path.chmod(0o600)
    return path


@pytest.fixture
def known(tmp_path):
    """The user's known_hosts, in the home that the settings name."""

    def write(text):
        folder = tmp_path / "home/.ssh"
        folder.mkdir(parents=True)
        (folder / "known_hosts").write_text(text)

    return write


def test_a_host_is_adopted_watched_and_shown(stub, cli, key):
    ended = cli("pool", "add-ssh", "-i", str(key), "ubuntu@54.73.155.119")
    assert ended.code == 0
    (host,) = stub.hosts.values()
    assert host.request == {
        "host": "54.73.155.119", "port": 22, "user": "ubuntu", "private_key": key.read_text()
    }  # fmt: skip
    assert ended.err.splitlines() == [
        "ubuntu@54.73.155.119: host key not known: the first one that it shows is trusted, and pinned",
        "ubuntu@54.73.155.119: preflight",
        "ubuntu@54.73.155.119: install",
        f"ubuntu@54.73.155.119: host key {SHOWN} was trusted on first use; compare it on the host: "
        "cat /etc/ssh/ssh_host_*_key.pub | ssh-keygen -lf -",
    ]
    assert ended.out.splitlines()[-1].startswith("made-up-0")


def test_everything_that_may_be_said_is_sent(stub, cli, key):
    words = (
        *("-i", str(key), "-p", "2222", "-J", "ann@bastion:2200", "-l", "ubuntu", "--network", "10.0.0.0/24"),
        *("--region", "office", "--name", "box-7", "--gpu", "A100:8", "--take-over", "--host-key", KEY, "10.0.0.7"),
    )
    ended = cli("pool", "add-ssh", *words)
    assert ended.code == 0
    assert ended.err.endswith(f"10.0.0.7: host key {SHOWN}; the jump host showed {JUMP_KEY}\n")
    (host,) = stub.hosts.values()
    assert host.request == {
        "host": "10.0.0.7",
        "port": 2222,
        "user": "ubuntu",
        "private_key": key.read_text(),
        "jump": {"host": "bastion", "port": 2200, "user": "ann"},
        "host_key": KEY,
        "network": "10.0.0.0/24",
        "region": "office",
        "gpu": "A100:8",
        "take_over": True,
        "name": "box-7",
    }
    assert "host key given: SHA256:" in ended.err
    read = NewHost.model_validate(host.request)
    assert read.record(api_url="https://api", actor="ann").jump == Destination("bastion", "ann", 2200)


@pytest.mark.parametrize("words", [("-p", "22", "u@h:23"), ("-l", "a", "b@h"), ("-p", "0", "h"), ("-J", "a,b", "h")])
def test_what_contradicts_itself_is_refused_before_anything_is_sent(stub, cli, key, words):
    ended = cli("pool", "add-ssh", "-i", str(key), *words)
    assert (ended.code, stub.hosts) == (2, {})


def test_a_known_host_key_is_sent_and_said(stub, cli, key, known):
    known(f"box,10.0.0.7 {KEY}\n")
    ended = cli("pool", "add-ssh", "-i", str(key), "u@10.0.0.7")
    assert stub.uploaded[0]["host_key"] == KEY
    assert "u@10.0.0.7: host key known from known_hosts: SHA256:" in ended.err
    cli("pool", "add-ssh", "-i", str(key), "--no-known-hosts", "v@10.0.0.7")
    assert "host_key" not in stub.uploaded[1]


def test_the_key_of_a_jump_host_is_sent_by_its_name_also_where_it_is_hashed(stub, cli, key, known, tmp_path):
    file = tmp_path / "hashed"
    file.write_text(f"[bastion]:2200 {KEY}\n")
    subprocess.run(["ssh-keygen", "-H", "-q", "-f", file], check=True, capture_output=True)
    known(file.read_text())
    ended = cli("pool", "add-ssh", "-i", str(key), "-J", "ann@bastion:2200", "u@10.0.0.7")
    assert stub.uploaded[0]["host_key"] == f"[bastion]:2200 {KEY}"
    assert "host key not known" in ended.err
    assert "; jump host bastion: host key known from known_hosts: SHA256:" in ended.err
    assert "was trusted on first use" in ended.err
    assert f"the jump host showed {JUMP_KEY}" in ended.err
    cli("pool", "add-ssh", "-i", str(key), "-J", "ann@door", "--host-key", KEY, "u@10.0.0.8")
    assert stub.uploaded[1]["host_key"] == KEY


def test_the_user_is_whoever_sits_there_as_with_ssh(stub, cli, key, tmp_path):
    environ = {"TIDEPOOL_URL": stub.url, "TIDEPOOL_TOKEN": "tp.stub.secret", "HOME": str(tmp_path)}
    cli("pool", "add-ssh", "-i", str(key), "h", environ={**environ, "USER": "ann"})
    cli("pool", "add-ssh", "-i", str(key), "i", environ=environ)
    assert [one["user"] for one in stub.uploaded] == ["ann", getpass.getuser()]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("h",), "no key: say -i KEY, or --from-here"),
        (("-i", "k"), "no host: say a DESTINATION"),
        (("-i", "k", "-o", "A=b", "h"), "-o is an option of ssh itself"),
        (("-i", "k", "--name", "n", "a", "b"), "--name is for one host"),
        (("--from-here", "--host-key", "SHA256:x", "h"), "with --from-here it is ssh that knows host keys"),
        (("-i", "k", "--parallel", "0", "h"), "no number from 1 to 64"),
        (("-i", "k", "--hosts", "missing"), "--hosts missing: No such file or directory"),
        (("-i", "missing", "u@h"), "-i missing: No such file or directory"),
        (("-i", "k", "a b"), "is no destination"),
        (("-i", "k", "u@h:99999"), "99999 is no port: 1 to 65535"),
        (("-i", "k", "u@[::1]:0"), "0 is no port: 1 to 65535"),
        (("-i", "k", "-p", "", "h"), "-p says nothing"),
        (("-i", "k", "-l", "", "h"), "-l says nothing"),
        (("-i", "k", "head-[a-b]"), "a range is of numbers: 'node-[01-16]'"),
    ],
)
def test_a_wrong_command_line_says_what_would_be_right(stub, cli, words, told):
    ended = cli("pool", "add-ssh", *words)
    assert (ended.code, stub.hosts, "Traceback" in ended.err) == (2, {}, False)
    assert told in ended.err


def test_a_key_with_a_passphrase_is_sent_with_it(stub, cli, key, tmp_path):
    key.write_text(private_key("ed25519", "open sesame"))
    environ = {"TIDEPOOL_URL": stub.url, "TIDEPOOL_TOKEN": "tp.stub.secret", "HOME": str(tmp_path)}
    ended = cli("pool", "add-ssh", "-i", str(key), "u@h", environ={**environ, "TIDEPOOL_KEY_PASSPHRASE": "open sesame"})
    assert (ended.code, stub.uploaded[0]["passphrase"]) == (0, "open sesame")
    assert "open sesame" not in ended.out + ended.err


def test_without_waiting_the_pending_row_is_all(stub, cli, key):
    ended = cli("pool", "add-ssh", "-i", str(key), "--no-wait", "u@box")
    assert (ended.code, ended.out.splitlines()[-1].split()[0]) == (0, "box")
    assert "pending" in ended.out
    assert stub.seen("GET", "i-0-box") == []


def test_what_keeps_one_of_several_hosts_waiting_is_told_once(stub, cli, key):
    tries = [{"detail": f"preflight, try {number}: no route to host"} for number in (2, 3, 4)]
    stub.scripts["a1"] = [{"detail": "preflight"}, *tries, {"detail": "preflight, try 5: refused"}, {"state": "idle"}]
    ended = cli("pool", "add-ssh", "-i", str(key), "u@a[1-2]")
    assert ended.code == 0
    told = [line for line in ended.err.splitlines() if "try" in line]
    assert told == ["u@a1: preflight, try 2: no route to host", "u@a1: preflight, try 5: refused"]


def test_a_host_that_is_there_already_is_said_to_be(stub, cli, key):
    assert cli("pool", "add-ssh", "-i", str(key), "u@box").code == 0
    ended = cli("pool", "add-ssh", "-i", str(key), "u@box")
    assert (ended.code, len(stub.hosts)) == (0, 1)
    assert ended.err == "u@box: already there\n"  # nothing connects, so nothing is trusted


@pytest.mark.parametrize("why", ["refused role", "refused address"])
def test_nothing_is_said_of_trust_where_nothing_is_connected_to(stub, cli, key, why, monkeypatch):
    monkeypatch.setattr("tests.cli.stub_hosts.SHOWN", "")
    if why == "refused role":
        stub.refusals[("POST", "/hosts")] = Problem(403, "forbidden", "viewer is not enough")
    stub.is_fit = lambda _: False
    unfit(stub, (make_check(check="reachability", status="fail", code="target-refused", found="no", fix="look"),))
    ended = cli("pool", "add-ssh", "-i", str(key), "--no-wait" if why == "refused role" else "--wait", "u@box")
    assert (ended.code, "trusted" in ended.err) == (3 if why == "refused role" else 8, False)


def test_a_check_of_an_adopted_host_says_that_its_key_is_compared_with_the_pinned_one(cli, key):
    assert cli("pool", "add-ssh", "-i", str(key), "u@box").code == 0
    told = cli("host", "check", "-i", str(key), "u@box").err
    assert f"u@box: host key compared with the key that is pinned: {SHOWN}\n" in told
    assert "trusted" not in told
    assert "not known" not in told


def test_a_host_is_called_by_its_own_name_where_that_is_free(stub, cli, key):
    stub.instances = [make_instance(name="gpu-1")]
    ended = cli("pool", "add-ssh", "-i", str(key), "u@gpu-[1-2]", "--network", "10.0.0.0/8", "u@10.0.0.9")
    assert ended.code == 0
    names = [row["name"] for row in stub.instances]
    assert (len(names), len(set(names)), "gpu-2" in names) == (4, 4, True)


def test_a_name_that_was_asked_for_and_is_taken_is_a_conflict(stub, cli, key):
    stub.instances = [make_instance(name="gpu-1")]
    assert cli("pool", "add-ssh", "-i", str(key), "--name", "gpu-1", "u@h").code == 5


def test_a_host_that_is_not_fit_ends_with_its_checks_and_their_remedies(stub, cli, key):
    stub.is_fit = lambda _: False
    unfit(stub)
    ended = cli("pool", "add-ssh", "-i", str(key), "u@box")
    assert ended.code == 9
    assert ended.out == (
        "CHECK   RESULT  CODE            FOUND\n"
        "os      pass    ok              Debian 12\n"
        "docker  fail    docker-missing  no docker\n"
        "fix docker: install it\n"
    )
    assert ended.err.endswith("error: u@box is not fit: 1 of 2 checks failed\n")


def unfit(stub, checks=UNFIT):
    """Have every adoption end with these checks."""

    def see(request):
        for host in stub.hosts.values():
            host.checks, host.step = checks, "failed"

    stub.on_request = see


def test_a_host_that_cannot_be_reached_has_an_exit_code_of_its_own(stub, cli, key):
    stub.is_fit = lambda _: False
    unfit(stub, (make_check(check="reachability", status="fail", code="unreachable", found="refused", fix="look"),))
    ended = cli("pool", "add-ssh", "-i", str(key), "u@box")
    assert (ended.code, ended.err.splitlines()[-1]) == (8, "error: u@box cannot be reached: unreachable")


@pytest.mark.parametrize(
    ("check", "code", "told"),
    [
        ("reachability", "jump-host-key", "u@box: its jump host shows another host key"),
        ("host-key", "host-key-changed", "u@box: it shows another host key"),
        ("host-key", "host-key-mismatch", "u@box: it shows another host key"),
    ],
)
def test_another_host_key_is_told_as_a_possible_attack_wherever_it_is_shown(stub, cli, key, check, code, told):
    stub.is_fit = lambda _: False
    unfit(stub, (make_check(check=check, status="fail", code=code, found="SHA256:x", fix="compare"),))
    ended = cli("pool", "add-ssh", "-i", str(key), "-J", "door", "u@box")
    assert (ended.code, told in ended.err) == (9, True)
    assert ended.err.endswith("another machine is there, or somebody in between (a possible attack)\n")


def test_an_adoption_that_somebody_ends_is_a_conflict(stub, cli, key):
    stub.scripts["box"] = [{"state": "terminating", "reason": "user-removed"}]
    assert cli("pool", "add-ssh", "-i", str(key), "u@box").code == 5


def test_json_is_one_document_whatever_happens(stub, cli, key):
    stub.is_fit = lambda request: request["host"] != "b"
    ended = cli("pool", "add-ssh", "--json", "-i", str(key), "u@a", "u@b")
    assert (ended.code, ended.err) == (7, "")
    one, two = json.loads(ended.out)
    assert (one["result"], one["instance"]["state"]) == ("added", "idle")
    assert (two["host"], two["result"], two["code"]) == ("u@b", "failed", "provisioning-failed")


def test_a_check_of_an_adopted_host_does_not_say_that_it_can_be_adopted(cli, key, monkeypatch):
    adopted = make_check(check="owner", status="warn", code="adopted-here", found="it is instance box of this project")
    monkeypatch.setattr(stub_hosts, "FIT", (adopted,))
    ended = cli("host", "check", "-i", str(key), "u@box")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "u@box is adopted already")


def test_a_check_adopts_nothing(stub, cli, key):
    same = ("--pool", "p", "--name", "n", "--no-wait", "--network", "10.0.0.0/8", "--take-over")
    ended = cli("host", "check", "-i", str(key), "--gpu", "A100:8", *same, "u@box")
    assert (ended.code, ended.out.splitlines()[-1], stub.instances) == (0, "u@box can be adopted", [])
    (host,) = stub.hosts.values()
    assert (host.request["gpu"], host.request["take_over"], "name" in host.request) == ("A100:8", True, False)
    stub.is_fit = lambda _: False
    assert cli("host", "check", "-i", str(key), "u@box").code == 9


def test_hosts_are_listed_with_what_is_still_to_be_cleaned(stub, cli, key):
    cli("pool", "add-ssh", "-i", str(key), "u@box")
    ended = cli("host", "list")
    assert ended.code == 0
    assert ended.out.splitlines()[1].split()[:3] == ["box", "default-pool", "u@box"]
    assert json.loads(cli("host", "list", "--json").out)[0]["host"]["destination"] == "u@box"
    row = make_instance(state="terminated", reason="user-removed")
    owed = {"instance": row, "host": make_host_facts(cleanup_pending_since=NOW_TEXT)}
    stub._hosts = lambda *_: (200, {"items": [owed], "next": None})
    assert "terminated (cleanup pending)" in cli("host", "list").out


def test_facts_are_read_again_on_demand(stub, cli):
    stub.instances = [make_instance(name="box-7")]
    ended = cli("host", "refresh", "box-7")
    assert (ended.code, ended.out) == (0, "box-7 reads its facts again (tidepool instance show box-7)\n")
    assert len(stub.seen("POST", "/box-7/refresh")) == 1
    stub.instances = [make_instance(name="box-7", seen_at=datetime.fromtimestamp(NOW - 360, UTC).isoformat())]
    told = "box-7 reads its facts again when it returns (last heard of 6m ago) (tidepool instance show box-7)\n"
    assert cli("host", "refresh", "box-7").out == told


def test_a_host_that_never_comes_back_may_be_forgotten(stub, cli):
    stub.instances = [make_instance(name="box-7", state="terminated")]
    ended = cli("host", "forget", "box-7")
    assert (ended.code, ended.out) == (0, "box-7 is forgotten; what is left on the host stays there\n")
    assert len(stub.seen("POST", "/box-7/forget")) == 1


def test_an_instance_that_is_a_host_shows_where_it_is_and_what_was_found(stub, cli, key):
    stub.is_fit = lambda _: False
    unfit(stub)
    cli("pool", "add-ssh", "-i", str(key), "-J", "ann@head", "u@box")
    shown = cli("instance", "show", "box").out
    assert "  Destination:     u@box over ann@head\n" in shown
    assert "  Adopted by:      the control plane\n" in shown
    assert "  Cleanup pending: no\n" in shown
    assert "docker  fail    docker-missing  no docker\nfix docker: install it\n" in shown


def test_a_listing_names_the_step_of_an_adoption(stub, cli):
    more = {"backend": "ssh", "region": "remote", "reason": "add-ssh"}
    stub.instances = [make_instance(name="box", state="pending", detail="preflight, try 2", **more)]
    assert "pending (preflight, try 2)" in cli("pool", "ps").out


def test_removing_a_host_says_what_that_means_and_what_is_still_to_be_done(stub, cli, key):
    cli("pool", "add-ssh", "-i", str(key), "u@box")
    stub.scripts["box"] = [{}, {"state": "terminated", "host": make_host_facts(cleanup_pending_since=NOW_TEXT)}]
    ended = cli("pool", "rm", "box", stdin="y\n")
    assert ended.err.startswith("box is your server: the agent is uninstalled, the server stays on\n")
    assert ended.out.splitlines()[-1].startswith("box terminated, cleanup pending: it could not be reached")


@pytest.mark.parametrize(("silent_s", "told"), [(30, False), (70, True), (130, False)])
def test_removing_a_silent_host_says_what_is_waited_for_and_until_when(stub, cli, silent_s, told):
    seen = datetime.fromtimestamp(NOW - silent_s, UTC).isoformat()
    stub.instances = [make_instance(name="box", backend="ssh", seen_at=seen, changed_at=NOW_TEXT)]
    stub.scripts["box"] = [{}, {"state": "terminated"}]
    ended = cli("pool", "rm", "-y", "box")
    until = time.strftime("%H:%M:%S", time.localtime(NOW + 120))
    assert (f"waiting until {until} for it to confirm, then cleanup pending" in ended.err) == told
    assert ("its agent was last heard of 2m 10s ago, and is not waited for" in ended.err) == (silent_s == 130)


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupt_says_that_the_adoption_goes_on_and_how_it_is_undone(stub, start, key, as_json):
    stub.scripts["box"] = [{"detail": "install"}] * 1000
    process = start("pool", "add-ssh", "-i", str(key), "u@box", *(["--json"] if as_json else []))
    wait_for(lambda: [one for one in stub.requests if one.method == "GET" and "/instances/" in one.path])  # it knows
    process.send_signal(signal.SIGINT)
    out, err = (said.decode() for said in process.communicate(timeout=60))
    assert process.returncode == 130
    if as_json:
        (told,) = json.loads(out)
        assert (told["code"], told["fix"], told["instance"]["name"]) == ("interrupted", "tidepool pool rm box", "box")
    else:
        assert "u@box: its adoption goes on, without being watched (tidepool instance show box); " in err
        assert err.endswith("`tidepool pool rm box` undoes it\n")


@pytest.mark.parametrize(("lasts_s", "code"), [(60, 0), (600, 5)])
def test_what_is_left_of_a_failed_adoption_is_waited_for_within_limits(stub, cli, clock, key, lasts_s, code):
    began = clock.at
    refuse(stub, lambda: clock.at - began < lasts_s, state="terminating")
    ended = cli("pool", "add-ssh", "-i", str(key), "u@box")
    assert (ended.code, "waiting for the removal of box" in ended.err) == (code, True)
    assert clock.at - began < 200


def test_a_result_has_one_shape_and_the_fix_of_what_failed(stub, cli, key):
    refuse(stub, lambda: not stub.hosts, differences={"network": {}})
    (told,) = json.loads(cli("pool", "add-ssh", "-i", str(key), "u@box", "--json").out)
    assert (told["code"], told["instance"]) == ("conflict", None)
    refuse(stub, lambda: False)
    stub.is_fit = lambda _: False
    unfit(stub, UNFIT)
    (told,) = json.loads(cli("pool", "add-ssh", "-i", str(key), "u@box", "--json").out)
    assert (told["fix"], told["instance"]["name"]) == ("install it", "box")


def test_a_check_says_of_a_key_that_it_pins_nothing(cli, key):
    told = cli("host", "check", "-i", str(key), "u@box").err
    assert "not known: the first one that it shows is trusted\n" in told
    assert "was not known here, and is not pinned by a check" in told
    assert "-l USER" in cli("host", "check", "--help").out
    assert not {"--name", "--pool", "--wait"} & set(cli("host", "check", "--help").out.split())


def test_no_ssh_is_begun_for_somebody_who_may_not_adopt(stub, cli):
    stub.role = "viewer"
    ended = cli("host", "check", "--from-here", "-o", "ProxyCommand=false", "box")
    assert (ended.code, stub.hosts) == (3, {})
    assert "the role viewer is not enough" in ended.err


def test_a_key_file_that_is_not_there_is_told_from_here_too(stub, cli):
    ended = cli("pool", "add-ssh", "--from-here", "-i", "/nowhere/id", "box")
    assert (ended.code, ended.err) == (2, "error: -i /nowhere/id: No such file or directory\n")


def test_a_public_key_is_told_as_that_whoever_may_read_it(stub, cli, tmp_path):
    public = tmp_path / "id.pub"
    public.write_text(KEY)
    public.chmod(0o644)
    assert "is a public key; give the private half" in cli("pool", "add-ssh", "-i", str(public), "u@h").err


def test_a_server_of_one_s_own_is_shown_without_what_is_said_of_rented_machines(stub, cli):
    more = {"backend": "ssh", "region": "remote", "zone": "10.1.0.0/24", "facts": {"memory_mib": 2048, "disk_mib": 512}}
    host = make_host_facts(network="10.1.0.0/24")
    stub.instances = [make_instance(name="box", host=host, attempts=[make_attempt()], **more)]
    shown = cli("instance", "show", "box").out
    assert "  Network:         10.1.0.0/24\n" in shown
    assert "  disk:   512MB\n  memory: 2GB\n" in shown
    assert not [word for word in ("Instance type", "Price", "Idle duration", "Attempts", "remote|") if word in shown]


def test_a_failed_adoption_has_no_resources(stub, cli):
    nothing = {"cpus": 0, "memory_mib": 0, "disk_mib": 0, "gpus": []}
    stub.instances = [make_instance(name="box", state="pending", resources=nothing)]
    assert "0xCPU" not in cli("pool", "ps").out


def refuse(stub, when, **context):
    """Have orders refused for as long as that holds."""
    take = type(stub).add_host

    def add_host(request, pool):
        if when():
            raise Problem(409, "conflict", "it is box", instance="box", **context)
        return take(stub, request, pool)

    stub.add_host = add_host


def test_several_hosts_have_a_line_each_in_whatever_order_they_end(stub, cli, key):
    ended = cli("pool", "add-ssh", "-i", str(key), "u@a[1-3]", "--parallel", "2")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert sorted(line for line in lines if line.startswith("u@")) == [
        "u@a1  added as a1", "u@a2  added as a2", "u@a3  added as a3"
    ]  # fmt: skip
    assert lines[-1] == "3 hosts: 3 added"
    assert sum(SHOWN in line for line in lines) == 3

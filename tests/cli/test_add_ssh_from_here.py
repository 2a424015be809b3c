"""--from-here through the system's real ssh, to a real sshd."""

import os
import pty
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.cli.conftest import CLI, settings
from tests.cli.ssh_here import Site, steps, wait_for
from tests.ssh.server import USER, private_key
from tidepool.ssh_children import Children
from tidepool.ssh_connection import MOST_OUTPUT, Connection
from tidepool.ssh_destination import parse_destination
from tidepool.ssh_options import SshWords


def test_an_alias_of_ssh_config_is_adopted_and_its_key_pinned(stub, site, add):
    ended = add("node-01", "--network", "10.0.0.0/8", "--gpu", "A100:8")
    assert (ended.code, steps(stub)) == (0, [("preflight", 0), ("install", 0)])
    (host,) = stub.hosts.values()
    assert host.request == {
        "host": "127.0.0.1", "port": site.port, "user": USER, "from_here": True,
        "name": "node-01", "network": "10.0.0.0/8", "gpu": "A100:8",
    }  # fmt: skip
    assert host.said[0]["stdout"] == f"facts of {USER}\n"
    assert {one["host_key"] for one in host.said} == {site.fingerprint}
    assert ended.out.splitlines()[0].split() == ["CHECK", "RESULT", "CODE", "FOUND"]
    assert ended.out.splitlines()[-1].split()[:3] == ["node-01", "ssh", "remote"]
    assert f"host key {site.fingerprint}" in ended.err


def test_without_waiting_the_row_is_shown_as_it_is_now(stub, site, add):
    ended = add("node-01", "--no-wait")
    assert (ended.code, steps(stub)) == (0, [("preflight", 0), ("install", 0)])
    assert "provisioning" in ended.out.splitlines()[-1]


def test_one_connection_serves_every_step(stub, site, add):
    before = site.connections()
    assert add("node-01").code == 0
    assert site.connections() == before + 1


def clients(folder):
    """The processes of ssh clients that share connections below a folder; those of other tests come and go."""
    words = ["ps", "-ww", "-eo", "pid,args"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    return [line for line in listed.splitlines() if line.split()[1] in ("ssh", "ssh:") and str(folder) in line]


@pytest.fixture
def own_folder(monkeypatch):
    """A folder for what is temporary, of this test alone: its path is short, since that of a socket may not be long."""
    with tempfile.TemporaryDirectory(prefix="tp-", dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


def test_nothing_of_a_connection_is_left_behind(stub, add, own_folder):
    meanwhile = []
    stub.on_request = lambda _: meanwhile.extend(clients(own_folder))
    add("node-01")
    assert meanwhile
    wait_for(lambda: not clients(own_folder))
    assert list(own_folder.iterdir()) == []


def test_a_user_s_own_shared_connection_is_used_and_left_alone(stub, site, add, tmp_path):
    path = tmp_path / "mux"
    site.write(f"Host node-02\n  ControlPath {path}\n  ControlMaster auto\n  ControlPersist 600")
    words = ["ssh", "-F", str(site.config)]
    subprocess.run([*words, "-nNf", "node-02"], check=True, timeout=60, stderr=subprocess.DEVNULL)
    try:
        before = site.connections()
        assert add("node-02").code == 0
        assert site.connections() == before
        (host,) = stub.hosts.values()
        assert host.said[0]["host_key"] == site.fingerprint  # from known_hosts: nothing was negotiated now
        assert path.exists()
    finally:
        subprocess.run([*words, "-O", "exit", "node-02"], check=True, timeout=60, stderr=subprocess.DEVNULL)


def test_a_shared_connection_tells_the_key_that_ssh_accepts_of_several_that_are_known(site, tmp_path):
    """A step may come over a connection of its own, and would else show another key than the one before."""
    other = tmp_path / "other"
    other.write_text(private_key("ecdsa-256"))
    keys = (site.public(other), site.server.public_host_key("ed25519"))
    site.known.write_text("".join(f"[127.0.0.2]:{site.port} {key}\n" for key in keys))
    site.write(f"Host node-02\n  ControlPath {tmp_path}/mux\n  ControlMaster auto\n  ControlPersist 600")
    words = ["ssh", "-F", str(site.config)]
    leave = [*words, "-O", "exit", "node-02"]
    subprocess.run([*words, "-nNf", "node-02"], check=True, timeout=60, stderr=subprocess.DEVNULL)
    way = Connection(
        parse_destination("node-02"), SshWords([("F", str(site.config))]), Children(),
        folder=str(tmp_path), number=1, asks=False, environ=os.environ,
    )  # fmt: skip
    try:
        way.look()
        assert (way.run("true\n").exit_code, way.fingerprint) == (0, "")
        shown, guessed = way.shown_fingerprint(), way._known_fingerprint()
        subprocess.run(leave, check=True, timeout=60, stderr=subprocess.DEVNULL)
        way.run("true\n")
    finally:
        subprocess.run(leave, check=True, timeout=60, stderr=subprocess.DEVNULL)
    assert {shown, guessed} == {way.fingerprint}


def test_a_jump_host_of_the_configuration_is_gone_through(stub, site, add):
    site.write("Host node-05\n  ProxyJump node-01")
    before = site.connections()
    assert add("node-05").code == 0
    assert site.connections() == before + 2
    (host,) = stub.hosts.values()
    assert host.request["jump"] == {"host": "127.0.0.1", "port": site.port, "user": USER}
    assert host.said[0]["host_key"] == site.fingerprint


def test_hosts_behind_commands_of_the_user_s_own_are_told_apart_by_their_names(stub, site, add):
    """Two private networks may have the same addresses; only the user's own command knows which one is meant."""
    for name in ("left", "right"):
        site.write(*(f"Host {each}\n  HostName 127.0.0.1\n  ProxyCommand ssh -F {site.config} -W %h:%p node-02"
                     for each in ("left", "right")))  # fmt: skip
        assert add(name).code == 0
    assert [host.request["host"] for host in stub.hosts.values()] == ["left", "right"]
    assert {one["host_key"] for host in stub.hosts.values() for one in host.said} == {site.fingerprint}


def test_the_whole_way_is_told_where_it_is_more_than_one_jump_host(stub, site, add):
    """The same address behind two ways is two hosts, in two networks."""
    site.write("Host node-04\n  ProxyJump node-03", "Host node-03\n  ProxyJump node-02")
    assert add("node-04").code == 0
    assert add("-o", f"ProxyCommand=ssh -F {site.config} -W %h:%p node-02", "node-05").code == 0
    first, second = [host.request for host in stub.hosts.values()]
    assert (first["jump"]["port"], first["way"]) == (site.port, f"127.0.0.2:{site.port},127.0.0.3:{site.port}")
    assert "jump" not in second
    assert re.fullmatch(r"command:[0-9a-f]{12}", second["way"])


def test_jump_and_port_and_user_may_be_said_as_after_ssh(stub, site, add):
    site.write(f"Host 127.0.0.*\n  User nobody-{os.getpid()}\n  Port 1")
    ended = add(
        "-J", f"{USER}@node-01:{site.port}", "-oConnectTimeout=5", "-4", "-p", str(site.port), "-l", USER, "127.0.0.7"
    )
    assert ended.code == 0, ended.err
    (host,) = stub.hosts.values()
    assert (host.request["host"], host.request["port"], host.request["user"]) == ("127.0.0.7", site.port, USER)


def test_a_key_of_the_agent_opens(stub, site, add, tmp_path):
    site.write(key=False)
    address = str(tmp_path / "agent")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", address], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: os.path.exists(address))
        with_agent = {**os.environ, "SSH_AUTH_SOCK": address}
        environ = {"TIDEPOOL_URL": stub.url, "TIDEPOOL_TOKEN": "tp.stub.secret", "SSH_AUTH_SOCK": address}
        assert add("node-01", environ=environ).code == 9
        subprocess.run(["ssh-add", "-q", str(site.key)], env=with_agent, check=True, timeout=60)
        assert add("node-01", environ=environ).code == 0
    finally:
        agent.terminate()
        agent.wait(60)


def test_a_wrong_key_says_so_before_anything_is_ordered(stub, site, add):
    wrong = site.make_key("wrong")
    site.write(key=False)
    ended = add("-i", str(wrong), "-o", "IdentityAgent=none", "node-01")
    assert (ended.code, stub.hosts) == (9, {})
    assert "error: node-01: " in ended.err
    assert "Permission denied (publickey)" in ended.err
    words = f"-F {site.config} -i {wrong} -o IdentityAgent=none node-01"
    assert f"  fix: check the user and the key: ssh -v {words}\n" in ended.err


def test_a_changed_host_key_refuses_everything_in_ssh_s_own_words(stub, site, add):
    other = site.folder / "other"
    other.write_text(private_key())
    site.know(1, key=site.public(other))
    ended = add("node-01")
    assert (ended.code, stub.hosts) == (9, {})
    assert "host key" in ended.err.lower()
    assert f"ssh-keygen -f {site.known} -R '[127.0.0.1]:{site.port}'" in ended.err


def test_an_unknown_host_key_is_refused_unless_ssh_is_told_to_trust_it(stub, site, add):
    site.know()
    ended = add("node-01")
    assert (ended.code, stub.hosts) == (9, {})
    assert "-o StrictHostKeyChecking=accept-new" in ended.err
    ended = add("node-01", "-o", "StrictHostKeyChecking=accept-new")
    assert (ended.code, f"host key {site.fingerprint} was trusted on first use" in ended.err) == (0, True)
    assert site.server.public_host_key("ed25519").split()[1] in site.known.read_text()


@pytest.mark.parametrize(
    ("jumps", "unknown", "command"),
    [("node-02", 2, "node-02 true"), ("node-01,node-02", 2, "-J node-01 node-02 true"),
     ("node-01,node-02", 1, "node-01 true"), ("127.0.0.2:{port}", 2, "ssh://[127.0.0.2]:{port} true")],
)  # fmt: skip
def test_a_jump_host_whose_key_is_not_known_is_named_because_no_option_reaches_it(
    stub, site, add, jumps, unknown, command
):
    site.know(*({1, 2, 5} - {unknown}))
    ended = add("-o", "StrictHostKeyChecking=accept-new", "-J", jumps.format(port=site.port), "node-05")
    assert (ended.code, stub.hosts) == (9, {})
    name = command.split()[-2].removeprefix("ssh://").format(port=site.port)
    assert f"error: node-05: the key of its jump host {name} is not known\n" in ended.err
    assert f"compare its key: ssh -F {site.config} {command.format(port=site.port)} (or" in ended.err


@pytest.fixture
def silent():
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_host_that_hangs_ends_by_its_time_limit(stub, add, silent):
    started = time.monotonic()
    ended = add("-o", "ConnectTimeout=1", "-p", str(silent), "node-01")
    assert (ended.code, stub.hosts) == (8, {})
    assert time.monotonic() - started < 30
    assert "timed out" in ended.err


def test_a_script_that_hangs_is_ended_and_told_to_the_control_plane(stub, add):
    stub.script_limit_s = 0.5
    stub.carried["preflight"] = "echo begun; sleep 60"
    ended = add("node-01")
    assert ended.code == 7
    assert "timed out after 0.5 s" in stub.hosts["i-0-node-01"].said[0]["stderr"]
    assert [step for step, _ in steps(stub)] == ["preflight"] * 3


def test_endless_output_of_a_host_fills_neither_disk_nor_memory(tmp_path):
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\n[ -p /dev/fd/1 ] && [ -p /dev/fd/2 ] && touch {tmp_path}/pipes\nexec yes >&2\n")
    ssh.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    way = Connection(
        parse_destination("box-1"), SshWords(()), Children(),
        folder=str(tmp_path), number=1, asks=False, environ=environ,
    )  # fmt: skip
    ran = way.run("true\n", within_s=3)
    assert (ran.late, len(ran.err), (tmp_path / "pipes").exists()) == (True, MOST_OUTPUT, True)


def test_bad_options_are_ssh_s_to_refuse(stub, add):
    ended = add("-o", "Nonsense=1", "node-01")
    assert (ended.code, stub.hosts) == (2, {})
    assert "bad configuration option: nonsense" in ended.err.lower()
    assert add("-F", "missing", "node-01").code == 2


def test_a_host_without_a_shell_is_no_host(stub, site, add):
    site.write("Host node-09\n  User " + USER)
    bad = Site(site.folder / "mute", settings=("ForceCommand /bin/false",))
    try:
        ended = add("-p", str(bad.port), "-i", str(bad.key), "-o", "StrictHostKeyChecking=no", "node-09")
    finally:
        bad.stop()
    assert (ended.code, stub.hosts) == (9, {})
    assert "no POSIX shell answers" in ended.err


def test_commands_and_tunnels_of_a_configuration_are_left_out(stub, site, add):
    site.write(
        "Host node-01\n  RemoteCommand top\n  RequestTTY force\n  LocalForward 1 127.0.0.1:1",
        "  ExitOnForwardFailure yes",
    )
    ended = add("node-01")
    assert (ended.code, steps(stub)) == (0, [("preflight", 0), ("install", 0)]), ended.err


@pytest.mark.parametrize(("uid", "asked"), [(1000, "said: -n sh -s\n"), (0, "")])
def test_a_script_as_root_goes_through_sudo_unless_root_carries_it(stub, site, add, tmp_path, uid, asked):
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {uid}\n")
    (tmp_path / "sudo").write_text(f'#!/bin/sh\necho "said: $*" >> {tmp_path}/asked\nshift\nexec "$@"\n')
    for tool in ("id", "sudo"):
        (tmp_path / tool).chmod(0o755)
    (tmp_path / "asked").touch()
    own = Site(site.folder / f"own-{uid}", path=tmp_path)
    stub.sudo = True
    stub.carried = {"preflight": "token=very-secret; tr '\\0' ' ' </proc/$PPID/cmdline; echo facts", "install": "true"}
    try:
        ended = add("-p", str(own.port), "-i", str(own.key), "-o", "StrictHostKeyChecking=no", "node-01")
    finally:
        own.stop()
    assert ended.code == 0, ended.err
    assert (tmp_path / "asked").read_text() == 2 * asked
    assert "very-secret" not in stub.hosts["i-0-node-01"].said[0]["stdout"]


def test_ssh_s_own_words_go_where_they_are_wanted(stub, site, add, tmp_path):
    log = tmp_path / "log"
    assert add("-E", str(log), "node-01").code == 0
    assert "Server host key" in log.read_text()


# --- with a terminal


@pytest.fixture
def at_terminal(stub, site, tmp_path):
    """Type the command at a terminal, and answer its first question, if there is one."""

    def run(*words, question=b"", answer=b""):
        master, slave = pty.openpty()
        argv = ["setsid", "--ctty", "--wait", sys.executable, "-m", "tidepool", "pool", "add-ssh", "--from-here"]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CLI), "TERM": "xterm", **settings(stub, tmp_path)}
        process = subprocess.Popen(
            [*argv, "-F", str(site.config), *words], env=env, stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path
        )
        os.close(slave)
        shown = b""
        with open(master, "r+b", buffering=0) as terminal:
            try:
                while piece := terminal.read(4096):
                    shown += piece
                    if question and question in shown:
                        terminal.write(answer)
                        question = b""
            except OSError:  # Linux says so when the other side has closed
                pass
        return process.wait(60), shown.decode(errors="replace")

    return run


def test_ssh_may_ask_whoever_sits_at_a_terminal_about_one_host(stub, site, at_terminal):
    site.know()
    site.write("Host *\n  StrictHostKeyChecking ask\n  NumberOfPasswordPrompts 1")
    code, shown = at_terminal("node-01", question=b"(yes/no/[fingerprint])?", answer=b"yes\n")
    assert code == 0, shown
    assert site.server.public_host_key("ed25519").split()[1] in site.known.read_text()


def test_ssh_asks_nothing_about_several_hosts_side_by_side(stub, site, at_terminal):
    site.know()
    site.write("Host *\n  StrictHostKeyChecking ask")
    code, shown = at_terminal("node-[01-02]")
    assert (code, stub.hosts) == (9, {})
    assert "host-key-unknown" in shown

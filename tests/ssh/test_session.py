"""Connections to real sshd processes: whom they trust, what they run, and how each failure is told."""

import errno
import importlib
import inspect
import pkgutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from paramiko import ssh_exception

from chalicelib.ssh import errors, faults, login
from chalicelib.ssh.host_keys import HostKeys, parse_host_keys
from chalicelib.ssh.keys import PrivateKey, read_private_key
from chalicelib.ssh.login import USUAL
from chalicelib.ssh.session import Jump, Limits, Session, Target, Trust, connect
from chalicelib.ssh.targets import parse_allowed
from tests.ports import free_port
from tests.ssh.server import USER, Server, private_key

ALLOWED = parse_allowed(["127.0.0.0/8"])
FIRST_USE = Trust()
QUICK = Limits(dial_s=1, handshake_s=1, auth_s=2, channel_s=2)


def target(server: Server) -> Target:
    return Target("127.0.0.1", USER, server.port)


def joined(server: Server, key: PrivateKey, trust: Trust = FIRST_USE, **given) -> Session:
    return connect(target(server), key, trust=trust, allowed=ALLOWED, **given)


@pytest.fixture(scope="module")
def session(server, key) -> Iterator[Session]:
    with joined(server, key) as made:
        yield made


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-2048"])
def test_every_type_of_key_logs_in(kind, server):
    mine = read_private_key(private_key(kind, "a passphrase"), "a passphrase")
    server.allow(mine.public)
    with joined(server, mine) as made:
        assert made.run("echo in", limit_s=60).stdout == "in\n"


def test_the_key_of_a_first_use_can_be_pinned(server, key):
    with joined(server, key) as first:
        shown = first.host_key
    pinned = parse_host_keys(shown.line, "127.0.0.1", server.port)
    assert pinned.prints == (shown.fingerprint,)
    with joined(server, key, Trust(pinned, is_pinned=True)) as again:
        assert again.host_key == shown


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-256", "rsa-2048"])
@pytest.mark.parametrize("form", ["known_hosts", "fingerprint"])
def test_a_given_key_of_any_type_is_asked_for(kind, form, server, key):
    line = parse_host_keys(server.known_hosts(kind), "127.0.0.1", server.port)
    given = line if form == "known_hosts" else HostKeys(line.prints)
    with joined(server, key, Trust(given)) as made:
        assert made.host_key.fingerprint in line


@pytest.mark.parametrize(
    ("is_pinned", "error"), [(False, errors.HostKeyMismatchError), (True, errors.HostKeyChangedError)]
)
@pytest.mark.parametrize("with_type", [True, False])
def test_another_key_than_the_one_that_was_known_refuses_everything(is_pinned, error, with_type, server, key):
    other = read_private_key(private_key("ed25519"))
    known = HostKeys((other.fingerprint,), ("ssh-ed25519",) if with_type else ())
    with pytest.raises(error) as caught:
        joined(server, key, Trust(known, is_pinned=is_pinned))
    assert caught.value.context["expected"] == other.fingerprint
    assert caught.value.context["found"].startswith("SHA256:")
    assert not caught.value.retryable


def test_a_host_without_a_key_of_the_pinned_type_has_changed(tmp_path, key):
    server = Server(tmp_path / "rsa", host_kinds=("rsa-2048",)).start()
    server.allow(key.public)
    pinned = HostKeys((read_private_key(private_key("ed25519")).fingerprint,), ("ssh-ed25519",))
    try:
        with pytest.raises(errors.HostKeyChangedError):
            joined(server, key, Trust(pinned, is_pinned=True))
    finally:
        server.stop()


def test_a_key_that_is_not_let_in_is_named_with_its_user(server):
    stranger = read_private_key(private_key("ed25519"))
    with pytest.raises(errors.AuthFailedError) as caught:
        joined(server, stranger)
    assert caught.value.context["user"] == USER
    assert caught.value.context["host_key"] in parse_host_keys(server.known_hosts(), "127.0.0.1", server.port)
    assert caught.value.context["fingerprint"] == stranger.fingerprint
    assert USER in caught.value.detail
    assert stranger.fingerprint in caught.value.detail
    assert not caught.value.retryable


def test_a_key_alone_that_is_not_enough_is_told_with_what_is_missing(tmp_path, key):
    server = Server(tmp_path / "two", settings=("AuthenticationMethods publickey,publickey",)).start()
    server.allow(key.public)
    try:
        with pytest.raises(errors.AuthFailedError, match="as well"):
            joined(server, key)
    finally:
        server.stop()


def test_nobody_listening_is_unreachable_and_may_pass(key):
    with pytest.raises(errors.UnreachableError) as caught:
        connect(Target("127.0.0.1", USER, free_port()), key, trust=FIRST_USE, allowed=ALLOWED)
    assert (caught.value.context["cause"], caught.value.retryable) == ("refused", True)


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port on which every connection is handed to `answer`, on a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    guest, _ = door.accept()
                    threading.Thread(target=quietly, args=(guest,), daemon=True).start()

        def quietly(guest: socket.socket) -> None:
            with suppress(OSError), guest:
                answer(guest)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)
        thread.join(2)


def http(guest: socket.socket) -> None:
    guest.recv(1000)
    guest.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" + b"x\r\n" * 200)


def silent(guest: socket.socket) -> None:
    while guest.recv(1000):
        pass


def trickle(guest: socket.socket) -> None:
    for letter in b"SSH-2.0-" + b"slow" * 100:
        guest.sendall(bytes([letter]))
        time.sleep(0.1)


def stops_after_banner(guest: socket.socket) -> None:
    guest.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    silent(guest)


def web_server(guest: socket.socket) -> None:
    guest.recv(1000)
    guest.sendall(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n")


def mail_server(guest: socket.socket) -> None:
    guest.sendall(b"220 mail.example ESMTP\r\n")
    guest.recv(1000)
    guest.sendall(b"502 5.5.2 Error: command not recognized\r\n")


def tls_server(guest: socket.socket) -> None:
    guest.recv(1000)
    guest.sendall(b"\x15\x03\x01\x00\x02\x02\x46")


def many_lines(guest: socket.socket) -> None:
    guest.sendall(b"secret\r\n" * 200)


@pytest.mark.parametrize("answer", [web_server, mail_server, tls_server, many_lines], ids=lambda each: each.__name__)
def test_a_server_of_something_else_is_told_as_that_and_what_it_said_is_not(answer, key):
    with listening(answer) as port, pytest.raises(errors.NotSshError) as caught:
        connect(Target("127.0.0.1", USER, port), key, trust=FIRST_USE, allowed=ALLOWED)
    assert caught.value.detail == f"[127.0.0.1]:{port} answers, but not as an SSH server"


def test_an_ssh_server_that_has_no_room_yet_may_let_in_later(key):
    def full(guest: socket.socket) -> None:
        guest.sendall(b"Exceeded MaxStartups\r\n")

    with listening(full) as port, pytest.raises(errors.ConnectionLostError):
        connect(Target("127.0.0.1", USER, port), key, trust=FIRST_USE, allowed=ALLOWED)


@pytest.mark.parametrize("answer", [http, silent, trickle, stops_after_banner], ids=lambda each: each.__name__)
def test_what_is_not_ssh_is_told_in_time(answer, key):
    with listening(answer) as port:
        began = time.monotonic()
        with pytest.raises(errors.NotSshError):
            connect(Target("127.0.0.1", USER, port), key, trust=FIRST_USE, allowed=ALLOWED, limits=QUICK)
        assert time.monotonic() - began < USUAL.handshake_s


def test_a_server_that_hangs_up_at_once_may_let_in_later(key):
    with listening(lambda _guest: None) as port, pytest.raises(errors.ConnectionLostError) as caught:
        connect(Target("127.0.0.1", USER, port), key, trust=FIRST_USE, allowed=ALLOWED)
    assert caught.value.retryable


def test_output_errors_and_exit_status_are_told_apart(session):
    done = session.run("echo out; echo err >&2; exit 7", limit_s=60)
    assert (done.stdout, done.stderr, done.exit_code, done.is_cut) == ("out\n", "err\n", 7, False)


def test_one_connection_runs_several_scripts(session):
    assert [session.run(f"echo {n}", limit_s=60).stdout for n in range(3)] == ["0\n", "1\n", "2\n"]


def test_sudo_makes_root_of_whoever_may(session):
    done = session.run("id -u", sudo=True, limit_s=60)
    assert done.stdout == "0\n" or "sudo" in done.stderr


def test_nothing_of_a_script_stands_in_the_list_of_processes(session):
    script = "secret=abc123xyz; for each in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$each 2>/dev/null; done; :"
    done = session.run(script, limit_s=60)
    assert done.exit_code == 0
    assert "sh -s" in done.stdout
    assert "abc123xyz" not in done.stdout


def test_a_large_script_and_a_large_output_pass_and_the_rest_is_dropped(session):
    script = "# " + "x" * 3_000_000 + "\nyes out | head -c 3000000; yes err | head -c 3000000 >&2"
    done = session.run(script, limit_s=30, output_limit=1000)
    assert (len(done.stdout), len(done.stderr), done.is_cut, done.exit_code) == (1000, 1000, True, 0)


def test_a_script_need_not_be_read_to_its_end(session):
    assert session.run("exit 3\n" + "# filler\n" * 500_000, limit_s=60).exit_code == 3


def test_what_is_no_text_is_kept_readable(session):
    assert session.run(r"printf 'a\377b'", limit_s=60).stdout == "a\ufffdb"


def test_a_shell_that_a_signal_ended_has_no_exit_status(session):
    assert session.run("kill -9 $$", limit_s=60).exit_code == -1


@pytest.mark.parametrize("script", ["sleep 300", "sleep 300 & exit 0", "trap '' TERM HUP; while :; do sleep 1; done"])
def test_a_command_that_takes_too_long_is_given_up(script, server, key):
    with joined(server, key) as made:
        began = time.monotonic()
        with pytest.raises(errors.CommandTimeoutError) as caught:
            made.run(script, limit_s=1)
        assert time.monotonic() - began < 30
    assert caught.value.retryable


def test_a_connection_that_breaks_in_the_middle_leaves_open_what_was_done(server, key):
    with joined(server, key) as made, pytest.raises(errors.ConnectionLostError) as caught:
        made.run("kill -9 $PPID; sleep 300", limit_s=60)
    assert caught.value.retryable


def test_what_the_system_says_of_a_way_that_is_none_is_told_in_plain_words():
    told = faults.meaning(OSError(errno.EHOSTUNREACH, "No route to host"), "box-7")
    assert (told.detail, told.context["reason"]) == ("box-7 cannot be reached: no route to host", "no route to host")
    assert faults.meaning(TimeoutError("timed out"), "box-7").context["reason"] == "no answer"


@pytest.mark.parametrize(
    ("code", "told"), [(1, "AllowTcpForwarding"), (2, "could not connect there"), (77, "ChannelException(77")]
)
def test_why_a_jump_host_opens_no_way_on_is_told_in_plain_words(code, told):
    assert told in faults.meaning(ssh_exception.ChannelException(code, "Connect failed"), "bastion").detail


def test_a_closed_session_runs_nothing(server, key):
    made = joined(server, key)
    made.close()
    made.close()
    with pytest.raises(errors.ConnectionLostError):
        made.run("true", limit_s=60)


def test_a_host_behind_another_is_reached_through_it(server, own_server, key):
    jump = Jump(target(own_server), key, FIRST_USE)
    with connect(target(server), key, trust=FIRST_USE, allowed=ALLOWED, jump=jump) as made:
        assert made.run("echo $SSH_CONNECTION", limit_s=60).stdout.split()[-1] == str(server.port)
        assert made.jump_key.line.split()[1] in own_server.known_hosts()


def test_what_is_out_of_reach_of_the_jump_host_is_told_as_that(own_server, key):
    jump = Jump(target(own_server), key, FIRST_USE)
    with pytest.raises(errors.UnreachableError) as caught:
        connect(Target("127.0.0.1", USER, free_port()), key, trust=FIRST_USE, allowed=ALLOWED, jump=jump)
    assert caught.value.context["cause"] == "jump"
    assert caught.value.context["jump_key"].split()[1] in own_server.known_hosts()


def test_nothing_is_dialled_for_a_way_to_the_metadata_of_the_jump_host(key):
    jump = Jump(Target("127.0.0.1", USER, free_port()), key, FIRST_USE)
    with pytest.raises(errors.TargetRefusedError, match="metadata"):
        connect(Target("169.254.43518", USER), key, trust=FIRST_USE, allowed=ALLOWED, jump=jump)


def test_the_jump_host_is_held_to_its_own_key(server, own_server, key):
    wrong = Trust(HostKeys((read_private_key(private_key("ed25519")).fingerprint,)))
    with pytest.raises(errors.HostKeyMismatchError) as caught:
        connect(target(server), key, trust=FIRST_USE, allowed=ALLOWED, jump=Jump(target(own_server), key, wrong))
    assert caught.value.context["hop"] == str(target(own_server))
    assert caught.value.detail.startswith(f"jump host {target(own_server)} shows the host key SHA256:")


def test_what_a_jump_host_refuses_is_told_as_the_jump_hosts(server, own_server):
    stranger = read_private_key(private_key("ed25519"))
    server.allow(stranger.public)
    jump = Jump(target(own_server), stranger, FIRST_USE)
    with pytest.raises(errors.AuthFailedError, match="jump host") as caught:
        connect(target(server), stranger, trust=FIRST_USE, allowed=ALLOWED, jump=jump)
    assert caught.value.context["hop"] == str(target(own_server))


def test_a_jump_host_that_does_not_resolve_is_named(server, key):
    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    jump = Jump(Target("bastion", USER), key, FIRST_USE)
    with pytest.raises(errors.UnreachableError, match="bastion does not resolve: Name or") as caught:
        connect(target(server), key, trust=FIRST_USE, allowed=ALLOWED, jump=jump, lookup=nowhere)
    assert (caught.value.context["hop"], caught.value.context["cause"]) == ("bastion", "dns")


def test_types_of_host_keys_that_are_asked_for_in_turn_take_no_longer_than_one(key, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(login.time, "monotonic", lambda: clock[0])

    def slow(dial, where, limits, kinds):
        clock[0] += limits.dial_s + limits.handshake_s - 0.1

    monkeypatch.setattr(login, "_shaken", slow)
    with pytest.raises(errors.NotSshError):
        connect(Target("127.0.0.1", USER), key, trust=Trust(HostKeys(("SHA256:x",))), allowed=ALLOWED)
    assert clock[0] < login.USUAL.dial_s + login.USUAL.handshake_s + 3


def test_neither_side_waits_for_acknowledgements(server, key):
    """A delayed acknowledgement takes 40 ms. One of many connections that is quicker shows that none was waited for."""

    def first_command_s() -> float:
        with joined(server, key) as made:
            began = time.perf_counter()
            made.run("exit", limit_s=60)
            return time.perf_counter() - began

    assert any(first_command_s() < 0.035 for _ in range(200))


def test_no_thread_is_left_behind(server, key):
    before = threading.active_count()
    with joined(server, key) as made:
        made.run("true", limit_s=60)
    until = time.monotonic() + 60
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.02)
    assert threading.active_count() <= before


def paramiko_exceptions() -> list[type[BaseException]]:
    import paramiko

    found = set()
    for module in pkgutil.iter_modules(paramiko.__path__):
        if "win" in module.name:
            continue
        loaded = importlib.import_module(f"paramiko.{module.name}")
        for _, kind in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(kind, BaseException) and kind.__module__.startswith("paramiko"):
                found.add(kind)
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", paramiko_exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_of_paramiko_has_a_meaning_of_its_own(kind):
    assert kind.__name__ in faults.MEANING


def test_an_exception_that_nobody_foresaw_is_not_retried():
    assert not faults.meaning(ZeroDivisionError("x"), "box").retryable
    assert type(faults.meaning(ZeroDivisionError("x"), "box")) is errors.SshError

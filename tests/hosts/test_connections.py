"""How connecting to real hosts goes, and fails: keys, host keys, ports, hosts in between. Each failure has its code."""

import pytest

from chalicelib.domain.adoption import Connection, judge_connection
from chalicelib.ssh.errors import SshError
from chalicelib.ssh.host_keys import parse_host_keys
from chalicelib.ssh.keys import PrivateKey, read_private_key
from chalicelib.ssh.login import USUAL
from chalicelib.ssh.session import Jump, Limits, Session, Target, Trust, connect
from chalicelib.ssh.targets import parse_allowed
from tests.hosts.host import Host
from tests.hosts.keys import Key
from tests.hosts.lab import Lab

QUICK = Limits(dial_s=0.5, handshake_s=1.0)
"""For who does not answer; whoever does has the usual time for it."""


def opened(key: Key) -> PrivateKey:
    return read_private_key(key.private, key.passphrase)


def target(host: Host, port: int = 0) -> Target:
    return Target(host.address, host.user, port or host.port)


def trusted(host: Host, *, is_pinned: bool = False) -> Trust:
    """Trust in the keys that a host has now."""
    return Trust(parse_host_keys(host.known_hosts(), host.address, host.port), is_pinned=is_pinned)


def reach(
    lab: Lab,
    host: Host,
    key: Key,
    *,
    port: int = 0,
    trust: Trust | None = None,
    allowed: str = "",
    limits: Limits = USUAL,
) -> Session:
    return connect(
        target(host, port),
        opened(key),
        trust=trust or trusted(host),
        allowed=parse_allowed([allowed or lab.public.cidr]),
        limits=limits,
    )


def code_of(error: SshError) -> str:
    """The code under which a check tells of an error; there is a fix for each."""
    told = judge_connection(Connection("there", "ubuntu", problem=error.code, detail=error.detail))[-1]
    assert told.fix
    return told.code


@pytest.mark.parametrize("host_key", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_key_works_with_every_kind_of_host_key(lab: Lab, kind: str, host_key: str):
    mine = lab.key(kind)
    host = lab.host(f"con-{kind}-{host_key}", key=mine, host_keys=[host_key])
    with reach(lab, host, mine) as session:
        assert session.host_key.line == host.host_keys[host_key]
        assert session.run("hostname; whoami", limit_s=60).stdout == f"{host.name}\nubuntu\n"
        assert session.run("whoami", sudo=True, limit_s=60).stdout == "root\n"


def test_a_key_with_a_passphrase_works_with_it(lab: Lab):
    locked = lab.key("rsa", passphrase="open sesame")
    host = lab.host("con-passphrase", key=locked, port=2222)
    with reach(lab, host, locked) as session:
        assert session.run("exit 3", limit_s=60).exit_code == 3


def test_a_key_that_is_not_authorized_is_refused(lab: Lab, key: Key):
    host = lab.host("con-closed", key=key)
    with pytest.raises(SshError) as refused:
        reach(lab, host, lab.key("ecdsa"))
    assert code_of(refused.value) == "auth-failed"


def test_a_host_key_that_is_another_is_refused_whether_it_was_given_or_pinned(lab: Lab, key: Key):
    host = lab.host("con-changed", key=key, host_keys=["ed25519", "rsa"])
    given, pinned = trusted(host), trusted(host, is_pinned=True)
    host.change_host_keys("ed25519", "rsa")
    for trust, code in ((given, "host-key-mismatch"), (pinned, "host-key-changed")):
        with pytest.raises(SshError) as refused:
            reach(lab, host, key, trust=trust)
        assert code_of(refused.value) == code


def test_a_pinned_key_is_asked_for_although_the_host_would_rather_show_another(lab: Lab, key: Key):
    host = lab.host("con-several", key=key, host_keys=["ed25519", "ecdsa", "rsa"])
    pinned = Trust(parse_host_keys(host.host_keys["rsa"], host.address, host.port), is_pinned=True)
    with reach(lab, host, key, trust=pinned) as session:
        assert session.host_key.line == host.host_keys["rsa"]


def test_a_host_behind_a_bastion_is_reached_through_it_with_a_key_of_its_own(lab: Lab, key: Key):
    lab.network("con-behind", "10.0.0.0/24")
    door = lab.host("con-door", key=key, networks={"public": "", "con-behind": "10.0.0.1"})
    mine = lab.key("rsa")
    inner = lab.host("con-inner", key=mine, port=2200, networks={"con-behind": "10.0.0.7"})
    jump = Jump(target(door), opened(key), trusted(door))
    allowed = parse_allowed([lab.public.cidr])
    with connect(target(inner), opened(mine), trust=trusted(inner), allowed=allowed, jump=jump) as session:
        assert session.run("hostname; echo $SSH_CLIENT", limit_s=60).stdout.split()[:2] == ["con-inner", "10.0.0.1"]
    inner.power_off()
    with pytest.raises(SshError) as failed:
        connect(target(inner), opened(mine), trust=trusted(inner), allowed=allowed, jump=jump, limits=QUICK)
    assert code_of(failed.value) == "unreachable"


def test_a_host_that_is_off_cut_off_or_deaf_on_that_port_is_unreachable(lab: Lab, key: Key):
    host = lab.host("con-dark", key=key)
    host.cut()
    for port in (0, 2222):
        with pytest.raises(SshError) as failed:
            reach(lab, host, key, port=port, limits=QUICK)
        assert code_of(failed.value) == "unreachable"
        host.mend()
    host.power_off()
    with pytest.raises(SshError) as failed:
        reach(lab, host, key, limits=QUICK)
    assert code_of(failed.value) == "unreachable"


def test_an_address_outside_of_the_allow_list_is_refused_before_anything_is_sent(lab: Lab, key: Key):
    host = lab.host("con-outside", key=key)
    with pytest.raises(SshError) as refused:
        reach(lab, host, key, allowed="10.0.0.0/8")
    assert code_of(refused.value) == "target-refused"


MAIL = """\
import socket
with socket.create_server(("", 2525)) as server:
    open("/run/mail", "w").close()
    guests = []
    while True:
        guests.append(server.accept()[0])
        guests[-1].sendall(b"220 mail.example ESMTP\\r\\n")
"""


def test_what_is_not_ssh_is_told_apart(lab: Lab, key: Key):
    host = lab.host("con-mail", key=key)
    host.run("cat > /root/mail.py; python3 /root/mail.py > /dev/null 2>&1 &", text=MAIL)
    host.run("until [ -e /run/mail ]; do sleep 0.01; done")
    with pytest.raises(SshError) as failed:
        reach(lab, host, key, port=2525, limits=QUICK)
    assert code_of(failed.value) == "not-ssh"


def test_a_command_that_hangs_is_ended(lab: Lab, key: Key):
    host = lab.host("con-hangs", key=key)
    with reach(lab, host, key) as session, pytest.raises(SshError) as failed:
        session.run("sleep 300", limit_s=0.3)
    assert code_of(failed.value) == "command-timeout"


def test_a_connection_that_breaks_is_lost(lab: Lab, key: Key):
    host = lab.host("con-broken", key=key)
    breaking = "(sleep 0.1; kill -9 $(pgrep -f '[s]shd: ubuntu')) > /dev/null 2>&1 &"
    with reach(lab, host, key) as session:
        host.run(breaking)
        with pytest.raises(SshError) as failed:
            session.run("sleep 300", limit_s=60)
    assert code_of(failed.value) == "connection-lost"

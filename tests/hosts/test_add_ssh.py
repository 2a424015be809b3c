"""The command line, a whole control plane and real hosts: adopted from here and by the control plane."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.plane import Plane
from tests.hosts import adopting
from tests.hosts.host import Host
from tests.hosts.keys import Key
from tests.hosts.lab import Lab
from tests.hosts.machine import Machine, User
from tests.hosts.networks import docker0

BULK = 20
BULK_LIMIT_S = 300
PASSPHRASE = "open sesame"


@pytest.fixture
def plane(second: Plane) -> Plane:
    """Not the one of the other tests, which need not see these many hosts."""
    return second


class Desk:
    """Whoever sits at the client: an ssh_config and a known_hosts of their own, and hosts that reach the API."""

    def __init__(self, lab: Lab, plane: Plane, key: Key, folder: Path) -> None:
        self.lab, self.plane, self.key, self.folder = lab, plane, key, folder
        self.known = folder / "known_hosts"
        self.config = folder / "config"
        self.known.write_text("")
        self.config.write_text("")

    def host(self, name: str, **more) -> Host:
        found = self.lab.host(name, **{"key": self.key, **more})
        self.meet(found)
        return found

    def meet(self, host: Host, *lines: str) -> None:
        """Let the host reach the API, and be known here by its name."""
        adopting.serve(self.plane, host)
        with self.known.open("a") as file:
            file.write(host.known_hosts())
        entry = [f"Host {host.name}", f"HostName {host.address}", f"User {host.user}", f"Port {host.port}", *lines]
        shared = [f"IdentityFile {self.key.path}", f"UserKnownHostsFile {self.known}", "IdentityAgent none"]
        with self.config.open("a") as file:
            file.write("\n  ".join([*entry, *shared, "StrictHostKeyChecking yes"]) + "\n")

    def add(self, *words: str, command=("pool", "add-ssh"), code: int | None = 0):
        return self.plane.tidepool(*command, "--from-here", "-F", str(self.config), *words, code=code)


@pytest.fixture
def desk(lab: Lab, plane: Plane, key: Key, tmp_path: Path) -> Desk:
    return Desk(lab, plane, key, tmp_path)


def test_a_host_is_adopted_through_the_system_s_ssh_runs_a_job_and_is_removed(desk, plane):
    host = desk.host("here-1")
    done = desk.add("here-1")
    shown = plane.instance("here-1")
    assert (shown["state"], shown["backend"], shown["host"]["from_here"]) == ("idle", "ssh", True)
    assert shown["host"]["host_key"] in done.err
    assert (
        "from here-1"
        in plane.tidepool("run", "--reuse", "--instance", "here-1", "--", "sh", "-c", "echo from $(hostname)").out
    )
    again = desk.add("here-1")
    assert "here-1: already there" in again.err
    assert "here-1 terminated\n" in plane.tidepool("pool", "rm", "-y", "here-1").out
    assert not [line for line in host.processes() if "tidepool" in line]


def test_a_host_of_a_private_network_that_knows_root_but_no_sudo_is_adopted_through_its_bastion(desk, plane, lab):
    lab.network("behind", "10.77.0.0/24")
    bastion = desk.host("head", networks={"public": "", "behind": "10.77.0.1"})
    rooted = {"users": [User("root", [desk.key])], "machine": Machine(sudo_installed=False)}
    inner = lab.host("innermost", key=desk.key, networks={"behind": "10.77.0.7"}, **rooted)
    desk.meet(inner, f"ProxyJump {bastion.name}")
    desk.add("innermost", "--network", "10.77.0.0/24")
    shown = plane.instance("innermost")
    assert (shown["state"], shown["host"]["address"]) == ("idle", "10.77.0.7")
    assert shown["host"]["jump"] == f"{bastion.user}@{bastion.address}"
    plane.tidepool("pool", "rm", "-y", "innermost")


def test_a_host_that_is_not_fit_says_why_and_keeps_nothing(desk, plane):
    host = desk.host("sudoless", users=[User("ubuntu", [desk.key], sudo="password")])
    for command in (("host", "check"), ("pool", "add-ssh")):
        done = desk.add("sudoless", command=command, code=9)
        assert "sudo-needs-password" in done.out
        assert "fix sudo: echo 'ubuntu ALL=(ALL) NOPASSWD:ALL'" in done.out
    assert not host.run("sh", "-c", "ls -d /etc/tidepool /var/lib/tidepool 2>/dev/null || true").stdout.strip()


@pytest.fixture
def opened(plane) -> Iterator[None]:
    """The user has the passphrase of the keys that have one in the environment."""
    plane.client["TIDEPOOL_KEY_PASSPHRASE"] = PASSPHRASE
    yield
    del plane.client["TIDEPOOL_KEY_PASSPHRASE"]


def test_the_control_plane_adopts_with_an_uploaded_key_of_another_port_and_keeps_that_port(desk, plane, lab, opened):
    key = lab.key("ecdsa", passphrase=PASSPHRASE)
    host = desk.host("uploaded", key=key, port=2222)
    words = ("-i", str(key.path), "--host-key", str(desk.known), f"{host.user}@{host.address}:2222")
    assert "can be adopted" in plane.tidepool("host", "check", *words).out
    done = plane.tidepool("pool", "add-ssh", *words, "--name", "uploaded")
    shown = plane.instance("uploaded")["host"]
    assert f"host key given: {shown['host_key']}" in done.err
    place = f"{host.target}:2222"
    assert shown["destination"] == place
    plane.tidepool("host", "refresh", "uploaded")
    assert place in plane.tidepool("host", "list").out
    assert place in plane.tidepool("instance", "show", "uploaded").out
    assert "already there" in plane.tidepool("pool", "add-ssh", *words, "--name", "uploaded").err
    plane.tidepool("pool", "rm", "-y", "uploaded")
    assert plane.instance("uploaded")["host"]["destination"] == place


def test_a_key_with_a_passphrase_that_nobody_told_is_not_sent(desk, plane, lab):
    key = lab.key("ecdsa", passphrase=PASSPHRASE)
    asked = plane.tidepool("host", "check", "-i", str(key.path), "ubuntu@192.0.2.1", code=2)
    assert "set TIDEPOOL_KEY_PASSPHRASE" in asked.err


def test_the_control_plane_goes_through_a_bastion_that_has_a_user_and_a_port_of_its_own(desk, plane, lab, opened):
    key = lab.key("rsa", passphrase=PASSPHRASE)
    lab.network("vault", "10.78.0.0/24")
    users = [User("jumper", [key], sudo="refused")]
    door = desk.host("vault-door", users=users, port=2200, networks={"public": "", "vault": "10.78.0.1"})
    inner = desk.host("vault-inner", key=key, port=2222, networks={"vault": "10.78.0.7"}, interfaces=[docker0()])
    way = ("-i", str(key.path), "-p", "2222", "-J", f"jumper@{door.address}:2200")
    plane.tidepool("pool", "add-ssh", *way, inner.target, "--network", "10.78.0.0/24", "--name", "box-7")
    shown = plane.instance("box-7")
    assert (shown["state"], shown["host"]["address"]) == ("idle", "10.78.0.7")
    assert (shown["host"]["destination"], shown["host"]["jump"]) == (
        f"{inner.target}:2222",
        f"jumper@{door.address}:2200",
    )
    ran = plane.tidepool("run", "--reuse", "--instance", "box-7", "--no-code", "--", "hostname")
    assert ran.out == "vault-inner\n"
    plane.tidepool("pool", "rm", "-y", "box-7")
    door.change_host_keys()
    refused = json.loads(plane.tidepool("host", "check", *way, inner.target, "--json", code=9).out)
    assert refused[0]["code"] == "jump-host-key"
    for host in (door, inner):
        assert not host.run("ls -d /etc/tidepool /var/lib/tidepool 2>/dev/null || true").stdout


def test_a_client_that_is_killed_is_gone_on_with(desk, plane):
    """Between the scripts, whenever that is: the second command ends what the first began."""
    desk.host("resumed")
    process = plane.start("pool", "add-ssh", "--from-here", "-F", str(desk.config), "resumed", stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if "install" in line:
            break
    process.kill()
    process.communicate()
    first = plane.instance("resumed")["instance_id"]
    desk.add("resumed")
    assert plane.instance("resumed")["instance_id"] == first
    plane.tidepool("pool", "rm", "-y", "resumed")


@pytest.fixture(scope="module")
def twenty(lab, key) -> Iterator[list[Host]]:
    """Twenty hosts; nobody knows `bulk-07` by its key any more, and `bulk-03` has no free sudo."""
    plans = [{"name": f"bulk-{number:02}", "key": key} for number in range(1, BULK + 1)]
    plans[2] = {"name": "bulk-03", "users": [User("ubuntu", [key], sudo="refused")]}
    hosts = lab.hosts(plans)
    yield hosts
    for host in hosts:
        host.kill()


def test_twenty_hosts_at_once_of_which_three_are_bad(desk, twenty):
    """One without free sudo, one with another host key than is known, one that is off."""
    for host in twenty:
        desk.meet(host)
    twenty[6].change_host_keys()
    twenty[10].power_off()
    words = (f"bulk-[01-{BULK}]", "-o", "ConnectTimeout=30", "--json")
    done = desk.add(*words, code=8)
    results = {result["host"]: result for result in json.loads(done.out)}
    bad = {name: result["code"] for name, result in results.items() if result["result"] != "added"}
    assert bad == {"bulk-03": "sudo-needs-password", "bulk-07": "host-key-changed", "bulk-11": "unreachable"}
    again = desk.add(*words, code=8)
    assert [result["result"] for result in json.loads(again.out)].count("already there") == BULK - 3


def test_another_control_plane_adopts_twenty_at_once_by_itself_of_which_three_are_bad(first, twenty, key, tmp_path):
    """Whosever they are. One has no free sudo, one shows another host key than is given, one does not know the user."""
    for host in twenty:
        adopting.serve(first, host)
        host.power_on()
    known, places = tmp_path / "known", tmp_path / "places"
    known.write_text("".join(host.known_hosts() for host in twenty))
    twenty[6].change_host_keys()
    targets = [host.target for host in twenty[:-1]] + [f"nobody@{twenty[-1].address}"]
    places.write_text("\n".join(targets))
    words = ("-i", str(key.path), "--host-key", str(known), "--hosts", str(places), "--take-over")
    adding = first.start("pool", "add-ssh", *words)
    out, err = adding.communicate(timeout=BULK_LIMIT_S)
    assert adding.returncode == 9, err
    said = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if line[0] != " "}
    assert said.keys() >= set(targets)
    bad = {2: "sudo-needs-password", 6: "host-key-mismatch", BULK - 1: "auth-failed"}
    for number, target in enumerate(targets):
        assert said[target].startswith(f"failed: {bad[number]}: " if number in bad else "added as ")
    assert f"20 hosts: {BULK - 3} added, 3 failed" in out + err

"""The command line, a whole control plane and real hosts: adopted from here and by the control plane."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.plane import Plane
from tests.hosts import adopting
from tests.hosts.host import Host
from tests.hosts.keys import Key
from tests.hosts.lab import Lab
from tests.hosts.machine import User

BULK = 20


@pytest.fixture
def plane(neighbour: Plane) -> Plane:
    """The control plane of these tests: their many hosts are not to be seen by others."""
    return neighbour


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


def test_a_host_of_a_private_network_is_adopted_through_its_bastion(desk, plane, lab):
    lab.network("behind", "10.77.0.0/24")
    bastion = desk.host("head", networks={"public": "", "behind": "10.77.0.1"})
    inner = lab.host("innermost", key=desk.key, networks={"behind": "10.77.0.7"})
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


def test_the_control_plane_adopts_with_an_uploaded_key_of_another_port(desk, plane, lab):
    key = lab.key("ecdsa", passphrase="open sesame")
    host = desk.host("uploaded", key=key, port=2222)
    words = (
        "-i",
        str(key.path),
        "--host-key",
        str(desk.known),
        f"{host.user}@{host.address}:2222",
        "--name",
        "uploaded",
    )
    checked = plane.tidepool("host", "check", *words[:-2], code=None)
    assert (checked.code, "set TIDEPOOL_KEY_PASSPHRASE" in checked.err) == (2, True)
    plane.client["TIDEPOOL_KEY_PASSPHRASE"] = "open sesame"
    try:
        assert "can be adopted" in plane.tidepool("host", "check", *words[:-2]).out
        done = plane.tidepool("pool", "add-ssh", *words)
    finally:
        del plane.client["TIDEPOOL_KEY_PASSPHRASE"]
    assert f"host key given: {plane.instance('uploaded')['host']['host_key']}" in done.err
    assert ":2222" in plane.tidepool("host", "list").out
    plane.tidepool("pool", "rm", "-y", "uploaded")


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


def test_twenty_hosts_at_once_of_which_three_are_bad(desk, plane, lab):
    """One without free sudo, one with another host key than is known, one that is off."""
    names = [f"bulk-{number:02}" for number in range(1, BULK + 1)]
    plans = [{"name": name, "key": desk.key} for name in names]
    plans[2] = {"name": "bulk-03", "users": [User("ubuntu", [desk.key], sudo="refused")]}
    hosts = lab.hosts(plans)
    for host in hosts:
        desk.meet(host)
    hosts[6].change_host_keys()
    hosts[10].power_off()
    words = (f"bulk-[01-{BULK}]", "-o", "ConnectTimeout=3", "--json")
    done = desk.add(*words, code=8)
    results = {result["host"]: result for result in json.loads(done.out)}
    bad = {name: result["code"] for name, result in results.items() if result["result"] != "added"}
    assert bad == {"bulk-03": "sudo-needs-password", "bulk-07": "host-key-changed", "bulk-11": "unreachable"}
    again = desk.add(*words, code=8)
    assert [result["result"] for result in json.loads(again.out)].count("already there") == BULK - 3

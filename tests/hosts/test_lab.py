"""The lab keeps its promises: each is seen through a real ssh client, from outside."""

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import adopting
from tests.hosts.host import HostError
from tests.hosts.keys import Key
from tests.hosts.lab import Lab, obstacle
from tests.hosts.machine import Machine, User
from tests.hosts.networks import Interface, WiringError, docker0, tailscale0

ROOT = Path(__file__).parents[2]


class Greeting(http.server.BaseHTTPRequestHandler):
    """Says on which name it was asked."""

    def do_GET(self) -> None:
        text = f"hello to {self.headers['Host']}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[int]:
    """A server on 127.0.0.1 of the tests; the value is its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greeting) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made.server_port
        made.shutdown()
        thread.join()


def test_a_host_is_a_machine_of_its_own_behind_a_real_sshd(lab: Lab, key: Key):
    host = lab.host("alone", key=key)
    seen = lab.ssh(host, "hostname; whoami; sudo -n whoami; ls /home; ps -o comm= -p 1", key=key)
    assert seen.stdout.split() == ["alone", "ubuntu", "root", "ubuntu", "systemd"], seen.stderr


@pytest.mark.parametrize(
    ("kind", "form"), [("ed25519", "OPENSSH"), ("ecdsa", "OPENSSH"), ("rsa", "OPENSSH"), ("rsa", "PEM")]
)
def test_each_kind_of_key_opens_a_host_with_a_host_key_of_that_kind(lab: Lab, kind, form):
    mine = lab.key(kind, form=form)
    host = lab.host(f"{kind}-{form.lower()}", key=mine, host_keys=[kind])
    assert list(host.host_keys) == [kind]
    assert lab.ssh(host, "true", key=mine).returncode == 0


def test_another_key_does_not_open_it(lab: Lab, key: Key):
    host = lab.host("closed", key=key)
    refused = lab.ssh(host, "true", key=lab.key("ecdsa"))
    assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True)


def test_a_key_with_a_passphrase_is_closed_without_it(lab: Lab, tmp_path):
    locked = lab.key("ed25519", passphrase="open sesame")
    host = lab.host("passphrase", key=locked)
    assert lab.ssh(host, "true", key=locked).returncode == 255
    known = tmp_path / "known"
    known.write_text(host.known_hosts())
    helper = tmp_path / "helper"
    helper.write_text("#!/bin/sh\necho open sesame\n")
    helper.chmod(0o700)
    options = ["-F", "/dev/null", "-o", f"UserKnownHostsFile={known}", "-i", str(locked.path)]
    asked = {**os.environ, "SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force"}
    assert subprocess.run(["ssh", *options, host.target, "true"], check=False, env=asked, timeout=60).returncode == 0


def test_sshd_listens_on_the_port_it_was_given_and_on_no_other(lab: Lab, key: Key):
    host = lab.host("port", key=key, port=2222)
    assert lab.ssh(host, "true", key=key).returncode == 0
    assert "refused" in lab.ssh(host, "true", key=key, options=["-p", "22"]).stderr


def test_a_changed_host_key_is_refused_by_who_knew_the_old_one(lab: Lab, key: Key, tmp_path):
    host = lab.host("changed", key=key)
    known = tmp_path / "known"
    known.write_text(host.known_hosts())
    options = ["-o", f"UserKnownHostsFile={known}"]
    assert lab.ssh(host, "true", key=key, options=options).returncode == 0
    host.change_host_keys("ed25519")
    refused = lab.ssh(host, "true", key=key, options=options)
    assert "verification failed" in refused.stderr
    assert lab.ssh(host, "true", key=key).returncode == 0


@pytest.mark.parametrize(
    ("user", "installed", "said"),
    [
        (User(sudo="free"), True, "root"),
        (User(sudo="password"), True, "a password is required"),
        (User(sudo="refused"), True, "password is required"),
        (User(sudo="free"), False, "not found"),
    ],
    ids=["free", "password", "refused", "absent"],
)
def test_sudo_is_as_free_as_was_asked_for(lab: Lab, key: Key, user, installed, said):
    user = User(user.name, [key], sudo=user.sudo)
    name = f"sudo-{user.sudo}-{'there' if installed else 'absent'}"
    host = lab.host(name, users=[user], machine=Machine(sudo_installed=installed))
    told = lab.ssh(host, "sudo -n whoami", key=key)
    assert said in told.stdout + told.stderr


def test_a_host_behind_a_bastion_is_reached_through_it_alone(lab: Lab, key: Key):
    lab.network("behind", "10.7.0.0/24")
    bastion = lab.host("bastion", key=key, networks={"public": "", "behind": "10.7.0.1"})
    inner = lab.host("inner", key=key, networks={"behind": "10.7.0.7"})
    assert inner.address == "10.7.0.7"
    assert lab.ssh(inner, "true", key=key, options=["-o", "ConnectTimeout=1"]).returncode == 255
    there = lab.ssh(inner, "hostname; echo $SSH_CLIENT", key=key, jump=bastion)
    assert there.stdout.split()[:2] == ["inner", "10.7.0.1"], there.stderr


def test_two_networks_may_have_the_same_addresses(lab: Lab, key: Key):
    seen = []
    for side in ("east", "west"):
        lab.network(side, "192.168.0.0/24")
        door = lab.host(f"{side}-door", key=key, networks={"public": "", side: "192.168.0.1"})
        host = lab.host(f"{side}-host", key=key, networks={side: "192.168.0.2"})
        seen.append(lab.ssh(host, "hostname", key=key, jump=door).stdout.strip())
    assert seen == ["east-host", "west-host"]


def test_hosts_of_a_network_reach_each_other_also_over_ipv6_and_carrier_grade_addresses(lab: Lab, key: Key):
    lab.network("wide", "100.64.3.0/24", "fd00:5::/64")
    one, two = lab.hosts([{"name": f"wide-{n}", "key": key, "networks": {"public": "", "wide": ""}} for n in (1, 2)])
    for address in two.cables[1].addresses:
        place = address.partition("/")[0]
        assert "SSH-2.0" in one.run("bash", "-c", f"exec 3<>/dev/tcp/{place}/22; head -n 1 <&3").stdout
    assert one.address_in("wide").startswith("100.64.3.")


def test_the_tests_reach_a_host_by_ipv6(lab: Lab, key: Key):
    host = lab.host("six", key=key)
    place = host.cables[0].addresses[1].partition("/")[0]
    seen = lab.ssh(host, "echo $SSH_CLIENT", key=key, address=place)
    assert ":" in seen.stdout.split()[0], seen.stderr


def test_other_interfaces_come_first_when_they_are_to(lab: Lab, key: Key):
    host = lab.host("many", key=key, interfaces=[docker0(), tailscale0(), Interface("br-0a1b2c", "172.18.0.1/16")])
    lines = lab.ssh(host, "ip -o -4 addr", key=key).stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["lo", "docker0", "tailscale0", "br-0a1b2c", "eth0"]


def test_a_server_of_the_tests_has_the_same_address_inside_and_is_cut_off_with_the_host(
    lab: Lab, key: Key, server: int
):
    host = lab.host("caller", key=key)
    url = f"http://127.0.0.1:{server}/"
    fetch = f"curl -sS -m 60 {url}"
    assert lab.ssh(host, fetch, key=key).returncode == 7  # refused
    host.serve(server)
    assert lab.ssh(host, fetch, key=key).stdout == f"hello to 127.0.0.1:{server}\n"
    host.cut()
    assert host.run(f"curl -sS -m 1 {url}", check=False).returncode == 28
    host.mend()
    assert host.run(fetch).stdout.startswith("hello")
    host.reboot()
    assert host.run(fetch).stdout.startswith("hello")


def test_a_connection_outlives_a_cut(lab: Lab, key: Key):
    host = lab.host("blip", key=key)
    known = lab.folder / "known-blip"
    known.write_text(host.known_hosts())
    options = ["-F", "/dev/null", "-o", f"UserKnownHostsFile={known}", "-i", str(key.path)]
    command = ["ssh", *options, host.target, "while read line; do echo got $line; done"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as talk:
        assert talk.stdin
        assert talk.stdout
        talk.stdin.write("one\n")
        assert talk.stdout.readline() == "got one\n"
        host.cut()
        talk.stdin.write("two\n")
        assert lab.ssh(host, "true", key=key, options=["-o", "ConnectTimeout=1"]).returncode == 255
        host.mend()
        assert talk.stdout.readline() == "got two\n"
        talk.stdin.close()


def test_packets_are_delayed_where_the_kernel_can(lab: Lab, key: Key):
    host = lab.host("slow", key=key)
    try:
        host.degrade(delay_ms=200)
    except WiringError as error:
        if "qdisc kind is unknown" in str(error):
            pytest.skip("this kernel has no netem")
        raise
    began = time.monotonic()
    assert lab.ssh(host, "true", key=key).returncode == 0
    assert time.monotonic() - began > 0.8  # a handshake and a log-in are several round trips
    host.degrade()


def test_a_reboot_keeps_files_and_loses_processes(lab: Lab, key: Key):
    host = lab.host("rebooted", key=key)
    host.run("echo kept > /var/lib/kept; sleep 1000 > /dev/null 2>&1 &")
    boot = host.read("/proc/sys/kernel/random/boot_id")
    adopting.until(lambda: "sleep 1000" in host.processes(), "it does not run")
    host.reboot()
    assert host.processes() == []
    assert lab.ssh(host, "cat /var/lib/kept", key=key).stdout == "kept\n"
    assert host.read("/proc/sys/kernel/random/boot_id") != boot


def test_a_host_that_is_off_answers_nothing(lab: Lab, key: Key):
    host = lab.host("dark", key=key)
    host.power_off()
    assert not host.is_on
    with pytest.raises(HostError, match="dark is off"):
        host.run("true")
    assert lab.ssh(host, "true", key=key, options=["-o", "ConnectTimeout=1"]).returncode == 255


def test_what_a_visitor_leaves_is_seen_and_what_it_takes_away_again_is_not(lab: Lab, key: Key):
    host = lab.host("tree", key=key)
    before = host.files()
    lab.ssh(
        host, "sudo -n sh -c 'mkdir -p /opt/x && echo hi > /opt/x/y && rm /etc/issue && chmod 700 /etc/skel'", key=key
    )
    lab.ssh(host, "touch /tmp/mine /run/lock/me || sudo -n touch /run/left", key=key)
    changed = {path: entry for path, entry in host.files().items() if before.get(path) != entry}
    assert set(changed) == {"/opt/x", "/opt/x/y", "/etc/issue", "/etc/skel", "/tmp/mine", "/run/left"}
    assert (changed["/etc/issue"].kind, changed["/opt/x/y"].size, changed["/tmp/mine"].owner) == (
        "removed",
        3,
        "1000:1000",
    )
    host.run("rm -r /opt/x /tmp/mine /run/left; chmod 755 /etc/skel")
    assert set(host.files()) - set(before) == {"/etc/issue"}


def test_twenty_hosts_are_up_within_seconds(lab: Lab, key: Key):
    began = time.monotonic()
    hosts = lab.hosts([{"name": f"many-{n}", "key": key} for n in range(20)])
    assert time.monotonic() - began < 30.0  # 1.2 s on two quiet cores
    assert len({host.address for host in hosts}) == 20
    assert lab.ssh(hosts[-1], "hostname", key=key).stdout == "many-19\n"
    for host in hosts:
        host.power_off()


def test_a_host_that_cannot_come_up_says_why(lab: Lab, key: Key):
    with pytest.raises(ValueError, match=r"10.9.9.9 is not of network public"):
        lab.host("nowhere", key=key, networks={"public": "10.9.9.9"})


def test_where_there_can_be_no_lab_it_is_said_why(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert obstacle() == "a lab needs root, for network namespaces"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os.path, "exists", lambda path: path != "/usr/bin/sudo")
    assert obstacle() == "a lab needs /usr/bin/sudo: run tests/hosts/install.sh"


CRASH = """
import sys, time
from tests.hosts.lab import Lab
with Lab() as lab:
    host = lab.host("lost", key=lab.key())
    host.run("sleep 1000 > /dev/null 2>&1 &")
    print(lab.keeper_pid, host.pid, lab.public.cidr, flush=True)
    time.sleep(600)
"""


def test_nothing_is_left_when_the_tests_die(lab: Lab):
    with subprocess.Popen([sys.executable, "-c", CRASH], cwd=ROOT, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout
        *pids, cidr = tests.stdout.readline().split()
        tests.send_signal(signal.SIGKILL)
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
        left = [pid for pid in pids if Path("/proc", pid).exists()]
        if not left and cidr not in routes:
            return
        time.sleep(0.02)
    pytest.fail(f"still there: {left or cidr}")

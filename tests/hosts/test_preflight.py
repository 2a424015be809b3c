"""What stands in the way of an adoption, on real hosts: each has its own code, and a fix for that system."""

import http.server
import ipaddress
import json
import threading
from collections.abc import Iterator

import pytest

from chalicelib.domain import gpu_requirements
from chalicelib.domain.findings import FINDINGS, Status
from chalicelib.domain.networks import internal_address, parse_network
from tests.hosts import gpus
from tests.hosts.carried import check, look
from tests.hosts.keys import Key
from tests.hosts.lab import Lab
from tests.hosts.machine import Machine, User
from tests.hosts.networks import docker0, tailscale0


class Health(http.server.BaseHTTPRequestHandler):
    """An API as far as the probe goes; below `/portal` it is a proxy that wants a sign-in."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(511 if self.path.startswith("/portal") else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def api() -> Iterator[int]:
    """The port of an API on 127.0.0.1."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def failures(results) -> list[str]:
    return [code for code, each in results.items() if each.status is Status.FAIL]


FINE = Machine(docker="nvidia", driver=gpus.EIGHT_H100)
MACHINES = {
    "os-unsupported": (Machine(kernel="FreeBSD"), "use a Linux host"),
    "os-unknown": (Machine(system="nixos-24.05"), ""),
    "architecture-unsupported": (Machine(arch="ppc64le"), "aarch64"),
    "python-missing": (Machine(python="absent"), "sudo apt-get install -y python3"),
    "python-too-old": (Machine(python="3.7.17", system="rocky-9"), "sudo dnf install -y python3.11"),
    "python-without-tls": (Machine(has_tls=False), "libpython3-stdlib"),
    "sudo-missing": (Machine(sudo_installed=False, system="alpine-3.20"), "su -c 'apk add sudo'"),
    "no-systemd": (Machine(systemd=False), ""),
    "disk-full": (Machine(disk_mib=500), "docker image prune"),
    "disk-low": (Machine(disk_mib=5000), "docker image prune"),
    "clock-wrong": (Machine(clock_skew_s=-900), "sudo timedatectl set-ntp true"),
    "clock-skewed": (Machine(clock_skew_s=30), "sudo timedatectl set-ntp true"),
    "docker-missing": (Machine(), "get.docker.com"),
    "docker-not-running": (Machine(docker="down"), "sudo systemctl enable --now docker"),
    "driver-missing": (Machine(driver=gpus.NOT_INSTALLED, docker="nvidia"), "nvidia-driver"),
    "driver-mismatch": (Machine(driver=gpus.MISMATCH, docker="nvidia"), "sudo reboot"),
    "driver-not-working": (Machine(driver=gpus.NO_DEVICES, docker="nvidia"), "dmesg"),
    "gpu-lost": (Machine(driver=gpus.GPU_LOST, docker="nvidia"), "xid"),
    "cuda-too-old": (Machine(driver=gpus.CUDA_11_8, docker="nvidia"), "driver 530 or newer"),
    "toolkit-missing": (Machine(driver=gpus.ONE_L40S, docker="plain"), "apt-get install -y nvidia-container-toolkit"),
    "toolkit-not-configured": (Machine(driver=gpus.ONE_L40S, docker="unconfigured"), "nvidia-ctk runtime configure"),
    "gpus-all-split": (Machine(driver=gpus.CUT_BY_MIG, docker="nvidia"), "sudo nvidia-smi -i 0 -mig 0"),
}


@pytest.mark.parametrize("code", MACHINES)
def test_each_thing_that_is_wrong_with_a_machine_has_its_code_and_its_fix(lab: Lab, key: Key, api: int, code: str):
    machine, fix = MACHINES[code]
    host = lab.host(f"pre-{code}", key=key, machine=machine)
    host.serve(api)
    found = check(lab, host, key, f"http://127.0.0.1:{api}")
    assert found[code].status is FINDINGS[code].status, found
    assert fix in found[code].fix
    assert failures(found) == ([code] if FINDINGS[code].status is Status.FAIL else []), found
    host.power_off()


@pytest.mark.parametrize(
    ("sudo", "code"),
    [
        ("password", "sudo-needs-password"),
        ("refused", "sudo-needs-password"),
        ("forbidden", "sudo-not-allowed"),
        ("tty", "sudo-needs-tty"),
    ],
)
def test_each_way_in_which_sudo_refuses_has_its_code(lab: Lab, key: Key, api: int, sudo: str, code: str):
    """sudo does not say that somebody is not in sudoers before the password was typed, so that looks the same."""
    host = lab.host(f"pre-sudo-{sudo}", users=[User("deploy", [key], sudo=sudo)])
    host.serve(api)
    found = check(lab, host, key, f"http://127.0.0.1:{api}")
    assert failures(found) == [code]
    assert "deploy" in found[code].fix


@pytest.mark.parametrize("docker", ["nvidia", "cdi"])
def test_a_machine_where_all_is_well_has_nothing_against_it(lab: Lab, key: Key, api: int, docker: str):
    host = lab.host(f"pre-fine-{docker}", key=key, machine=Machine(docker=docker, driver=gpus.EIGHT_H100))
    host.serve(api)
    before, units = host.files(), host.units()
    found = look(lab, host, key, f"http://127.0.0.1:{api}")
    assert check(lab, host, key, f"http://127.0.0.1:{api}") == {}
    assert [gpu.name for gpu in found.nvidia.gpus] == ["NVIDIA H100 80GB HBM3"] * 8
    assert (host.files(), host.units()) == (before, units)


def test_several_things_are_told_at_once(lab: Lab, key: Key, api: int):
    machine = Machine(python="absent", docker="down", clock_skew_s=3600, disk_mib=200, driver=gpus.NO_DRIVER)
    host = lab.host("pre-wreck", users=[User("ubuntu", [key], sudo="password")], machine=machine)
    found = failures(check(lab, host, key, f"http://127.0.0.1:{api}"))
    expected = {
        "python-missing",
        "sudo-needs-password",
        "disk-full",
        "clock-wrong",
        "api-loopback",
        "driver-not-working",
    }
    assert expected <= set(found)


def test_gpus_that_were_stated_and_are_not_there_are_missing(lab: Lab, key: Key, api: int):
    host = lab.host("pre-gpus", key=key, machine=Machine(driver=gpus.MIXED, docker="nvidia"))
    host.serve(api)
    url = f"http://127.0.0.1:{api}"
    assert failures(check(lab, host, key, url, gpu=gpu_requirements.parse("A100:8", "gpu"))) == ["gpus-missing"]
    assert failures(check(lab, host, key, url, gpu=gpu_requirements.parse("L40", "gpu"))) == ["gpus-missing"]
    assert failures(check(lab, host, key, url, gpu=gpu_requirements.parse("A100:1", "gpu"))) == []


def test_an_api_that_cannot_be_called_is_told_by_where_it_fails(lab: Lab, key: Key, api: int):
    names = {"api.tidepool.test": "127.0.0.1"}
    host = lab.host("pre-api", key=key, machine=Machine(names=names))
    named = f"http://api.tidepool.test:{api}"
    assert failures(check(lab, host, key, named)) == ["api-unreachable"]
    host.serve(api)
    assert failures(check(lab, host, key, named)) == []
    assert failures(check(lab, host, key, f"{named}/portal")) == ["api-wrong-answer"]
    deaf = lab.host("pre-dns", key=key, machine=Machine(names=names, dns="broken"))
    deaf.serve(api)
    found = check(lab, deaf, key, named)
    assert "dns-failed" in failures(found)
    assert "getent hosts api.tidepool.test" in found["dns-failed"].fix


def test_a_host_of_another_control_plane_is_told_with_its_owner(lab: Lab, key: Key, api: int):
    host = lab.host("pre-owned", key=key)
    host.serve(api)
    owner = {
        "control_plane": "plane-2",
        "control_plane_url": "https://other.test",
        "project": "p",
        "instance_id": "i-9",
    }
    host.run("mkdir /etc/tidepool; cat > /etc/tidepool/owner.json", text=json.dumps(owner) + "\n")
    found = check(lab, host, key, f"http://127.0.0.1:{api}")
    assert failures(found) == ["owner-foreign"]
    assert "https://other.test" in found["owner-foreign"].found


def test_the_internal_address_is_never_that_of_a_container_bridge_or_an_overlay(lab: Lab, key: Key, api: int):
    """`docker0` is first in the list, and the overlay's address is carrier-grade, as that of a real provider may be."""
    lab.network("private", "10.20.0.0/24")
    lab.network("carrier", "100.64.9.0/24")
    places = {"public": "", "private": "10.20.0.7", "carrier": "100.64.9.7"}
    host = lab.host("pre-addresses", key=key, networks=places, interfaces=[docker0(), tailscale0()])
    host.serve(api)
    found = look(lab, host, key, f"http://127.0.0.1:{api}")
    assert next(each.interface for each in found.addresses if each.interface != "lo") == "docker0"
    chosen = internal_address(found.addresses, found.default_interfaces)
    assert chosen.ip == ipaddress.ip_address(host.address)
    for asked, given in {"10.20.0.0/24": "10.20.0.7", "100.64.9.0/24": "100.64.9.7"}.items():
        picked = internal_address(found.addresses, found.default_interfaces, parse_network(asked))
        assert picked.ip == ipaddress.ip_address(given)

"""What the hosts of a lab show to who looks at them by ssh: GPUs, Docker, services, Python, clock, names, disk."""

import json
import time

import pytest

from tests.hosts import gpus
from tests.hosts.host import Host
from tests.hosts.keys import Key
from tests.hosts.lab import Lab
from tests.hosts.machine import Machine, User

UNIT = """\
[Unit]
Description=Says what it was given

[Service]
Environment=ONE=1
EnvironmentFile=/etc/talker.env
ExecStart=/bin/sh -c 'echo "$ONE $TWO"; sleep 1000 & echo $$ > /run/talker.pid; exec sleep 2000'
Restart=always
RestartSec=100ms
KillMode={mode}

[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def docker_host(lab: Lab, key: Key) -> Host:
    machine = Machine(driver=gpus.EIGHT_H100, docker="nvidia")
    users = [User("ubuntu", [key]), User("member", [key], sudo="refused", has_docker=True)]
    return lab.host("docker", users=users, machine=machine)


def wait_for(condition, limit_s=60.0):
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_eight_gpus_are_shown_in_the_table_in_csv_and_on_the_bus(lab: Lab, key: Key, docker_host: Host):
    table = lab.ssh(docker_host, "nvidia-smi", key=key).stdout
    assert "CUDA Version: 12.4" in table
    rows = lab.ssh(
        docker_host, "nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits", key=key
    ).stdout
    assert rows.splitlines() == ["NVIDIA H100 80GB HBM3, 81559"] * 8
    assert lab.ssh(docker_host, "lspci -nn -d 10de:", key=key).stdout.count("[10de:2330]") == 8
    assert "550.54.15" in lab.ssh(docker_host, "cat /proc/driver/nvidia/version", key=key).stdout


@pytest.mark.parametrize(
    ("driver", "said", "code"),
    [
        (gpus.MIXED, "A100-SXM4-40GB (UUID", 0),
        (gpus.CUT_BY_MIG, "MIG 3g.20gb", 0),
        (gpus.NO_DEVICES, "No devices were found", 6),
        (gpus.MISMATCH, "Driver/library version mismatch", 18),
        (gpus.NO_DRIVER, "couldn't communicate with the NVIDIA driver", 9),
        (gpus.NOT_INSTALLED, "not found", 127),
    ],
    ids=["mixed", "mig", "none", "mismatch", "not-loaded", "not-installed"],
)
def test_a_driver_says_what_its_state_is(lab: Lab, key: Key, driver, said, code):
    host = lab.host(f"driver-{abs(hash(driver))}", key=key, machine=Machine(driver=driver))
    told = lab.ssh(host, "nvidia-smi -L", key=key)
    assert (said in told.stdout + told.stderr, told.returncode) == (True, code)
    assert "NVIDIA Corporation" in lab.ssh(host, "lspci", key=key).stdout


@pytest.mark.parametrize(
    ("state", "command", "said"),
    [
        ("absent", "docker info", "not found"),
        ("down", "sudo -n docker info", "Cannot connect to the Docker daemon"),
        ("plain", "sudo -n docker run --gpus all ubuntu true", "could not select device driver"),
        ("plain", "docker info", "permission denied"),
        ("cdi", "sudo -n docker info --format '{{json .DiscoveredDevices}}'", "nvidia.com/gpu=all"),
        ("nvidia", "sudo -n docker info --format '{{json .Runtimes}}'", '"nvidia"'),
    ],
)
def test_docker_is_in_the_state_that_was_asked_for(lab: Lab, key: Key, state, command, said):
    machine = Machine(driver=gpus.ONE_L40S, docker=state)
    host = lab.host(f"docker-{state}-{len(command)}", key=key, machine=machine)
    told = lab.ssh(host, command, key=key)
    assert said in told.stdout + told.stderr


def test_a_container_has_its_own_files_and_ends_with_the_status_of_its_command(lab: Lab, key: Key, docker_host: Host):
    before = docker_host.files()
    command = (
        "docker run --name one --label a=b --env GREETING --volume /var/tmp:/data --workdir /data --gpus all image "
    )
    script = "echo $GREETING; pwd; touch /inside; ps -o pid= -C init; exit 3"
    told = docker_host.run(f"GREETING=hello {command} sh -c '{script}'", check=False)
    assert (told.stdout, told.returncode) == ("hello\n/data\n", 3)
    shown = json.loads(docker_host.run("docker", "inspect", "--type", "container", "one").stdout)
    assert shown[0]["State"] == {"Status": "exited", "Running": False, "ExitCode": 3}
    assert docker_host.run("docker rm --force --volumes one; docker ps -aq").stdout == "one\n"
    assert docker_host.files() == before


def test_a_container_outlives_its_client_and_is_found_by_its_label(lab: Lab, key: Key, docker_host: Host):
    client = "docker run --name long --label a=c --sig-proxy=false image sleep 3000"
    docker_host.run(f"{client} & until docker ps --filter label=a=c | grep -w long; do sleep 0.1; done; kill $!")
    assert docker_host.run("docker", "ps", "--filter", "label=a=c", "--format", "{{.Names}}").stdout == "long\n"
    assert docker_host.run("docker", "ps", "--filter", "label=a=x", "--format", "{{.Names}}").stdout == ""
    assert "sleep 3000" in docker_host.processes()
    assert docker_host.run("docker stop -t 2 long; docker wait long; docker rm long").stdout.split() == [
        "long",
        "143",
        "long",
    ]
    assert "sleep 3000" not in docker_host.processes()


def test_members_of_its_group_use_docker_without_sudo(lab: Lab, key: Key, docker_host: Host):
    assert lab.ssh(docker_host, "docker info", key=key, user="member").returncode == 0
    assert lab.ssh(docker_host, "docker info", key=key).returncode == 1


@pytest.mark.parametrize("mode", ["process", "control-group"])
def test_a_unit_is_started_restarted_and_stopped_as_it_says(lab: Lab, key: Key, mode):
    host = lab.host(f"unit-{mode}", key=key)
    path = "/etc/systemd/system/talker.service"
    host.run(f"cat > {path}; echo TWO=2 > /etc/talker.env", text=UNIT.format(mode=mode))
    refused = lab.ssh(host, "systemctl start talker", key=key)
    assert "authentication required" in refused.stderr
    assert (
        lab.ssh(host, "sudo -n systemctl daemon-reload && sudo -n systemctl enable --now talker", key=key).returncode
        == 0
    )
    wait_for(lambda: "sleep 2000" in host.processes())
    assert host.units() == {"talker.service": ("enabled", "active")}
    assert host.run("journalctl", "-u", "talker").stdout == "1 2\n"
    host.run("kill -9 $(cat /run/talker.pid)")
    wait_for(lambda: host.run("systemctl show -p NRestarts --value talker").stdout == "1\n")
    wait_for(lambda: "sleep 2000" in host.processes())
    lingering = 2 if mode == "process" else 1
    wait_for(lambda: host.processes().count("sleep 1000") == lingering)
    host.run("systemctl", "stop", "talker")
    assert "sleep 2000" not in host.processes()
    assert host.processes().count("sleep 1000") == (lingering if mode == "process" else 0)
    host.reboot()
    assert host.run("systemctl", "is-active", "talker").stdout == "active\n"
    host.run(f"systemctl disable --now talker; rm {path} /etc/talker.env; systemctl daemon-reload")
    assert host.units() == {}
    assert lab.ssh(host, "systemctl is-enabled talker", key=key).returncode == 1


def test_a_unit_that_always_fails_is_given_up(lab: Lab, key: Key):
    host = lab.host("unit-failing", key=key)
    text = "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=0\n"
    host.run("cat > /etc/systemd/system/bad.service; systemctl daemon-reload; systemctl start bad", text=text)
    wait_for(lambda: host.units()["bad.service"] == ("disabled", "failed"))


def test_a_machine_may_have_no_systemd(lab: Lab, key: Key):
    host = lab.host("plain-init", key=key, machine=Machine(systemd=False, system="alpine-3.20"))
    told = lab.ssh(
        host, "ps -o comm= -p 1; command -v systemctl; ls -d /run/systemd; . /etc/os-release; echo $ID", key=key
    )
    assert told.stdout.split() == ["init", "alpine"]
    host.run("printf '#!/bin/sh\\nsleep 4000\\n' > /etc/rc.local; chmod 755 /etc/rc.local")
    host.reboot()
    wait_for(lambda: "sleep 4000" in host.processes())


@pytest.mark.parametrize("given", ["absent", "3.7.17"])
def test_python_is_missing_or_as_old_as_was_asked_for(lab: Lab, key: Key, given):
    host = lab.host(f"python-{given[:1]}", key=key, machine=Machine(python=given, driver=gpus.ONE_L40S))
    told = lab.ssh(host, "python3 -V; python3 -I -c 'import sys; print(sys.version_info[:3] < (3, 8))'", key=key)
    assert told.stdout == ("" if given == "absent" else "Python 3.7.17\nTrue\n")
    assert lab.ssh(host, "nvidia-smi", key=key).returncode == 0


def test_a_machine_may_claim_another_architecture_another_time_and_a_small_disk(lab: Lab, key: Key):
    host = lab.host("odd", key=key, machine=Machine(arch="ppc64le", clock_skew_s=-600, disk_mib=300))
    told = lab.ssh(host, "uname -m; uname -s; date +%s; python3 -c 'import time; print(int(time.time()))'", key=key)
    arch, kernel, *clocks = told.stdout.split()
    assert (arch, kernel) == ("ppc64le", "Linux")
    assert all(590 < time.time() - int(clock) < 660 for clock in clocks)
    blocks = int(host.run("df -Pk /var/lib | tail -n 1 | awk '{print $2}'").stdout)
    assert blocks == 300 * 1024


def test_names_are_resolved_or_not(lab: Lab, key: Key):
    names = {"api.example.test": "127.0.0.1"}
    lookup = "getent hosts api.example.test; getent hosts other.example.test"
    for state, found in [("works", ["127.0.0.1", "api.example.test"]), ("broken", []), ("silent", [])]:
        host = lab.host(f"names-{state}", key=key, machine=Machine(dns=state, names=names))
        assert lab.ssh(host, lookup, key=key).stdout.split() == found


def test_a_machine_can_be_repaired_without_losing_its_files(lab: Lab, key: Key):
    host = lab.host("repaired", key=key, machine=Machine(docker="down"))
    host.run("echo mine > /var/lib/mine")
    host.replace_machine(Machine(docker="plain"))
    assert lab.ssh(host, "sudo -n docker version > /dev/null && cat /var/lib/mine", key=key).stdout == "mine\n"

"""Every check on recorded hosts: each failure has a code and a fix of its own, and all are told at once."""

import re
import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.adoption import (
    JUDGEMENTS,
    OK,
    CheckResult,
    Connection,
    Wanted,
    is_adoptable,
    judge,
    judge_connection,
)
from chalicelib.domain.findings import FINDINGS, Check, Status
from chalicelib.domain.fixes import Family
from chalicelib.domain.gpu_requirements import parse as gpu
from chalicelib.domain.networks import parse_network
from chalicelib.ssh import probe
from tests.ssh import recordings as say
from tests.ssh.recordings import NOW, recording

FOREIGN = (
    '{"control_plane": "cp-2", "control_plane_url": "https://other.example", "project": "lab", '
    '"instance_id": "i-9", "since": "2029-12-24T00:00:00+00:00"}'
)
SIBLING = FOREIGN.replace("cp-2", "cp-1")
OURS = SIBLING.replace("i-9", "i-1")
API_URL = "https://api.example"
FULL = "/dev/sda1  203056560 202556560 500000      100% /"
FEW = "/dev/sda1  203056560 200000000 5000000      98% /"
CERTIFICATE = "curl: (60) SSL certificate problem: unable to get local issuer certificate\n000"
REFUSED = "curl: (7) Failed to connect to api.example port 443: Connection refused\n000"


def judged(output: str, wanted_gpu: str = "", api_url: str = API_URL, **wanted) -> dict[Check, CheckResult]:
    expectation = gpu(wanted_gpu, "gpu") if wanted_gpu else None
    asked = Wanted(api_url, "cp-1", "i-1", expectation, **wanted)
    results = judge(probe.parse(output), asked, NOW)
    return {each.check: each for each in results}


WRONG = {
    "os-unsupported": recording().replace("kernel\tLinux", "kernel\tFreeBSD"),
    "os-unknown": recording(say.Os('ID=plan9\nPRETTY_NAME="Plan 9"', "6.1", "")),
    "architecture-unsupported": recording().replace("arch\tx86_64", "arch\tarmv7l"),
    "python-missing": recording(pythons=[]),
    "python-too-old": recording(say.RHEL_8),
    "python-without-tls": recording(pythons=["/usr/bin/python3 3.11.2 no"]),
    "sudo-missing": recording(sudo="missing"),
    "sudo-needs-password": recording(sudo="no", sudo_error="sudo: a password is required"),
    "sudo-not-allowed": recording(sudo="no", sudo_error="ubuntu is not in the sudoers file."),
    "sudo-needs-tty": recording(sudo="no", sudo_error="sudo: sorry, you must have a tty to run sudo"),
    "no-systemd": recording(say.ALPINE),
    "disk-full": recording(disk=FULL),
    "disk-low": recording(disk=FEW),
    "disk-unknown": recording().replace("disk.exit\t0", "disk.exit\t1"),
    "clock-skewed": recording(clock=NOW + timedelta(seconds=6)),
    "clock-wrong": recording(clock=NOW - timedelta(minutes=6)),
    "dns-failed": recording(dns="2"),
    "dns-unknown": recording(dns="", api=("", "", 0)),
    "api-unreachable": recording(api=("curl", REFUSED, 7)),
    "api-certificate": recording(api=("curl", CERTIFICATE, 60)),
    "api-wrong-answer": recording(api=("curl", "302", 0)),
    "api-unknown": recording(api=("", "", 0)),
    "no-network": recording(addresses=[("ip", "3: docker0    inet 172.17.0.1/16 scope global docker0")]),
    "docker-missing": recording(docker=say.NO_DOCKER),
    "docker-not-running": recording(docker=say.DOCKER_DOWN),
    "docker-unknown": recording(docker=say.DOCKER_DENIED, sudo="no"),
    "docker-rootless-only": recording(docker=say.DOCKER_ROOTLESS),
    "docker-snap": recording(docker=say.DOCKER_SNAP),
    "docker-is-podman": recording(docker=say.PODMAN),
    "driver-missing": recording(gpu=say.NO_DRIVER),
    "driver-mismatch": recording(gpu=say.MISMATCH),
    "driver-not-working": recording(gpu=say.NOT_FOUND),
    "gpu-lost": recording(gpu=say.FELL_OFF),
    "smi-missing": recording(gpu=say.Graphics(rows=None, driver_file=say.H100_8.driver_file, pci=[say.H100_PCI])),
    "cuda-too-old": recording(gpu=say.OLD_CUDA),
    "cuda-unknown": recording(gpu=say.Graphics(rows=say.H100_8.rows, banner=say.banner("535.161.08", "N/A"))),
    "toolkit-missing": recording(gpu=say.Graphics(rows=say.H100_8.rows, banner=say.H100_8.banner)),
    "toolkit-not-configured": recording(gpu=say.H100_8, docker=say.DOCKER),
    "toolkit-unproven": recording(gpu=say.H100_8, docker=say.NO_DOCKER),
    "gpus-split": recording(gpu=say.MIG_ON, docker=say.DOCKER_NVIDIA),
    "gpus-all-split": recording(gpu=say.MIG_ONLY, docker=say.DOCKER_NVIDIA),
    "owner-foreign": recording(owner=FOREIGN),
    "owner-other-instance": recording(owner=SIBLING),
    "owner-unreadable": recording(owner=""),
    "files-left": recording(agent="files"),
}
ASKED = {"gpus-missing", "owner-taken-over", "no-address-in-network", "api-loopback"}
OTHERS = {"address-taken", "address-shared", "already-adopted", "adopted-here"}
"""Codes that depend on what is wanted, or on other hosts, and have tests of their own."""


@pytest.mark.parametrize("code", WRONG)
def test_each_thing_that_is_wrong_has_a_code_of_its_own(code):
    result = judged(WRONG[code])[FINDINGS[code].check]
    assert (result.code, result.status) == (code, FINDINGS[code].status)
    assert result.found
    assert result.fix or result.status is Status.WARN
    assert "{" not in result.fix


def test_nothing_that_can_be_found_is_without_a_test():
    probed = {code for code, finding in FINDINGS.items() if finding.check in dict(JUDGEMENTS)}
    assert probed == set(WRONG) | ASKED | OTHERS


def test_all_checks_are_always_judged_in_one_order():
    broken = recording(say.RHEL_8, say.MISMATCH, say.DOCKER_DOWN, sudo="no", disk=FULL, dns="2", owner=FOREIGN)
    results = judge(probe.parse(broken), Wanted("https://api.example", "cp-1", "i-1"), NOW)
    assert list(dict.fromkeys(each.check for each in results)) == [check for check, _ in JUDGEMENTS]
    assert {each.code for each in results if each.status is Status.FAIL} >= {
        "python-too-old", "sudo-needs-password", "disk-full", "dns-failed", "driver-mismatch", "owner-foreign",
    }  # fmt: skip
    assert not is_adoptable(results)


@pytest.mark.parametrize(
    "output",
    [
        recording(),
        recording(say.AMAZON_2023),
        recording(say.UBUNTU_20, say.H100_8, say.DOCKER_NVIDIA),
        recording(say.UBUNTU_24, say.L40S_4, say.DOCKER_CDI),
        recording(say.JETSON, say.ORIN, say.DOCKER_NVIDIA),
        recording(say.DEBIAN_12, user="root"),
        recording(owner=OURS, agent="active"),
    ],
)
def test_a_host_in_order_passes_every_check(output):
    results = judged(output)
    assert {each.code for each in results.values()} == {OK}
    assert is_adoptable(tuple(results.values()))


def test_a_warning_stands_in_nobodys_way():
    results = judged(recording(say.ALPINE, docker=say.NO_DOCKER))
    assert {each.status for each in results.values()} == {Status.PASS, Status.WARN}
    assert is_adoptable(tuple(results.values()))


@pytest.mark.parametrize("graphics", [say.NOT_FOUND, say.NO_COMMUNICATION, say.NO_LIBRARY])
def test_a_driver_that_is_installed_and_does_not_work_is_not_told_as_missing(graphics):
    result = judged(recording(gpu=graphics))[Check.DRIVER]
    assert result.code == "driver-not-working"
    assert "nvidia" in result.found.casefold() or "No devices" in result.found
    assert "dkms" in result.fix
    assert "reboot" in result.fix


def test_a_host_with_a_driver_and_no_gpu_is_a_host_without_one():
    unused = replace(say.NO_COMMUNICATION, pci=[])
    assert judged(recording(gpu=unused))[Check.DRIVER].code == OK


@pytest.mark.parametrize(
    ("skew_s", "code"),
    [
        (5, OK),
        (-5, OK),
        (5.001, "clock-skewed"),
        (300, "clock-skewed"),
        (-300, "clock-skewed"),
        (300.001, "clock-wrong"),
    ],
)
def test_the_clock_is_judged_at_its_bounds(skew_s, code):
    assert judged(recording(clock=NOW + timedelta(seconds=skew_s)))[Check.CLOCK].code == code


@pytest.mark.parametrize(("version", "code"), [("3.7.17", "python-too-old"), ("3.8.0", OK), ("3.14.0", OK)])
def test_python_is_judged_at_its_bound(version, code):
    assert judged(recording(pythons=[f"/usr/bin/python3 {version} yes"]))[Check.PYTHON].code == code


@pytest.mark.parametrize(
    ("machine", "code"),
    [("x86_64", OK), ("aarch64", OK), ("armv7l", "architecture-unsupported"), ("riscv64", "architecture-unsupported")],
)
def test_two_architectures_are_served(machine, code):
    assert judged(recording().replace("arch\tx86_64", f"arch\t{machine}"))[Check.ARCHITECTURE].code == code


@pytest.mark.parametrize("check", Check)
def test_every_check_can_fail_but_those_that_a_host_can_do_without(check):
    """Without systemd a loop starts the agent, and without Docker runs without an image work."""
    statuses = {finding.status for finding in FINDINGS.values() if finding.check is check}
    assert (Status.FAIL in statuses) == (check not in {Check.INIT, Check.DOCKER})
    assert statuses


UNFIXED = {"os-unknown", "no-systemd", "owner-taken-over", "files-left", "adopted-here"}
"""Warnings about what is as it should be, or was asked for."""


@pytest.mark.parametrize("code", FINDINGS)
def test_everything_that_can_be_put_right_says_how(code):
    assert bool(FINDINGS[code].fix) == (code not in UNFIXED)


@pytest.mark.parametrize(
    ("cuda", "code"), [("12.0", "cuda-too-old"), ("12.1", OK), ("13.0", OK), ("11.8", "cuda-too-old")]
)
def test_cuda_is_judged_at_its_bound(cuda, code):
    found = say.working(("NVIDIA H100 80GB HBM3", 81559), cuda=cuda)
    assert judged(recording(gpu=found, docker=say.DOCKER_NVIDIA))[Check.CUDA].code == code


@pytest.mark.parametrize(
    ("wanted", "graphics", "code"),
    [
        ("H100:8", say.H100_8, OK),
        ("H100:80GB:8", say.H100_8, OK),
        ("A100:8", say.H100_8, "gpus-missing"),
        ("H100:4", say.H100_8, "gpus-missing"),
        ("L40:4", say.L40S_4, "gpus-missing"),
        ("L40S:4", say.L40S_4, OK),
        ("A100:2", say.MIXED, OK),
        ("A100:3", say.MIXED, "gpus-missing"),
        ("H100:8", say.NO_GPU, "gpus-missing"),
        ("H100:8", say.NO_DRIVER, "gpus-missing"),
    ],
)
def test_stated_gpus_must_be_there(wanted, graphics, code):
    assert judged(recording(gpu=graphics, docker=say.DOCKER_NVIDIA), wanted)[Check.GPUS].code == code


def test_missing_gpus_are_told_with_what_is_on_the_bus():
    result = judged(recording(gpu=say.NO_DRIVER), "H100:1")[Check.GPUS]
    assert "has no GPU" in result.found
    assert "GH100" in result.found


def test_split_gpus_do_not_count_for_what_was_stated():
    results = judge(
        probe.parse(recording(gpu=say.MIG_ON, docker=say.DOCKER_NVIDIA)),
        Wanted("https://api.example", "cp-1", "i-1", gpu("A100:2", "gpu")),
        NOW,
    )
    assert [each.code for each in results if each.check is Check.GPUS] == ["gpus-split", "gpus-missing"]


def test_a_host_of_split_gpus_alone_is_no_host_without_gpus():
    results = judged(recording(gpu=say.MIG_ONLY, docker=say.DOCKER_NVIDIA))
    assert [code for code in results if results[code].status is Status.FAIL] == [Check.GPUS]
    assert "-i 0,1 -mig 0" in results[Check.GPUS].fix


@pytest.mark.parametrize("owner", [FOREIGN, SIBLING, ""])
def test_whoever_asks_to_take_over_may(owner):
    result = judged(recording(owner=owner), take_over=True)[Check.OWNER]
    assert (result.code, result.status) == ("owner-taken-over", Status.WARN)


def test_a_foreign_owner_is_named():
    result = judged(recording(owner=FOREIGN))[Check.OWNER]
    assert all(words in result.found for words in ("https://other.example", "lab", "i-9"))
    assert "--take-over" in result.fix


@pytest.mark.parametrize(
    ("system", "fix"),
    [
        (say.DEBIAN_12, "sudo apt-get install -y python3"),
        (say.RHEL_9, "sudo dnf install -y python3"),
        (say.ALPINE, "sudo apk add python3"),
        (say.Os("ID=opensuse-leap\nID_LIKE='suse opensuse'", "5.14", ""), "sudo zypper install -y python311"),
        (say.Os("ID=pop\nID_LIKE='ubuntu debian'", "6.2", ""), "sudo apt-get install -y python3"),
        (say.Os("ID=plan9", "6.1", ""), "install Python 3.8 or newer"),
    ],
)
def test_a_fix_is_written_for_the_systems_own_package_manager(system, fix):
    assert judged(recording(system, pythons=[]))[Check.PYTHON].fix == fix


def test_an_address_in_the_network_that_was_named_must_be_there():
    inside = judged(recording(), network=parse_network("10.0.0.0/16"))[Check.NETWORK]
    assert (inside.code, inside.found) == (OK, "10.0.0.7 in 10.0.0.0/16")
    outside = judged(recording(), network=parse_network("10.9.0.0/16"))[Check.NETWORK]
    assert (outside.code, outside.status) == ("no-address-in-network", Status.FAIL)
    assert "10.0.0.7/24 (ens5)" in outside.found


def test_a_proxy_that_the_agent_does_not_heed_is_named_when_the_api_is_out_of_reach():
    result = judged(recording(api=("curl", REFUSED, 7), proxies=["https_proxy"]))[Check.API]
    assert "https_proxy" in result.found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_an_api_that_is_only_on_its_own_computer_is_told_as_that(host):
    """An embedded control plane is: no firewall of the host stands in the way."""
    out_of_reach = recording(api=("curl", REFUSED, 7))
    result = judged(out_of_reach, api_url=f"http://{host}:4566/x")[Check.API]
    assert (result.code, result.status) == ("api-loopback", Status.FAIL)
    assert "set TIDEPOOL_PUBLIC_URL" in result.fix
    assert "ssh -NR 4566:" in result.fix
    assert result.found.count("curl: ") == 1
    assert judged(recording(), api_url=f"http://{host}:4566/x")[Check.API].code == OK  # by a tunnel, for instance


def test_a_name_is_not_said_to_resolve_where_the_api_has_none():
    assert judged(recording(), api_url="http://10.0.0.1:4566")[Check.DNS].found.startswith("not needed")
    assert judged(recording())[Check.DNS].found == "the API's name resolves"


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("", [OK, OK, OK]),
        ("unreachable", ["unreachable"]),
        ("target-refused", ["target-refused"]),
        ("target-never", ["target-never"]),
        ("not-ssh", ["not-ssh"]),
        ("host-key-changed", [OK, "host-key-changed"]),
        ("host-key-mismatch", [OK, "host-key-mismatch"]),
        ("auth-failed", [OK, OK, "auth-failed"]),
        ("script-output", [OK, OK, "script-output"]),
    ],
)
def test_a_connection_is_judged_as_far_as_it_came(problem, told):
    results = judge_connection(Connection("10.0.0.7", "ubuntu", "SHA256:x", "first-use", problem, "as it is"))
    assert [each.code for each in results] == told
    assert all(each.fix for each in results if each.code != OK)


@pytest.mark.parametrize("code", FINDINGS)
def test_every_finding_is_told_in_public_words(code):
    finding = FINDINGS[code]
    assert code.replace("-", "").isalnum()
    assert finding.meaning.endswith(".")
    assert finding.status is not Status.PASS
    assert finding.fix or finding.status is Status.WARN
    filled = dict.fromkeys(
        ("user", "path", "api_url", "api_host", "api_port", "instance_id", "index", "target", "jump"), "x"
    )
    for family in (None, *Family):
        assert "{" not in finding.fix_for(family).format_map(filled)


COMMANDS = (
    "sudo ",
    "curl ",
    "echo ",
    "ssh",
    "su -c ",
    "cat ",
    "getent ",
    "nvidia-smi ",
    "timeout ",
    "v=",
    "ip -o",
    "df ",
    "nvidia-smi ",
)


@pytest.mark.parametrize("code", FINDINGS)
def test_a_fix_that_is_a_command_can_be_pasted_into_a_shell(code):
    """Whatever is not sure to hold stands behind a `#`."""
    fixes = {FINDINGS[code].fix_for(family) for family in (None, *Family)}
    for fix in filter(None, fixes):
        filled = fix.format_map(
            dict.fromkeys(("user", "path", "api_url", "api_host", "api_port", "instance_id", "index"), "x")
            | {"target": "x@y", "jump": "x@z"}
        )
        if filled.startswith(COMMANDS):
            assert subprocess.run(["sh", "-n"], input=filled, text=True, check=False).returncode == 0, filled
        else:
            assert not re.search(r"[|;&]", filled), f"neither words nor a command: {filled}"


@pytest.mark.parametrize("said", ["sudo: a password is required", "ubuntu is not in the sudoers file."])
def test_who_may_not_use_sudo_is_told_the_line_and_who_may_write_it(said):
    fix = judged(recording(sudo="no", sudo_error=said))[Check.SUDO].fix
    command, _, who = fix.partition("  # ")
    assert command == (
        "echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' | sudo EDITOR='tee -a' visudo -f /etc/sudoers.d/90-tidepool"
    )
    assert "administrator" in who


def test_how_to_look_at_a_host_is_told_as_ssh_wants_it():
    found = judge_connection(Connection("fd00::5", "ubuntu", problem="unreachable", detail="no route", port=2222))[-1]
    assert found.fix.startswith("ssh -v -p 2222 ubuntu@fd00::5 ")
    assert judge_connection(Connection("fd00::5", "ubuntu", port=2222))[0].found == "[fd00::5]:2222 answers"


ODD = ["x';curl$IFS-evil|sh;'", "$(reboot)", "-oProxyCommand=reboot", "ALL ALL=(ALL) ALL #", "a\nb"]


@pytest.mark.parametrize("odd", ODD)
def test_what_a_shell_would_read_is_not_put_into_a_command_to_be_copied(odd):
    """A user's name is the host's word in a probe, and a host's name anybody's who may ask for a check."""
    for problem in ("unreachable", "auth-failed", "script-output"):
        for connection in (Connection("box", odd, problem=problem), Connection(odd, "ubuntu", problem=problem)):
            fix = judge_connection(connection)[-1].fix
            assert odd not in fix
            assert "USER" in fix or "HOST" in fix
    told = judged(recording(sudo="no", sudo_error="no", user=odd.replace("\n", " ")))[Check.SUDO]
    assert told.fix.startswith("echo 'USER ALL=(ALL)")

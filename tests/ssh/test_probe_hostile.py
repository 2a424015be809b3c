"""What a host prints to keep its reader busy, or to make it fall over: it is refused, or that one fact is missing."""

import time
from contextlib import suppress

import pytest

from chalicelib.ssh import probe, scripts
from chalicelib.ssh.errors import ScriptOutputError
from tests.ssh.recordings import recording

DEEP = '{"a":' * 50_000


def printed(*lines: str, without: str = "") -> str:
    """A probe's output with other lines in place of those of one key."""
    kept = [line for line in recording().splitlines() if line.partition("\t")[0] != without]
    return "\n".join([*kept[:-1], *lines, kept[-1]]) + "\n"


def said(name: str, *lines: str) -> str:
    return "\n".join([f"{name}\t1", *lines, f"end\t{name}"]) + "\n"


@pytest.mark.parametrize(
    ("lines", "without"),
    [
        (["gpu\t0,a" + " " * 20_000 + "b"], "gpu"),
        (["driver\t" + "Kernel Module 1" * 30_000], "driver"),
        (["libc\t" + "1" * 400_000 + "x"], "libc"),
        (["ifconfig\teth0: " + " inet 1" * 50_000], "ip"),
        (["ifconfig\t inet " + "1" * 3000] * 200, "ip"),
        (["ip\t2: " + "a" * 300_000], "ip"),
        (["toolkit.exit\t0", "toolkit\tversion" + " " * 300_000], "toolkit"),
        (["python\t" + "1 " * 150_000], "python"),
        (["docker\t/d", "docker_client\t" + "version " * 50_000], "docker"),
        (["banner\tCUDA Version" + " " * 300_000], "banner"),
        (
            [
                *(f"route\teth{each}\t{each:08X}\t0\t0\t0\t0\t0\t00FFFFFF" for each in range(1, 8000)),
                *(f"fib\t |-- 10.0.{each >> 8}.{each & 255} /32 host LOCAL" for each in range(8000)),
            ],
            "ip",
        ),
    ],
    ids=[
        "gpu",
        "driver",
        "libc",
        "ifconfig",
        "ifconfig-lines",
        "ip",
        "toolkit",
        "python",
        "docker",
        "banner",
        "routes",
    ],
)
def test_output_of_the_size_that_is_taken_is_read_at_once(lines, without):
    began = time.process_time()
    with suppress(ScriptOutputError):
        probe.parse(printed(*lines, without=without))
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("line", "instead_of"),
    [
        ("ip\t2: eth0    inet 999.1.1.1/24 scope global eth0", "ip"),
        ("ip\t2: eth0    inet 10.0.0.5/99 scope global eth0", "ip"),
        ("ifconfig\t  inet 10.0.0.5  netmask 255.0.255.0", "ip"),
        ("if_inet6\t" + "f" * 32 + " 02 fff 00 80 eth0", "ip"),
        ("clock_ms\t" + "9" * 15, "clock_ms"),
        ("clock_ms\t" + "9" * 30, "clock_ms"),
        ("cpus\t" + "9" * 50, "cpus"),
        ("cpus\t²", "cpus"),
        ("memory_kib\t" + "9" * 5000, "memory_kib"),
    ],
)
def test_a_value_that_no_host_has_is_refused(line, instead_of):
    with pytest.raises(ScriptOutputError):
        probe.parse(printed(line, without=instead_of))


@pytest.mark.parametrize(
    "answer",
    [DEEP, '{"Runtimes": 5, "ServerVersion": "1"}', '{"DiscoveredDevices": [1], "ServerVersion": "1"}', "[]"],
    ids=["depth", "runtimes", "devices", "list"],
)
def test_an_odd_answer_of_docker_is_none(answer):
    found = probe.parse(printed("docker\t/usr/bin/docker", f"docker_root\t{answer}", without="docker_root")).docker
    assert (found.runtimes, found.devices) == ((), ())


@pytest.mark.parametrize("written", ["a" * 3000, "uninitialized", "A" * 32, ""])
def test_a_machine_id_of_another_form_is_none(written):
    assert probe.parse(printed(f"machine_id\t{written}", without="machine_id")).machine_id == ""


@pytest.mark.parametrize("path", ["/opt/my python/bin/python3", "/opt/$(reboot)/python3", "python3"])
def test_an_interpreter_whose_path_a_unit_cannot_name_is_none(path):
    assert probe.parse(printed(f"python\t{path} 3.12.1 yes", without="python")).pythons == ()


def test_an_owner_file_of_any_size_is_read_in_part():
    found = probe.parse(recording(owner='{"control_plane": "' + "x" * 3000 + '", "instance_id": 7}')).owner
    assert (len(found.control_plane), found.instance_id, len(found.text)) == (200, "7", 500)
    assert probe.read_owner(DEEP).control_plane == ""


@pytest.mark.parametrize(
    "lines",
    [["outcome\tperhaps"], ["did\tfiles"], ["reason\tbecause", "outcome\trefused"], ["outcome\trefused"]],
    ids=["unknown-outcome", "no-outcome", "unknown-reason", "no-reason"],
)
@pytest.mark.parametrize("parse", [scripts.parse_install, scripts.parse_uninstall])
def test_an_end_that_our_scripts_do_not_have_is_refused(parse, lines):
    name = "tidepool-" + parse.__name__.removeprefix("parse_")
    with pytest.raises(ScriptOutputError):
        parse(said(name, *lines))


@pytest.mark.parametrize("farewell", ["logout\n", "bye\tbye\nend\tof it\n"])
def test_what_a_login_shell_says_after_the_end_is_skipped(farewell):
    """`trap … EXIT` in a .bashrc."""
    assert probe.parse(recording() + farewell).hostname == "box"
    assert scripts.parse_install(said("tidepool-install", "outcome\tinstalled") + farewell).outcome == "installed"

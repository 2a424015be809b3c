"""The probe's parser on recorded outputs, and its script on the shells that this machine has."""

import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_interface

import pytest

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.hosts import resources
from chalicelib.domain.model import Gpu
from chalicelib.ssh import probe
from chalicelib.ssh.errors import ScriptOutputError
from tests.ssh import recordings as say
from tests.ssh.recordings import recording

GIB = 1024
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


def test_a_host_is_told_in_full():
    found = probe.parse(recording(say.UBUNTU_22, say.H100_8, say.DOCKER_NVIDIA))
    assert (found.system.distribution, found.system.like, found.system.version) == ("ubuntu", ("debian",), "22.04")
    assert (found.system.libc, found.init, found.init_version) == ("glibc 2.35", "systemd", "249")
    assert (found.cpus, found.memory_mib, found.disk_free_mib) == (16, 64291, 128400)
    assert found.python is not None
    assert found.python.version == (3, 10, 12)
    assert (found.docker.client, found.docker.daemon) == ("26.1.3", "26.1.3")
    assert found.docker.runtimes == ("io.containerd.runc.v2", "nvidia", "runc")
    assert (found.nvidia.driver, found.nvidia.cuda, found.nvidia.toolkit) == ("535.161.08", (12, 2), "1.15.0")
    assert [str(each.value) for each in found.addresses][:2] == ["127.0.0.1/8", "10.0.0.7/24"]
    assert found.default_interfaces == ("ens5",)
    assert (found.uptime_s, found.clock) == (86400, say.NOW)
    assert (found.owner, found.agent) == (None, "")


@pytest.mark.parametrize(
    ("system", "distribution", "libc", "arch"),
    [
        (say.UBUNTU_20, "ubuntu", "glibc 2.31", "x86_64"),
        (say.UBUNTU_24, "ubuntu", "glibc 2.39", "x86_64"),
        (say.DEBIAN_12, "debian", "glibc 2.36", "x86_64"),
        (say.RHEL_8, "rhel", "glibc 2.28", "x86_64"),
        (say.RHEL_9, "rhel", "glibc 2.34", "x86_64"),
        (say.AMAZON_2023, "amzn", "glibc 2.34", "aarch64"),
        (say.ALPINE, "alpine", "musl 1.2.5", "x86_64"),
        (say.JETSON, "ubuntu", "glibc 2.35", "aarch64"),
    ],
)
def test_every_system_is_known_by_its_release_file(system, distribution, libc, arch):
    found = probe.parse(recording(system)).system
    assert (found.distribution, found.libc, found.arch) == (distribution, libc, arch)


@pytest.mark.parametrize(
    ("graphics", "has"),
    [
        (say.NO_GPU, ()),
        (say.H100_8, (Gpu("H100", 80 * GIB, 8),)),
        (say.MIXED, (Gpu("A100", 40 * GIB, 2), Gpu("T4", 16 * GIB, 1))),
        (say.L40S_4, (Gpu("L40S", 48 * GIB, 4),)),
        (say.working(("NVIDIA L40", 46068)), (Gpu("L40", 48 * GIB, 1),)),
        (say.working(("NVIDIA A10G", 23028)), (Gpu("A10G", 24 * GIB, 1),)),
        (say.working(("NVIDIA A10", 23028)), (Gpu("A10", 24 * GIB, 1),)),
        (say.working(("NVIDIA RTX 6000 Ada Generation", 49140)), (Gpu("RTX6000Ada", 48 * GIB, 1),)),
        (say.working(("Quadro RTX 6000", 24576)), (Gpu("RTX6000", 24 * GIB, 1),)),
        (say.working(("NVIDIA RTX A6000", 49140)), (Gpu("A6000", 48 * GIB, 1),)),
        (say.working(("NVIDIA GeForce RTX 4090", 24564)), (Gpu("RTX4090", 24 * GIB, 1),)),
        (say.working(("NVIDIA GH200 480GB", 97871)), (Gpu("GH200", 96 * GIB, 1),)),
        (say.MIG_ON, (Gpu("A100", 80 * GIB, 1),)),
        (say.MIG_ONLY, ()),
        (say.ORIN, (Gpu("Orin(nvgpu)", 64 * GIB, 1),)),
        (say.NOT_FOUND, ()),
        (say.MISMATCH, ()),
    ],
)
def test_gpus_are_kept_apart_by_model_and_have_the_memory_they_are_sold_with(graphics, has):
    assert resources(probe.parse(recording(gpu=graphics))).gpus == has


def test_what_nvidia_smi_says_instead_of_a_gpu_is_kept_and_never_skipped():
    assert probe.parse(recording(gpu=say.MISMATCH)).nvidia.error == (
        "Failed to initialize NVML: Driver/library version mismatch; NVML library version: 535.161"
    )
    lost = probe.parse(recording(gpu=say.FELL_OFF)).nvidia
    assert len(lost.gpus) == 1
    assert "0000:65:00.0" in lost.error


def test_a_driver_that_knows_no_mig_answers_one_column_less():
    old = say.Graphics(rows=["0, Tesla K80, 11441, 440.33.01, GPU-1"])
    gpu = probe.parse(recording(gpu=old)).nvidia.gpus[0]
    assert (gpu.name, gpu.memory_mib, gpu.is_split) == ("Tesla K80", 11441, False)


def test_only_functions_of_a_card_that_compute_are_counted_as_one():
    assert probe.parse(recording(gpu=say.NO_DRIVER)).nvidia.cards == (say.H100_PCI,)
    bare = say.Graphics(
        rows=None, pci=["0000:65:00.0 [0x030200] [10de:0x2330]", "0000:65:00.1 [0x040300] [10de:0x22e8]"]
    )
    assert len(probe.parse(recording(gpu=bare)).nvidia.cards) == 1


def test_the_daemon_that_counts_is_the_one_that_root_reaches():
    rootless = probe.parse(recording(docker=say.DOCKER_ROOTLESS)).docker
    assert (rootless.daemon, rootless.is_rootless, rootless.by_user) == ("", True, True)
    assert rootless.error == say.NO_DAEMON
    member = probe.parse(recording(docker=say.DockerSays(user=say.PLAIN_INFO), sudo="no")).docker
    assert member.daemon == "26.1.3"


@pytest.mark.parametrize(
    ("extra", "cpus"),
    [(("cpu_max", "max 100000"), 16), (("cpu_max", "150000 100000"), 2), (("cpu_quota", "-1 100000"), 16)],
)
def test_a_quota_of_the_control_group_is_the_limit(extra, cpus):
    text = recording().replace("cpu_max\t\n", "").replace("cpu_quota\t \n", "")
    text = text.replace("cpus\t16\n", f"cpus\t16\n{extra[0]}\t{extra[1]}\n")
    assert probe.parse(text).cpus == cpus


IFCONFIG = """\
docker0   Link encap:Ethernet  HWaddr 02:42:8E:0B:3A:51
          inet addr:172.17.0.1  Bcast:172.17.255.255  Mask:255.255.0.0
eth0      Link encap:Ethernet  HWaddr 52:54:00:12:34:56
          inet addr:10.0.2.15  Bcast:10.0.2.255  Mask:255.255.255.0
          inet6 addr: fec0::5054:ff:fe12:3456/64 Scope:Site
"""
NET_TOOLS = """\
ens5: flags=4163<UP,BROADCAST,RUNNING,MULTICAST>  mtu 9001
        inet 10.0.2.15  netmask 255.255.255.0  broadcast 10.0.2.255
        inet6 fec0::5054:ff:fe12:3456  prefixlen 64  scopeid 0x40<site>
"""
FIB = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.0.2.0/24 2 0 2
        |-- 10.0.2.0
           /24 link UNICAST
        |-- 10.0.2.15
           /32 host LOCAL
        |-- 10.0.2.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
"""
ROUTE = """\
Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0202000A 0003 0 0 100 00000000 0 0 0
eth0 0002000A 00000000 0001 0 0 100 00FFFFFF 0 0 0
"""
IF_INET6 = "fec0000000000000505400fffe123456 02 40 40 80     eth0"


def lines(**texts: str) -> list[tuple[str, str]]:
    return [(key, line) for key, text in texts.items() for line in text.splitlines()]


@pytest.mark.parametrize(
    ("given", "interface"),
    [
        (lines(ifconfig=IFCONFIG), "eth0"),
        (lines(ifconfig=NET_TOOLS), "ens5"),
        (lines(fib=FIB, route=ROUTE, if_inet6=IF_INET6), "eth0"),
    ],
)
def test_addresses_are_found_without_ip_as_well(given, interface):
    found = probe.parse(recording(addresses=given)).addresses
    here = [each.value for each in found if each.interface == interface]
    assert here == [ip_interface("10.0.2.15/24"), ip_interface("fec0::5054:ff:fe12:3456/64")]


def test_an_address_that_is_not_ours_yet_is_none():
    tentative = "2: eth0    inet6 2001:db8::5/64 scope global tentative dynamic \\       valid_lft forever"
    paired = "7: eth1@if8    inet 10.1.0.2/24 brd 10.1.0.255 scope global eth1\\       valid_lft forever"
    found = probe.parse(recording(addresses=[("ip", tentative), ("ip", paired)])).addresses
    assert [(each.interface, str(each.value)) for each in found] == [("eth1", "10.1.0.2/24")]


def test_an_address_that_changes_every_day_is_not_what_neighbours_are_told():
    """Of two in the network the lower one would be chosen; nobody tells the others when it is gone."""
    changing = "2: eth0    inet6 fd00::1:5/64 scope global temporary dynamic \\       valid_lft 604000sec"
    lasting = "2: eth0    inet6 fd00::5:5/64 scope global dynamic mngtmpaddr \\       valid_lft 2591000sec"
    found = probe.parse(recording(addresses=[("ip", changing), ("ip", lasting)])).addresses
    assert [str(each.value) for each in found] == ["fd00::5:5/64"]
    of_proc = f"fd{'0' * 25}10005 02 40 00 01     eth0\nfd{'0' * 25}50005 02 40 00 00     eth0"
    found = probe.parse(recording(addresses=lines(fib=FIB, if_inet6=of_proc))).addresses
    assert [str(each.value) for each in found] == ["fd00::5:5/64"]


@pytest.mark.parametrize(
    ("tool", "said", "status", "answered", "dns"),
    [
        ("curl", "200", 0, 200, None),
        ("curl", "503", 0, 503, None),
        ("curl", "curl: (6) Could not resolve host: api.example\n000", 6, 0, False),
        ("curl", "curl: (60) SSL certificate problem: unable to get local issuer certificate\n000", 60, 0, None),
        ("python3", "200", 0, 200, None),
        (
            "python3",
            "Traceback (most recent call last):\nurllib.error.HTTPError: HTTP Error 403: Forbidden",
            1,
            403,
            None,
        ),
        ("wget", "", 0, 200, None),
        ("wget", "wget: server returned error: HTTP/1.1 404 Not Found", 1, 404, None),
        ("wget", "wget: bad address 'api.example'", 1, 0, False),
    ],
)
def test_each_tool_tells_in_its_own_way_whether_the_api_answers(tool, said, status, answered, dns):
    reach = probe.parse(recording(api=(tool, said, status), dns="")).reach
    assert reach.status == answered
    assert reach.dns is (dns is None)


def test_what_a_login_shell_says_before_is_skipped():
    assert probe.parse("Welcome to box!\nconda\tactivated\n" + recording()).hostname == "box"


@pytest.mark.parametrize("kept", [1, 10, 40])
def test_an_output_that_was_cut_is_noticed(kept):
    cut = "\n".join(recording().splitlines()[:kept])
    with pytest.raises(ScriptOutputError, match="was cut") as caught:
        probe.parse(cut)
    assert caught.value.context["line"] == cut.splitlines()[-1]


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", ""),
        ("This account is currently not available.\n", "This account is currently not available."),
        (recording().replace("hostname\tbox", "Connection closed"), "Connection closed"),
        (recording().replace("hostname\tbox", "colour\tred"), "colour\tred"),
        (recording().replace("memory_kib\t65834420", "memory_kib\tlots"), "lots"),
        (recording(pythons=["/usr/bin/python3 three yes"]), "/usr/bin/python3 three yes"),
    ],
)
def test_a_foreign_output_is_refused_with_its_line(output, line):
    with pytest.raises(ScriptOutputError) as caught:
        probe.parse(output)
    assert caught.value.context["line"] == line


def test_an_owner_file_is_read_and_a_damaged_one_is_told():
    owner = probe.parse(recording(owner='{"control_plane": "cp-1", "instance_id": "i-1", "project": "main"}')).owner
    assert owner is not None
    assert (owner.control_plane, owner.instance_id) == ("cp-1", "i-1")
    damaged = probe.parse(recording(owner="half a fi")).owner
    assert damaged is not None
    assert (damaged.control_plane, damaged.text) == ("", "half a fi")
    empty = probe.parse(recording(owner="")).owner
    assert empty is not None


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_runs_on_every_shell_and_its_output_is_read(shell):
    argv = [shell, "sh", "-s"] if shell == "busybox" else [shell, "-s"]
    script = probe.script("http://127.0.0.1:9")
    began = datetime.now(UTC)
    done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=60, check=True)
    found = probe.parse(done.stdout)
    assert found.system.kernel == "Linux"
    assert found.cpus >= 1
    assert found.memory_mib > 0
    assert found.disk_total_mib > 0
    assert found.python is not None
    assert (found.reach.dns, found.reach.status) == (True, 0)
    assert began - timedelta(seconds=1) <= found.clock <= datetime.now(UTC)
    assert "/" not in done.stderr


@pytest.mark.parametrize("style", ["gnu", "none"])
def test_what_hangs_is_ended_with_and_without_a_command_for_it(style):
    functions = probe.script("http://127.0.0.1:9").removesuffix("main </dev/null\n")
    script = (
        f"{functions}timeout_style={style}\ntold libc 1 sh -c 'echo begun; exec sleep 300'\nlimited 5 sh -c 'exit 3'\n"
    )
    began = time.monotonic()
    done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, timeout=60, check=False)
    assert time.monotonic() - began < 30
    said = [line.split("\t") for line in done.stdout.splitlines()]
    assert said[0] == ["libc", "begun"]
    assert int(said[1][1]) in {124, 137}
    assert done.returncode == 3


def test_a_script_that_was_cut_on_its_way_does_nothing():
    script = probe.script("http://127.0.0.1:9")
    done = subprocess.run(["sh", "-s"], input=script[:-20], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""


@pytest.mark.parametrize(
    "url", ["api.example", "ftp://api.example", "https://a b", "https://x/';reboot;'", "https://x?y"]
)
def test_only_a_url_that_means_nothing_to_a_shell_gets_into_a_script(url):
    with pytest.raises(InvalidInputError):
        probe.script(url)

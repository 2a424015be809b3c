"""What hosts print to the probe, put together of what their parts print: `recording(os=UBUNTU_22, gpu=H100_8)`.

Each text is in the form that the named system gives it; see the sources in the parsers.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Os:
    release: str
    kernel_version: str
    libc: str
    arch: str = "x86_64"
    init: str = "systemd"
    init_version: str = ""
    python: str = "/usr/bin/python3 3.10.12 yes"


@dataclass(frozen=True)
class Graphics:
    """What nvidia-smi and the bus say. `rows` None: there is no nvidia-smi."""

    rows: Sequence[str] | None = ()
    exit: int = 0
    banner: str = ""
    driver_file: str = ""
    pci: Sequence[str] = ()
    toolkit: str | None = None
    embedded: bool = False


@dataclass(frozen=True)
class DockerSays:
    """What docker says. `root` and `user` are `docker info` as JSON, or the words instead of it."""

    path: str = "/usr/bin/docker"
    client: str = "Docker version 26.1.3, build b72abbb"
    root: dict | str | None = None
    user: dict | str | None = None


GLIBC = "ldd ({0}) {1}"
UBUNTU_20 = Os(
    'NAME="Ubuntu"\nVERSION="20.04.6 LTS (Focal Fossa)"\nID=ubuntu\nID_LIKE=debian\n'
    'PRETTY_NAME="Ubuntu 20.04.6 LTS"\nVERSION_ID="20.04"',
    "5.15.0-1052-aws",
    GLIBC.format("Ubuntu GLIBC 2.31-0ubuntu9.14", "2.31"),
    init_version="systemd 245 (245.4-4ubuntu3.22)",
    python="/usr/bin/python3 3.8.10 yes",
)
UBUNTU_22 = Os(
    'PRETTY_NAME="Ubuntu 22.04.4 LTS"\nNAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian',
    "5.15.0-105-generic",
    GLIBC.format("Ubuntu GLIBC 2.35-0ubuntu3.7", "2.35"),
    init_version="systemd 249 (249.11-0ubuntu3.12)",
)
UBUNTU_24 = Os(
    'PRETTY_NAME="Ubuntu 24.04 LTS"\nNAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian',
    "6.8.0-31-generic",
    GLIBC.format("Ubuntu GLIBC 2.39-0ubuntu8.1", "2.39"),
    init_version="systemd 255 (255.4-1ubuntu8)",
    python="/usr/bin/python3 3.12.3 yes",
)
DEBIAN_12 = Os(
    'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian',
    "6.1.0-21-amd64",
    GLIBC.format("Debian GLIBC 2.36-9+deb12u7", "2.36"),
    init_version="systemd 252 (252.22-1~deb12u1)",
    python="/usr/bin/python3 3.11.2 yes",
)
RHEL_8 = Os(
    'NAME="Red Hat Enterprise Linux"\nVERSION="8.9 (Ootpa)"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="8.9"\n'
    'PRETTY_NAME="Red Hat Enterprise Linux 8.9 (Ootpa)"',
    "4.18.0-513.5.1.el8_9.x86_64",
    GLIBC.format("GNU libc", "2.28"),
    init_version="systemd 239 (239-78.el8)",
    python="/usr/libexec/platform-python3.6 3.6.8 yes",
)
RHEL_9 = Os(
    'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.4"\n'
    'PRETTY_NAME="Red Hat Enterprise Linux 9.4 (Plow)"',
    "5.14.0-427.13.1.el9_4.x86_64",
    GLIBC.format("GNU libc", "2.34"),
    init_version="systemd 252 (252-32.el9_4)",
    python="/usr/bin/python3 3.9.18 yes",
)
AMAZON_2023 = Os(
    'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"\n'
    'PRETTY_NAME="Amazon Linux 2023.4.20240528"',
    "6.1.91-99.172.amzn2023.aarch64",
    GLIBC.format("GNU libc", "2.34"),
    arch="aarch64",
    init_version="systemd 252 (252.16-1.amzn2023.0.2)",
    python="/usr/bin/python3 3.9.16 yes",
)
ALPINE = Os(
    'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.1\nPRETTY_NAME="Alpine Linux v3.20"',
    "6.6.34-0-lts",
    "musl libc (x86_64)\nVersion 1.2.5\nDynamic Program Loader\nUsage: /lib/ld-musl-x86_64.so.1 [options] [--]",
    init="init",
    python="/usr/bin/python3 3.12.3 yes",
)
JETSON = Os(
    'PRETTY_NAME="Ubuntu 22.04.4 LTS"\nNAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\nID_LIKE=debian',
    "5.15.136-tegra",
    GLIBC.format("Ubuntu GLIBC 2.35-0ubuntu3.6", "2.35"),
    arch="aarch64",
    init_version="systemd 249 (249.11-0ubuntu3.12)",
)

CTK = "NVIDIA Container Toolkit CLI version 1.15.0\ncommit: 3c8ef1fd9f3c1e3dd8e1d1d0f5f9f9c9c9d0a0b1"


def banner(driver: str, cuda: str) -> str:
    """The head of what plain nvidia-smi draws."""
    return (
        "Wed Jan  2 03:04:05 2030       \n"
        "+---------------------------------------------------------------------------------------+\n"
        f"| NVIDIA-SMI {driver:<22} Driver Version: {driver:<12} CUDA Version: {cuda:<8} |\n"
        "|-----------------------------------------+----------------------+----------------------+"
    )


def rows(*gpus: tuple[str, int | str], driver: str = "535.161.08", mig: Sequence[int] = ()) -> list[str]:
    """Lines of the query: name and reported memory of each GPU."""
    return [
        f"{index}, {name}, {memory}, {driver}, GPU-0000000{index}, {'Enabled' if index in mig else '[N/A]'}"
        for index, (name, memory) in enumerate(gpus)
    ]


def working(
    *gpus: tuple[str, int | str], cuda: str = "12.2", driver: str = "535.161.08", mig: Sequence[int] = ()
) -> Graphics:
    """GPUs with driver and toolkit."""
    found = rows(*gpus, driver=driver, mig=mig)
    kernel = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Thu Oct 19 22:23:51 UTC 2023"
    return Graphics(rows=found, banner=banner(driver, cuda), driver_file=kernel, toolkit=CTK)


H100_PCI = "65:00.0 3D controller [0302]: NVIDIA Corporation GH100 [H100 SXM5 80GB] [10de:2330] (rev a1)"
NO_GPU = Graphics(rows=None)
H100_8 = working(*[("NVIDIA H100 80GB HBM3", 81559)] * 8)
MIXED = working(("NVIDIA A100-SXM4-40GB", 40960), ("NVIDIA A100-SXM4-40GB", 40960), ("Tesla T4", 15360))
L40S_4 = working(*[("NVIDIA L40S", 46068)] * 4, cuda="12.4", driver="550.54.15")
MIG_ON = working(*[("NVIDIA A100-SXM4-80GB", 81920)] * 2, mig=(0,))
MIG_ONLY = working(*[("NVIDIA H100 80GB HBM3", 81559)] * 2, mig=(0, 1))
OLD_CUDA = working(("Tesla V100-SXM2-16GB", 16384), cuda="11.4", driver="470.239.06")
NOT_FOUND = Graphics(rows=["No devices were found"], exit=6, banner="No devices were found", pci=[H100_PCI])
MISMATCH = Graphics(
    rows=["Failed to initialize NVML: Driver/library version mismatch", "NVML library version: 535.161"],
    exit=18,
    banner="Failed to initialize NVML: Driver/library version mismatch",
    driver_file="NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023",
    pci=[H100_PCI],
    toolkit=CTK,
)
NO_DRIVER = Graphics(rows=None, pci=[H100_PCI, "65:00.1 Audio device [0403]: NVIDIA Corporation [10de:22e8] (rev a1)"])
NO_COMMUNICATION = Graphics(
    rows=[
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
        "Make sure that the latest NVIDIA driver is installed and running."
    ],
    exit=9,
    pci=[H100_PCI],
)
NO_LIBRARY = Graphics(
    rows=[
        "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the NVIDIA Display "
        "Driver is properly installed and present in your system."
    ],
    exit=12,
    pci=[H100_PCI],
)
FELL_OFF = Graphics(
    rows=[
        *rows(("NVIDIA A100-SXM4-80GB", 81920)),
        "Unable to determine the device handle for GPU 0000:65:00.0: Unknown Error",
    ],
    exit=15,
    banner="Unable to determine the device handle for GPU 0000:65:00.0: Unknown Error",
    toolkit=CTK,
)
ORIN = Graphics(
    rows=["0, Orin (nvgpu), [N/A], 540.3.0, [N/A], [N/A]"], banner=banner("540.3.0", "12.2"), toolkit=CTK, embedded=True
)

PLAIN_INFO = {
    "ServerVersion": "26.1.3",
    "Runtimes": {"io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}},
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin"],
    "OSType": "linux",
}
NVIDIA_INFO = {**PLAIN_INFO, "Runtimes": {**PLAIN_INFO["Runtimes"], "nvidia": {"path": "nvidia-container-runtime"}}}
CDI_INFO = {**PLAIN_INFO, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}]}
ROOTLESS_INFO = {**PLAIN_INFO, "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"]}
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"

NO_DOCKER = DockerSays(path="")
DOCKER = DockerSays(root=PLAIN_INFO)
DOCKER_NVIDIA = DockerSays(root=NVIDIA_INFO)
DOCKER_CDI = DockerSays(root=CDI_INFO)
DOCKER_DOWN = DockerSays(root=NO_DAEMON, user=NO_DAEMON)
DOCKER_DENIED = DockerSays(
    user="permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
)
DOCKER_ROOTLESS = DockerSays(root=NO_DAEMON, user=ROOTLESS_INFO)
DOCKER_SNAP = DockerSays(path="/snap/bin/docker", root=PLAIN_INFO)
PODMAN = DockerSays(client="podman version 4.9.4", root={"host": {"arch": "amd64"}, "version": {"Version": "4.9.4"}})

IP_ADDR = (
    "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever",
    "2: ens5    inet 10.0.0.7/24 metric 100 brd 10.0.0.255 scope global dynamic ens5\\       valid_lft 3000sec",
    "2: ens5    inet6 fe80::8ff:feaa:bbcc/64 scope link \\       valid_lft forever preferred_lft forever",
)


def recording(
    os: Os = UBUNTU_22,
    gpu: Graphics = NO_GPU,
    docker: DockerSays = DOCKER,
    *,
    user: str = "ubuntu",
    sudo: str = "yes",
    sudo_error: str = "",
    pythons: Sequence[str] | None = None,
    addresses: Iterable[tuple[str, str]] = tuple(("ip", line) for line in IP_ADDR),
    default: str = "ens5",
    disk: str = "/dev/nvme0n1p1  203056560 61234567 131481993      32% /",
    api: tuple[str, str, int] = ("curl", "200", 0),
    dns: str = "0",
    proxies: Sequence[str] = (),
    owner: str | None = None,
    agent: str = "",
    clock: datetime = NOW,
    extra: Iterable[tuple[str, str]] = (),
) -> str:
    """The whole output for one host. The default passes every check."""
    lines: list[tuple[str, str]] = [("tidepool-probe", "1"), ("hostname", "box"), ("kernel", "Linux")]
    lines += [("kernel_version", os.kernel_version), ("arch", os.arch)]
    lines += [("os", line) for line in os.release.splitlines()]
    lines += _command("libc", os.libc)
    lines += [("boot_id", "8f6c3f4e-0000-4000-8000-000000000001"), ("uptime", "86400.15 170000.20")]
    lines += [
        ("machine_id", "3d1219c7c4c5404aaa1f6d2a48adfda4"),
        ("user", user),
        ("uid", "0" if user == "root" else "1000"),
    ]
    lines += [("init", os.init), *(_command("init_version", os.init_version) if os.init_version else ())]
    lines += [
        ("cpus", "16"),
        ("cpu_max", ""),
        ("cpu_quota", " "),
        ("memory_kib", "65834420"),
        ("disk_path", "/var/lib"),
    ]
    lines += _command("disk", f"Filesystem     1024-blocks     Used Available Capacity Mounted on\n{disk}")
    lines += [("sudo", "root" if user == "root" else sudo), *([("sudo_error", sudo_error)] if sudo_error else ())]
    lines += [("python", line) for line in ([os.python] if pythons is None else pythons)]
    lines += [*addresses, ("default", default)]
    lines += _docker(docker)
    lines += _graphics(gpu)
    lines += [("proxy", name) for name in proxies]
    lines += [("dns", dns)] if dns else []
    lines += [("api_tool", api[0]), *_command("api", api[1], api[2])] if api[0] else []
    lines += [("owner_file", "yes"), *(("owner", line) for line in owner.splitlines())] if owner is not None else []
    lines += [("agent", agent)] if agent else []
    lines += [*extra, ("clock_ms", str(int(clock.timestamp() * 1000))), ("end", "tidepool-probe")]
    return "".join(f"{key}\t{value}\n" for key, value in lines)


def _command(key: str, output: str, status: int = 0) -> list[tuple[str, str]]:
    return [*((key, line) for line in output.splitlines()), (f"{key}.exit", str(status))]


def _docker(docker: DockerSays) -> list[tuple[str, str]]:
    if not docker.path:
        return []
    lines = [("docker", docker.path), *_command("docker_client", docker.client)]
    for key, said in (("docker_root", docker.root), ("docker_user", docker.user)):
        if isinstance(said, dict):
            lines += _command(key, json.dumps(said))
        elif said is not None:
            lines += _command(key, said, 1)
    return lines


def _graphics(gpu: Graphics) -> list[tuple[str, str]]:
    lines = [("embedded", "nvidia")] if gpu.embedded else []
    lines += [("driver", gpu.driver_file)] if gpu.driver_file else []
    if gpu.rows is not None:
        lines += [*(("gpu", row) for row in gpu.rows), ("gpu.exit", str(gpu.exit))]
        lines += _command("banner", gpu.banner, gpu.exit)
    lines += [("pci", line) for line in gpu.pci]
    return lines + (_command("toolkit", gpu.toolkit) if gpu.toolkit else [])

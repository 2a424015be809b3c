"""What was found on a host that may be adopted, as plain facts. `domain.adoption` judges them.

`chalicelib.ssh.probe` makes a `HostProbe` of the output of its script. A fact that a host cannot tell is empty, zero
or None: that is an answer as well, and the judgement says what it means. Memory and disk are whole MiB.
"""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final

from chalicelib.domain import gpus
from chalicelib.domain.model import Gpu, Resources

OLDEST_PYTHON: Final = (3, 8)
"""What the agent runs on."""


@dataclass(frozen=True, slots=True)
class System:
    """The operating system. `distribution` and `like` are `ID` and `ID_LIKE` of os-release(5), `arch` is `uname -m`."""

    name: str
    distribution: str
    like: tuple[str, ...]
    version: str
    kernel: str
    kernel_version: str
    arch: str
    libc: str


@dataclass(frozen=True, slots=True)
class Python:
    """One interpreter. `has_tls` is whether it can `import ssl`; some minimal installations cannot."""

    path: str
    version: tuple[int, ...]
    has_tls: bool

    @property
    def fits(self) -> bool:
        """Whether the agent runs on it."""
        return self.version >= OLDEST_PYTHON and self.has_tls


@dataclass(frozen=True, slots=True)
class Docker:
    """What there is of Docker. `daemon` is the version of the one that root reaches, "" where root reaches none.

    `by_user` is whether the user reaches that or another one without sudo. `runtimes` and `devices` (names of the
    Container Device Interface) are the daemon's. `error` is what it or sudo said instead of an answer.
    """

    client: str = ""
    daemon: str = ""
    by_user: bool = False
    runtimes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    is_rootless: bool = False
    is_snap: bool = False
    is_podman: bool = False
    error: str = ""

    @property
    def knows_nvidia(self) -> bool:
        """Whether the daemon itself says that it can hand NVIDIA GPUs to a container."""
        return "nvidia" in self.runtimes or any(name.startswith("nvidia.com/gpu") for name in self.devices)


@dataclass(frozen=True, slots=True)
class FoundGpu:
    """One GPU as `nvidia-smi` names it. `memory_mib` is what it reports, 0 where it does not (memory is shared)."""

    index: int
    name: str
    memory_mib: int
    uuid: str = ""
    is_split: bool = False
    """In MIG mode: it cannot be used as a whole."""


@dataclass(frozen=True, slots=True)
class Nvidia:
    """What there is of NVIDIA's hardware and software. `cards` are the devices on the PCI bus that compute.

    `has_smi` is whether the command is there, `error` what it said instead of an answer. `cuda` is the newest version
    that the driver supports. `toolkit` is the version of the container toolkit, "" where it is not installed.
    """

    cards: tuple[str, ...] = ()
    gpus: tuple[FoundGpu, ...] = ()
    driver: str = ""
    cuda: tuple[int, ...] = ()
    has_smi: bool = False
    error: str = ""
    toolkit: str = ""
    is_embedded: bool = False
    """A system-on-chip (Jetson): its GPU is on no bus, and older systems have no `nvidia-smi`."""

    @property
    def is_present(self) -> bool:
        """Whether the host has NVIDIA hardware, whatever works of it."""
        return bool(self.cards or self.gpus or self.driver or self.is_embedded)


@dataclass(frozen=True, slots=True)
class Address:
    """One address of one interface, with its prefix."""

    interface: str
    value: IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Reach:
    """How the host reaches the API. `dns` is True, False, or None where nothing could tell; `status` is the HTTP one.

    `tool` is what asked ("" where there is none), `proxies` which proxy variables are set (the agent heeds none).
    """

    dns: bool | None = None
    tool: str = ""
    status: int = 0
    error: str = ""
    proxies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner file. All fields are empty where it cannot be read as one; `text` is what stands in it."""

    control_plane: str = ""
    control_plane_url: str = ""
    instance_id: str = ""
    project: str = ""
    since: str = ""
    text: str = ""

    @property
    def words(self) -> str:
        """Whose the host is, for a person; where the file cannot be read, what stands in it."""
        who = self.control_plane_url or self.control_plane
        if not who:
            return self.text
        return f"{who}, project {self.project}, instance {self.instance_id}, since {self.since}"


@dataclass(frozen=True, slots=True)
class HostProbe:
    """Everything that the probe found. `clock` is the host's own time at the very end of the probe.

    `sudo` is `root`, `yes` or `no`, with sudo's words in `sudo_error`. `init` is `systemd` or the name of process 1.
    `cpus` counts what this system may use: affinity and cgroup quota included.
    """

    hostname: str
    system: System
    boot_id: str
    machine_id: str
    uptime_s: int
    user: str
    uid: int
    pythons: tuple[Python, ...]
    sudo: str
    sudo_error: str
    init: str
    init_version: str
    docker: Docker
    nvidia: Nvidia
    cpus: int
    memory_mib: int
    disk_path: str
    disk_total_mib: int
    disk_free_mib: int
    addresses: tuple[Address, ...]
    default_interfaces: tuple[str, ...]
    reach: Reach
    owner: Owner | None
    agent: str
    """The state of our unit, `files` where there are files of ours without a unit, or ""."""
    clock: datetime

    @property
    def python(self) -> Python | None:
        """The interpreter that the agent would run on."""
        return next((each for each in self.pythons if each.fits), None)

    @property
    def may_root(self) -> bool:
        """Whether commands can be run as root without a password."""
        return self.sudo in {"root", "yes"}


def resources(probe: HostProbe) -> Resources:
    """Say what the host brings into a pool: equal GPUs counted together, different ones apart, split ones not at all.

    The disk is what is free of it, because what is used is not ours.
    """
    counts: dict[tuple[str, int], int] = {}
    for each in probe.nvidia.gpus:
        if not each.is_split:
            model = (gpus.sold_as(each.name), gpus.nominal_mib(each.memory_mib or probe.memory_mib))
            counts[model] = counts.get(model, 0) + 1
    found = tuple(Gpu(name, memory, count) for (name, memory), count in counts.items())
    return Resources(max(1, probe.cpus), probe.memory_mib, probe.disk_free_mib, found)

"""Everything that the checks of an adoption can find, as data: codes, what each means, and the command that fixes it.

A code is public: kebab-case, never renamed. A fix is written for the host's own package manager; `{words}` in it are
filled in by `domain.adoption`. The reference page of the checks is generated from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from chalicelib.domain.fixes import (
    CLEAN_UP,
    CONFIGURE_TOOLKIT,
    DRIVER_BY_APT,
    DRIVER_BY_DNF,
    DRIVER_LOG,
    DRIVER_PAGE,
    END_MIG,
    GET_DOCKER,
    INSTALL_DOCKER,
    KEYRING,
    MAY_ROOT,
    REBUILD_DRIVER,
    START_DOCKER,
    SUDOERS,
    SYNC_CLOCK,
    SYNC_CLOCKS,
    THEN_CONFIGURE,
    TOOLKIT,
    TOOLKIT_BY_DNF,
    TOOLKIT_PAGE,
    Family,
)


class Check(StrEnum):
    """What is looked at, in the order in which it is told."""

    REACHABILITY = "reachability"
    HOST_KEY = "host-key"
    AUTHENTICATION = "authentication"
    OS = "os"
    ARCHITECTURE = "architecture"
    PYTHON = "python"
    SUDO = "sudo"
    INIT = "init"
    DISK = "disk"
    CLOCK = "clock"
    DNS = "dns"
    API = "api"
    NETWORK = "network"
    DOCKER = "docker"
    DRIVER = "nvidia-driver"
    CUDA = "cuda"
    TOOLKIT = "nvidia-toolkit"
    GPUS = "gpus"
    OWNER = "owner"


class Status(StrEnum):
    """How a check went. Only `fail` stands in the way of an adoption."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


DISTRIBUTIONS: Final[Mapping[str, Family]] = {
    "debian": Family.APT, "ubuntu": Family.APT, "raspbian": Family.APT,
    "amzn": Family.AMAZON,
    "rhel": Family.DNF, "fedora": Family.DNF, "centos": Family.DNF, "rocky": Family.DNF, "almalinux": Family.DNF,
    "ol": Family.DNF,
    "alpine": Family.APK,
    "suse": Family.ZYPPER, "opensuse": Family.ZYPPER, "sles": Family.ZYPPER,
    "arch": Family.PACMAN,
}  # fmt: skip
"""`ID` and `ID_LIKE` of os-release(5) -> package manager."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that can be wrong. `fix` serves every system that `fixes` does not name; both may be empty."""

    check: Check
    status: Status
    meaning: str
    fix: str = ""
    fixes: Mapping[Family, str] = field(default_factory=dict)

    def fix_for(self, family: Family | None) -> str:
        """The command, or the advice, for one kind of system."""
        return self.fixes.get(family, self.fix) if family else self.fix


F, W = Status.FAIL, Status.WARN

FINDINGS: Final[Mapping[str, Finding]] = {
    # --- from the connection
    "unreachable": Finding(
        Check.REACHABILITY, F, "No connection came about: the name, the port, a firewall or a route is wrong.",
        "ssh -v {target}  # shows whether it is the name, the port, a firewall or a route",
    ),
    "target-refused": Finding(
        Check.REACHABILITY, F, "The address is outside of what this control plane may connect to.",
        "use --from-here, or have the operator add its network to TIDEPOOL_HOST_NETWORKS",
    ),
    "target-never": Finding(
        Check.REACHABILITY, F,
        "Loopback, link-local and metadata addresses are never connected to, whatever the operator allows.",
        "name the host by an address that others reach it by, or use --from-here",
    ),
    "not-ssh": Finding(
        Check.REACHABILITY, F, "Something answers on that port, but not an SSH server we can talk to.",
        "name the port of the SSH server with -p",
    ),
    "connection-lost": Finding(
        Check.REACHABILITY, F, "The connection broke off in the middle.",
        "try again, and check the network if it repeats"
    ),
    "command-timeout": Finding(
        Check.REACHABILITY, F, "The host took too long for a command.",
        "timeout 30 nvidia-smi; timeout 30 sudo docker info  # on the host, to see what hangs",
    ),
    "jump-unreachable": Finding(
        Check.REACHABILITY, F,
        "The jump host could not be connected to. Names of it that only an ssh_config knows are not known here.",
        "ssh -v ssh://{jump}  # does it answer? Names that only your ssh_config knows need --from-here",
    ),
    "jump-refused": Finding(
        Check.REACHABILITY, F, "The jump host's address is outside of what this control plane may connect to.",
        "use --from-here, or have the operator add the jump host's network to TIDEPOOL_HOST_NETWORKS",
    ),
    "jump-auth-failed": Finding(
        Check.REACHABILITY, F, "The jump host does not let this user in with this key. One key is used for both hosts.",
        "ssh-copy-id -i KEY.pub {jump}  # or use --from-here, where each host may have a key of its own",
    ),
    "jump-host-key": Finding(
        Check.REACHABILITY, F, "The jump host's key is not the one that was given, or that was pinned.",
        "cat /etc/ssh/ssh_host_*_key.pub | ssh-keygen -lf -  # on the jump host, to compare",
    ),
    "host-key-mismatch": Finding(
        Check.HOST_KEY, F, "The host's key is not the one that the request gave, by --host-key or from known_hosts.",
        "cat /etc/ssh/ssh_host_*_key.pub | ssh-keygen -lf -  # on the host, to compare",
    ),
    "host-key-changed": Finding(
        Check.HOST_KEY, F, "The host's key is not the one that was pinned: another machine, or somebody in between.",
        "if the host was really reinstalled: remove it from the pool and add it again",
    ),
    "host-key-new": Finding(
        Check.HOST_KEY, W, "The instance that was at this address before had another host key.",
        "cat /etc/ssh/ssh_host_*_key.pub | ssh-keygen -lf -  # on the host, to compare, unless it was reinstalled",
    ),
    "auth-failed": Finding(
        Check.AUTHENTICATION, F, "The host does not let this user in with this key.",
        "ssh-copy-id -i KEY.pub {target}  # or add it to ~{user}/.ssh/authorized_keys on the host",
    ),
    "script-output": Finding(
        Check.AUTHENTICATION, F, "The user may log in, and is given no POSIX shell that runs what it is sent.",
        "echo 'echo ok' | ssh {target} sh -s  # must print ok; see ForceCommand, command=, ~/.bashrc",
    ),
    # --- from the probe
    "os-unsupported": Finding(Check.OS, F, "The agent's jobs need Linux.", "use a Linux host"),
    "os-unknown": Finding(
        Check.OS, W, "The distribution is not known, which changes nothing but that fixes are told in general words."
    ),
    "architecture-unsupported": Finding(
        Check.ARCHITECTURE, F, "Neither x86-64 nor 64-bit ARM.", "use a host with x86_64 or aarch64"
    ),
    "python-missing": Finding(
        Check.PYTHON, F, "There is no Python 3.", "install Python 3.8 or newer",
        {
            Family.APT: "sudo apt-get install -y python3", Family.DNF: "sudo dnf install -y python3",
            Family.AMAZON: "sudo dnf install -y python3", Family.APK: "sudo apk add python3",
            Family.ZYPPER: "sudo zypper install -y python311", Family.PACMAN: "sudo pacman -S --noconfirm python",
        },
    ),
    "python-too-old": Finding(
        Check.PYTHON, F, "The agent needs Python 3.8 or newer.", "install Python 3.8 or newer beside it",
        {
            Family.APT: "sudo apt-get install -y python3.8  # Ubuntu; Debian 10: upgrade it",
            Family.DNF: "sudo dnf install -y python3.11",
            Family.AMAZON: "sudo dnf install -y python3.11", Family.ZYPPER: "sudo zypper install -y python311",
        },
    ),
    "python-without-tls": Finding(
        Check.PYTHON, F, "Python cannot import ssl, so the agent could not call the API.",
        "install the ssl module of Python", {Family.APT: "sudo apt-get install -y python3 libpython3-stdlib"},
    ),
    "sudo-missing": Finding(
        Check.SUDO, F, "The user is not root, and there is no sudo.", "install sudo, or connect as root",
        {
            Family.APT: "su -c 'apt-get install -y sudo'", Family.DNF: "su -c 'dnf install -y sudo'",
            Family.AMAZON: "su -c 'dnf install -y sudo'", Family.APK: "su -c 'apk add sudo'",
            Family.ZYPPER: "su -c 'zypper install -y sudo'", Family.PACMAN: "su -c 'pacman -S --noconfirm sudo'",
        },
    ),
    "sudo-needs-password": Finding(
        Check.SUDO, F,
        "sudo asks for a password, and there is nobody to type it. It asks those who are not in sudoers as well.",
        f"{MAY_ROOT}  # on the host, by {{user}}, or by root or an administrator if {{user}} is not in sudoers",
    ),
    "sudo-not-allowed": Finding(
        Check.SUDO, F, "The user may not use sudo.",
        f"{MAY_ROOT}  # on the host, by root or an administrator",
    ),
    "sudo-needs-tty": Finding(
        Check.SUDO, F, "sudo insists on a terminal.",
        f"echo 'Defaults:{{user}} !requiretty' | {SUDOERS}  # on the host, at a terminal",
    ),
    "no-systemd": Finding(
        Check.INIT, W, "There is no systemd: the agent is started by a loop of its own, and at boot by cron or OpenRC."
    ),
    "disk-low": Finding(
        Check.DISK, W, "Little room is left for images and data.", CLEAN_UP
    ),
    "disk-full": Finding(
        Check.DISK, F, "There is no room for the agent and a job.", CLEAN_UP
    ),
    "disk-unknown": Finding(
        Check.DISK, W, "The host did not tell how much of its disk is free.", "df -Pk {path}  # on the host, to see why"
    ),
    "clock-skewed": Finding(
        Check.CLOCK, W, "The clock is some seconds off: times in logs will not agree.", SYNC_CLOCK, SYNC_CLOCKS
    ),
    "clock-wrong": Finding(
        Check.CLOCK, F, "The clock is so far off that signed links and certificates count as expired.",
        SYNC_CLOCK, SYNC_CLOCKS,
    ),
    "dns-failed": Finding(
        Check.DNS, F, "The host cannot resolve the name of the API.",
        "getent hosts {api_host}; cat /etc/resolv.conf  # on the host: which name servers it asks",
    ),
    "dns-unknown": Finding(Check.DNS, W, "Nothing on the host could tell whether names resolve.", "install curl"),
    "api-unreachable": Finding(
        Check.API, F, "The host cannot connect to the API. The agent connects directly, through no proxy.",
        "curl -v --noproxy '*' {api_url}/v1/health  # on the host; let it connect to {api_host}",
    ),
    "api-loopback": Finding(
        Check.API, F, "The API's address is a loopback one, which on the host is the host itself.",
        "have the operator set TIDEPOOL_PUBLIC_URL to an address that hosts reach, or keep a tunnel open from there: "
        "ssh -NR {api_port}:{api_host}:{api_port} HOST",
    ),
    "api-certificate": Finding(
        Check.API, F, "The host does not trust the API's certificate.", "update the host's certificates",
        {
            Family.APT: "sudo apt-get install -y --reinstall ca-certificates",
            Family.DNF: "sudo dnf reinstall -y ca-certificates", Family.AMAZON: "sudo dnf reinstall -y ca-certificates",
            Family.APK: "sudo apk add ca-certificates && sudo update-ca-certificates",
            Family.ZYPPER: "sudo zypper install -y --force ca-certificates-mozilla && sudo update-ca-certificates",
        },
    ),
    "api-wrong-answer": Finding(
        Check.API, F, "Something else than the API answers there, such as a proxy's sign-in page.",
        "curl -v --noproxy '*' {api_url}/v1/health  # on the host; shows who answers",
    ),
    "api-unknown": Finding(
        Check.API, W, "There is neither curl, wget nor a fitting Python to try the API with.", "install curl",
        {
            Family.APT: "sudo apt-get install -y curl", Family.DNF: "sudo dnf install -y curl",
            Family.APK: "sudo apk add curl", Family.ZYPPER: "sudo zypper install -y curl",
            Family.PACMAN: "sudo pacman -S --noconfirm curl", Family.AMAZON: "sudo dnf install -y curl-minimal",
        },
    ),
    "no-address-in-network": Finding(
        Check.NETWORK, F, "The host has no address inside of the network that was named.",
        "ip -o addr  # on the host, to see its networks; then say one of them with --network",
    ),
    "no-network": Finding(
        Check.NETWORK, W, "No address is one that neighbours would use, so the host is alone: no run on several nodes.",
        "ip -o addr  # on the host; if neighbours reach one of these, say its network with --network",
    ),
    "address-taken": Finding(
        Check.NETWORK, F, "Another host has the same address in that network: they are two networks of two sites.",
        "give it another --region than the other host has, such as --region berlin: each site is a cluster of its own",
    ),
    "address-shared": Finding(
        Check.NETWORK, W, "Another host has the same address in that network: this one is in no run on several nodes.",
        "give it another --region than the other host has, or say with --network where neighbours reach it",
    ),
    "docker-missing": Finding(
        Check.DOCKER, W, "Without Docker only runs without an image work.", GET_DOCKER, INSTALL_DOCKER
    ),
    "docker-not-running": Finding(
        Check.DOCKER, W, "Docker is installed, and root reaches no daemon: runs with an image will fail.",
        START_DOCKER, {Family.APK: "sudo rc-update add docker && sudo service docker start"},
    ),
    "docker-unknown": Finding(
        Check.DOCKER, W, "Only root could ask Docker's daemon, and this user is not let.", "make sudo work first"
    ),
    "docker-rootless-only": Finding(
        Check.DOCKER, W, "Only the user's own daemon runs; the agent is root and does not reach it.",
        GET_DOCKER + "  # a daemon for the system, too", INSTALL_DOCKER,
    ),
    "docker-is-podman": Finding(
        Check.DOCKER, W, "`docker` is Podman here, which is not tested.", GET_DOCKER, INSTALL_DOCKER
    ),
    "docker-snap": Finding(
        Check.DOCKER, W, "Docker of a snap sees neither /var/lib/tidepool nor every GPU.",
        "sudo snap remove docker && " + GET_DOCKER,
    ),
    "driver-missing": Finding(
        Check.DRIVER, F, "There is an NVIDIA GPU, and no driver for it.", DRIVER_PAGE,
        {
            Family.APT: DRIVER_BY_APT,
            Family.DNF: f"{DRIVER_BY_DNF}  # with EPEL for dkms; Fedora: {DRIVER_PAGE}",
            Family.AMAZON: f"sudo dnf install -y nvidia-release && sudo dnf install -y nvidia-driver  # {DRIVER_PAGE}",
        },
    ),
    "driver-mismatch": Finding(
        Check.DRIVER, F, "The driver was updated, and the kernel still runs the old one.", "sudo reboot"
    ),
    "driver-not-working": Finding(
        Check.DRIVER, F,
        "The driver is installed and does not work: it is not loaded, not built for this kernel, or finds no GPU.",
        f"sudo reboot  # or build it for this kernel with its headers and dkms: {DRIVER_LOG}",
        {
            Family.APT: f"sudo apt-get install -y dkms linux-headers-$(uname -r) && {REBUILD_DRIVER}",
            Family.DNF: f"sudo dnf install -y kernel-devel-$(uname -r) && {REBUILD_DRIVER}",
            Family.AMAZON: f"sudo dnf install -y dkms kernel-devel-$(uname -r) && {REBUILD_DRIVER}",
            Family.ZYPPER: f"sudo zypper install -y kernel-default-devel && {REBUILD_DRIVER}",
        },
    ),
    "gpu-lost": Finding(
        Check.DRIVER, F, "A GPU does not answer any more.",
        "sudo reboot  # sudo dmesg | grep -i xid tells which, and why"
    ),
    "smi-missing": Finding(
        Check.DRIVER, F, "The driver is loaded, and there is no nvidia-smi to ask.", "install the driver's utilities",
        {Family.APT: "sudo apt-get install -y nvidia-utils-550-server || sudo apt-get install -y nvidia-smi"},
    ),
    "cuda-too-old": Finding(
        Check.CUDA, F, "The driver supports no CUDA 12.1.", "install driver 530 or newer: " + DRIVER_PAGE
    ),
    "cuda-unknown": Finding(
        Check.CUDA, W, "nvidia-smi names no version of CUDA.",
        "nvidia-smi  # CUDA Version must not be N/A there: libcuda, the driver's compute library, is not installed",
        {Family.APT: "sudo apt-get install -y libnvidia-compute-550-server  # or its other version; Debian: libcuda1"},
    ),
    "toolkit-missing": Finding(
        Check.TOOLKIT, F, "There is a GPU, and containers could not use it.", TOOLKIT_PAGE,
        {
            Family.APT: f"curl -fsSL {TOOLKIT}/gpgkey | sudo gpg --dearmor --yes -o {KEYRING} && "
            f"echo 'deb [signed-by={KEYRING}] {TOOLKIT}/stable/deb/$(ARCH) /' | sudo tee "
            f"/etc/apt/sources.list.d/nvidia-container-toolkit.list && sudo apt-get update && sudo apt-get install -y "
            f"{THEN_CONFIGURE}",
            Family.DNF: TOOLKIT_BY_DNF, Family.AMAZON: TOOLKIT_BY_DNF,
            Family.ZYPPER: f"sudo zypper addrepo {TOOLKIT}/stable/rpm/nvidia-container-toolkit.repo && "
            f"sudo zypper --gpg-auto-import-keys install -y {THEN_CONFIGURE}",
        },
    ),
    "toolkit-not-configured": Finding(
        Check.TOOLKIT, F, "The toolkit is installed, and Docker does not know of it.", CONFIGURE_TOOLKIT
    ),
    "toolkit-unproven": Finding(
        Check.TOOLKIT, W, "The toolkit is installed; without a Docker daemon nothing proves that containers get GPUs.",
        f"{START_DOCKER}  # or install Docker first",
    ),
    "gpus-missing": Finding(
        Check.GPUS, F, "The GPUs that were stated with --gpu are not all there.",
        "nvidia-smi -L; lspci | grep -i nvidia  # on the host, to find them; or correct --gpu",
    ),
    "gpus-split": Finding(
        Check.GPUS, W, "A GPU in MIG mode cannot be used as a whole and is left out.", END_MIG
    ),
    "gpus-all-split": Finding(
        Check.GPUS, F, "Every GPU is in MIG mode, so none can be used as a whole; this is no host without GPUs.",
        END_MIG,
    ),
    "owner-foreign": Finding(
        Check.OWNER, F, "The host belongs to another control plane.", "remove it there, or add it with --take-over"
    ),
    "owner-other-instance": Finding(
        Check.OWNER, F, "The owner file names another instance of this control plane, such as of another project.",
        "remove {instance_id} first, or add it with --take-over",
    ),
    "already-adopted": Finding(
        Check.OWNER, F, "The machine is an instance of this project already, under another address.",
        "tidepool pool rm {instance_id}  # first, to add it anew",
    ),
    "adopted-here": Finding(Check.OWNER, W, "The machine is an instance of this project already."),
    "owner-unreadable": Finding(
        Check.OWNER, F, "There is an owner file, and it cannot be read as one.",
        "look at it, then add the host with --take-over",
    ),
    "owner-taken-over": Finding(Check.OWNER, W, "The host is somebody else's and will be taken over, as was asked."),
    "files-left": Finding(
        Check.OWNER, W, "Files of an agent are there without an owner; the installation replaces them."
    ),
}  # fmt: skip

"""Everything that the checks of an adoption can find, as data: codes, what each means, and the command that fixes it.

A code is public: kebab-case, never renamed. A fix is written for the host's own package manager; `{words}` in it are
filled in by `domain.adoption`. The reference page of the checks is generated from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


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


class Family(StrEnum):
    """Which package manager a fix is written for."""

    APT = "apt"
    DNF = "dnf"
    AMAZON = "amazon"
    APK = "apk"
    ZYPPER = "zypper"
    PACMAN = "pacman"


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


GET_DOCKER: Final = "curl -fsSL https://get.docker.com | sudo sh"
TOOLKIT_PAGE: Final = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
DRIVER_PAGE: Final = "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide"
CONFIGURE_TOOLKIT: Final = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
THEN_CONFIGURE: Final = f"{CONFIGURE_TOOLKIT}  # {TOOLKIT_PAGE}"
DRIVER_LOG: Final = "sudo dmesg | grep -iE 'nvrm|nvidia' tells why"
REBUILD_DRIVER: Final = f"sudo dkms autoinstall && sudo modprobe nvidia  # else sudo reboot; {DRIVER_LOG}"
CLEAN_UP: Final = "free some of {path}, for example: docker system prune"
SYNC_CLOCK: Final = "sudo timedatectl set-ntp true"
F, W = Status.FAIL, Status.WARN

FINDINGS: Final[Mapping[str, Finding]] = {
    # --- from the connection
    "unreachable": Finding(
        Check.REACHABILITY, F, "No connection came about: the name, the port, a firewall or a route is wrong.",
        "check the address, the port and the firewall: ssh -v {target}",
    ),
    "target-refused": Finding(
        Check.REACHABILITY, F, "The address is outside of what this control plane may connect to.",
        "use --from-here, or have the operator add its network to TIDEPOOL_HOST_NETWORKS",
    ),
    "not-ssh": Finding(
        Check.REACHABILITY, F, "Something answers on that port, but not an SSH server we can talk to.",
        "name the port of the SSH server with -p",
    ),
    "connection-lost": Finding(
        Check.REACHABILITY, F, "The connection broke off in the middle.", "try again; check the network if it repeats"
    ),
    "command-timeout": Finding(
        Check.REACHABILITY, F, "The host took too long for a command.", "check what hangs there, such as nvidia-smi"
    ),
    "host-key-mismatch": Finding(
        Check.HOST_KEY, F, "The host's key is not the one that was given.",
        "compare on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
    ),
    "host-key-changed": Finding(
        Check.HOST_KEY, F, "The host's key is not the one that was pinned: another machine, or somebody in between.",
        "if the host was really reinstalled: remove it from the pool and add it again",
    ),
    "auth-failed": Finding(
        Check.AUTHENTICATION, F, "The host does not let this user in with this key.",
        "add the public key to ~{user}/.ssh/authorized_keys on the host",
    ),
    # --- from the probe
    "os-unsupported": Finding(Check.OS, F, "The agent's jobs need Linux.", "use a Linux host"),
    "os-unknown": Finding(Check.OS, W, "The distribution is not known; fixes are told in general words."),
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
            Family.APT: "sudo apt-get install -y python3.8", Family.DNF: "sudo dnf install -y python3.11",
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
        },
    ),
    "sudo-needs-password": Finding(
        Check.SUDO, F, "sudo asks for a password, and there is nobody to type it.",
        "echo '{user} ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/90-{user}",
    ),
    "sudo-not-allowed": Finding(
        Check.SUDO, F, "The user may not use sudo.",
        "as root: echo '{user} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-{user}",
    ),
    "sudo-needs-tty": Finding(
        Check.SUDO, F, "sudo insists on a terminal.",
        "echo 'Defaults:{user} !requiretty' | sudo tee /etc/sudoers.d/91-{user}",
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
    "disk-unknown": Finding(Check.DISK, W, "The host did not tell how much of its disk is free."),
    "clock-skewed": Finding(Check.CLOCK, W, "The clock is some seconds off: times in logs will not agree.", SYNC_CLOCK),
    "clock-wrong": Finding(
        Check.CLOCK, F, "The clock is so far off that signed links and certificates count as expired.", SYNC_CLOCK
    ),
    "dns-failed": Finding(
        Check.DNS, F, "The host cannot resolve the name of the API.", "check /etc/resolv.conf: getent hosts {api_host}"
    ),
    "dns-unknown": Finding(Check.DNS, W, "Nothing on the host could tell whether names resolve."),
    "api-unreachable": Finding(
        Check.API, F, "The host cannot connect to the API. The agent connects directly, through no proxy.",
        "open outgoing connections to {api_host}: curl -v {api_url}/v1/health",
    ),
    "api-certificate": Finding(
        Check.API, F, "The host does not trust the API's certificate.", "update the host's certificates",
        {
            Family.APT: "sudo apt-get install -y --reinstall ca-certificates",
            Family.DNF: "sudo dnf reinstall -y ca-certificates", Family.AMAZON: "sudo dnf reinstall -y ca-certificates",
            Family.APK: "sudo apk add ca-certificates && sudo update-ca-certificates",
        },
    ),
    "api-wrong-answer": Finding(
        Check.API, F, "Something else than the API answers there, such as a proxy's sign-in page.",
        "curl -v {api_url}/v1/health",
    ),
    "api-unknown": Finding(
        Check.API, W, "There is neither curl, wget nor a fitting Python to try the API with.", "install curl",
        {
            Family.APT: "sudo apt-get install -y curl", Family.DNF: "sudo dnf install -y curl",
            Family.APK: "sudo apk add curl",
        },
    ),
    "docker-missing": Finding(
        Check.DOCKER, W, "Without Docker only runs without an image work.", GET_DOCKER,
        {
            Family.AMAZON: "sudo dnf install -y docker && sudo systemctl enable --now docker",
            Family.APK: "sudo apk add docker && sudo rc-update add docker && sudo service docker start",
            Family.ZYPPER: "sudo zypper install -y docker && sudo systemctl enable --now docker",
            Family.PACMAN: "sudo pacman -S --noconfirm docker && sudo systemctl enable --now docker",
        },
    ),
    "docker-not-running": Finding(
        Check.DOCKER, W, "Docker is installed, and root reaches no daemon: runs with an image will fail.",
        "sudo systemctl enable --now docker",
        {Family.APK: "sudo rc-update add docker && sudo service docker start"},
    ),
    "docker-unknown": Finding(
        Check.DOCKER, W, "Only root could ask Docker's daemon, and this user is not let.", "make sudo work first"
    ),
    "docker-rootless-only": Finding(
        Check.DOCKER, W, "Only the user's own daemon runs; the agent is root and does not reach it.",
        "run a daemon for the system too: " + GET_DOCKER,
    ),
    "docker-is-podman": Finding(
        Check.DOCKER, W, "`docker` is Podman here, which is not tested.", "install Docker itself: " + GET_DOCKER
    ),
    "docker-snap": Finding(
        Check.DOCKER, W, "Docker of a snap sees neither /var/lib/tidepool nor every GPU.",
        "sudo snap remove docker && " + GET_DOCKER,
    ),
    "driver-missing": Finding(
        Check.DRIVER, F, "There is an NVIDIA GPU, and no driver for it.", DRIVER_PAGE,
        {
            Family.APT: "sudo apt-get install -y nvidia-driver-550-server  # Debian: nvidia-driver",
            Family.DNF: "sudo dnf module install -y nvidia-driver:latest-dkms  # " + DRIVER_PAGE,
            Family.AMAZON: "sudo dnf install -y nvidia-release && sudo dnf install -y nvidia-driver",
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
        {Family.APT: "sudo apt-get install -y nvidia-utils-550-server"},
    ),
    "cuda-too-old": Finding(
        Check.CUDA, F, "The driver supports no CUDA 12.1.", "install driver 530 or newer: " + DRIVER_PAGE
    ),
    "cuda-unknown": Finding(Check.CUDA, W, "nvidia-smi names no version of CUDA."),
    "toolkit-missing": Finding(
        Check.TOOLKIT, F, "There is a GPU, and containers could not use it.", TOOLKIT_PAGE,
        {
            Family.APT: "sudo apt-get install -y nvidia-container-toolkit && " + THEN_CONFIGURE,
            Family.DNF: "sudo dnf install -y nvidia-container-toolkit && " + THEN_CONFIGURE,
            Family.AMAZON: "sudo dnf install -y nvidia-container-toolkit && " + THEN_CONFIGURE,
        },
    ),
    "toolkit-not-configured": Finding(
        Check.TOOLKIT, F, "The toolkit is installed, and Docker does not know of it.", CONFIGURE_TOOLKIT
    ),
    "toolkit-unproven": Finding(
        Check.TOOLKIT, W, "The toolkit is installed; without a Docker daemon nothing proves that containers get GPUs.",
        "make Docker work first",
    ),
    "gpus-missing": Finding(
        Check.GPUS, F, "The GPUs that were stated with --gpu are not all there.",
        "correct --gpu, or find the missing ones: nvidia-smi -L; lspci | grep -i nvidia",
    ),
    "gpus-split": Finding(
        Check.GPUS, W, "A GPU in MIG mode cannot be used as a whole and is left out.",
        "sudo nvidia-smi -i {index} -mig 0",
    ),
    "owner-foreign": Finding(
        Check.OWNER, F, "The host belongs to another control plane.", "remove it there, or add it with --take-over"
    ),
    "owner-other-instance": Finding(
        Check.OWNER, F, "The host is another instance of this control plane.",
        "remove {instance_id} first, or add it with --take-over",
    ),
    "owner-unreadable": Finding(
        Check.OWNER, F, "There is an owner file, and it cannot be read as one.",
        "look at it, then add the host with --take-over",
    ),
    "owner-taken-over": Finding(Check.OWNER, W, "The host is somebody else's and will be taken over, as was asked."),
    "files-left": Finding(
        Check.OWNER, W, "Files of an agent are there without an owner; the installation replaces them."
    ),
}  # fmt: skip

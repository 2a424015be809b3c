"""Commands that put a host right, as they are typed there: longer ones, and those that several findings share.

What is not sure to hold stands behind a `#`, so that each can be pasted into a shell as it is. `{words}` are filled in
by `domain.adoption`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Family(StrEnum):
    """Which package manager a fix is written for."""

    APT = "apt"
    DNF = "dnf"
    AMAZON = "amazon"
    APK = "apk"
    ZYPPER = "zypper"
    PACMAN = "pacman"


GET_DOCKER: Final = "curl -fsSL https://get.docker.com | sudo sh"
DOCKER_REPOSITORY: Final = "https://download.docker.com/linux/centos/docker-ce.repo"
START_DOCKER: Final = "sudo systemctl enable --now docker"
INSTALL_DOCKER: Final[Mapping[Family, str]] = {
    Family.DNF: f"curl -fsSL {DOCKER_REPOSITORY} | sudo tee /etc/yum.repos.d/docker-ce.repo && sudo dnf install -y "
    f"--allowerasing docker-ce && {START_DOCKER}  # Fedora: .../linux/fedora/docker-ce.repo",
    Family.AMAZON: f"sudo dnf install -y docker && {START_DOCKER}",
    Family.APK: "sudo apk add docker && sudo rc-update add docker && sudo service docker start",
    Family.ZYPPER: f"sudo zypper install -y docker && {START_DOCKER}",
    Family.PACMAN: f"sudo pacman -S --noconfirm docker && {START_DOCKER}",
}
"""Docker's own script serves Debian and Ubuntu, and no clone of RHEL."""

KEYRING: Final = "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg"
TOOLKIT: Final = "https://nvidia.github.io/libnvidia-container"
TOOLKIT_PAGE: Final = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
DRIVER_PAGE: Final = "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide"
CONFIGURE_TOOLKIT: Final = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
THEN_CONFIGURE: Final = f"nvidia-container-toolkit && {CONFIGURE_TOOLKIT}"
TOOLKIT_BY_DNF: Final = (
    f"curl -fsSL {TOOLKIT}/stable/rpm/nvidia-container-toolkit.repo | sudo tee "
    f"/etc/yum.repos.d/nvidia-container-toolkit.repo && sudo dnf install -y {THEN_CONFIGURE}"
)
DRIVER_REPOSITORY: Final = "https://developer.download.nvidia.com/compute/cuda/repos"
DRIVER_BY_DNF: Final = (
    f"v=rhel$(rpm -E %rhel); curl -fsSL {DRIVER_REPOSITORY}/$v/$(uname -m | sed s/aarch64/sbsa/)/cuda-$v.repo | "
    "sudo tee /etc/yum.repos.d/cuda.repo && sudo dnf module install -y nvidia-driver:latest-dkms"
)
DRIVER_BY_APT: Final = (
    "sudo apt-get install -y nvidia-driver-550-server || sudo apt-get install -y nvidia-driver  "
    "# the second is Debian's, of its components contrib and non-free"
)
DRIVER_LOG: Final = "sudo dmesg | grep -iE 'nvrm|nvidia' tells why"
REBUILD_DRIVER: Final = f"sudo dkms autoinstall && sudo modprobe nvidia  # else sudo reboot; {DRIVER_LOG}"
END_MIG: Final = (
    "sudo nvidia-smi mig -i {index} -dci; sudo nvidia-smi mig -i {index} -dgi; sudo nvidia-smi -i {index} -mig 0"
)
"""Compute instances go first, then GPU instances. Source: NVIDIA MIG User Guide."""
CLEAN_UP: Final = (
    "sudo du -xhd 3 {path} | sort -h | tail -20  # what takes it; with Docker, `sudo docker image prune --all` "
    "removes the images that no container uses, which are pulled again when they are needed"
)
"""`docker system prune` would remove stopped containers as well, and what is in them."""
SYNC_CLOCK: Final = "sudo timedatectl set-ntp true"
SYNC_CLOCKS: Final[Mapping[Family, str]] = {
    Family.APT: f"{SYNC_CLOCK} || (sudo apt-get install -y chrony && sudo service chrony restart)",
    Family.DNF: f"{SYNC_CLOCK} || (sudo dnf install -y chrony && sudo systemctl enable --now chronyd)",
    Family.APK: "sudo apk add chrony && sudo rc-update add chronyd && sudo service chronyd restart",
}
"""timedatectl needs systemd, and a service that keeps the time; chrony needs neither."""
SUDOERS: Final = "sudo EDITOR='tee -a' visudo -f /etc/sudoers.d/90-tidepool"
"""visudo checks the line before it counts. The file is not called after the user: sudo passes over names with a dot."""
MAY_ROOT: Final = f"echo '{{user}} ALL=(ALL) NOPASSWD:ALL' | {SUDOERS}"

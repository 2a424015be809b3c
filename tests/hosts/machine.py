"""What a host is: its users, its software and what is wrong with it, written into a layer of its root."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.hosts import layers
from tests.hosts.gpus import Driver
from tests.hosts.keys import Key

STUBS = Path(__file__).parent / "stubs"
FIRST_UID = 1000
SYSTEMS = {
    "debian-12": ("debian", "", "12", "Debian GNU/Linux 12 (bookworm)"),
    "ubuntu-22.04": ("ubuntu", "debian", "22.04", "Ubuntu 22.04.4 LTS"),
    "ubuntu-18.04": ("ubuntu", "debian", "18.04", "Ubuntu 18.04.6 LTS"),
    "rocky-9": ("rocky", "rhel centos fedora", "9.4", "Rocky Linux 9.4 (Blue Onyx)"),
    "alpine-3.20": ("alpine", "", "3.20.1", "Alpine Linux v3.20"),
    "nixos-24.05": ("nixos", "", "24.05", "NixOS 24.05 (Uakari)"),
}
"""By the name a test uses: ID, ID_LIKE, VERSION_ID and PRETTY_NAME of os-release(5)."""
SUDOERS = {
    "free": ["{user} ALL=(ALL:ALL) NOPASSWD: ALL"],
    "password": ["{user} ALL=(ALL:ALL) ALL"],
    "tty": ["{user} ALL=(ALL:ALL) NOPASSWD: ALL", "Defaults:{user} requiretty"],
    "refused": [],
    "forbidden": ["Defaults:{user} !authenticate"],
}
INTERPRETER = f"#!/{layers.ENGINE}/python3 -IS\n"


@dataclass(frozen=True)
class User:
    """A user of a host.

    `sudo`: `free` (without a password), `password`, `tty` (without a password, on a terminal only), `refused` (not in
    sudoers, which sudo tells nobody who has not typed a password) or `forbidden` (the same, and it does tell).
    `has_docker`: whether the user is in the group that may use Docker.
    """

    name: str = "ubuntu"
    keys: Sequence[Key] = ()
    sudo: str = "free"
    has_docker: bool = False
    shell: str = "/bin/bash"


@dataclass(frozen=True)
class Machine:
    """Everything about a host but its name, its networks and who logs in. The default passes every check of a CPU host.

    `docker`: `absent`, `down` (no daemon), `plain`, `unconfigured` (the NVIDIA toolkit is there, and Docker does not
    know it), `nvidia` (the runtime is configured), `cdi` (devices by name). `python`: `""` for the system's own,
    `absent`, or a version that `python3` claims; `has_tls`: whether it has `ssl`. `arch`, `kernel`: what `uname -m` and
    `uname -s` say. `dns`: `works`, `broken` (each question fails at once) or `silent`; `names` is what it knows.
    `disk_mib`: 0 for more than enough. `sudo_installed`, `systemd`: whether the machine has them at all. `clock_skew_s`
    is seen by `date` and by Python.
    """

    systemd: bool = True
    sudo_installed: bool = True
    python: str = ""
    has_tls: bool = True
    system: str = "debian-12"
    arch: str = ""
    kernel: str = ""
    clock_skew_s: int = 0
    driver: Driver | None = None
    docker: str = "absent"
    disk_mib: int = 0
    dns: str = "works"
    names: Mapping[str, str] = field(default_factory=dict)


def write_layer(layer: Path, name: str, machine: Machine, users: Sequence[User]) -> None:
    """Write everything but sshd's settings and keys."""
    layer.mkdir()
    layer.chmod(0o755)
    layers.write(layer, "etc/hostname", f"{name}\n")
    layers.write(layer, "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n")
    layers.write(layer, "etc/machine-id", f"{os.urandom(16).hex()}\n")
    patience_s = 1 if machine.dns == "silent" else 30
    layers.write(layer, "etc/resolv.conf", f"nameserver 127.0.0.53\noptions timeout:{patience_s} attempts:1\n")
    layers.write(layer, "etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    kind, like, version, title = SYSTEMS[machine.system]
    release = f'PRETTY_NAME="{title}"\nNAME="{title.split()[0]}"\nID={kind}\nVERSION_ID="{version}"\n'
    release += f'ID_LIKE="{like}"\n' if like else ""
    layers.write(layer, "etc/os-release", release)
    _write_users(layer, users, sudo_installed=machine.sudo_installed)
    _write_python(layer, machine)
    _write_stubs(layer, machine)


def _write_users(layer: Path, users: Sequence[User], *, sudo_installed: bool) -> None:
    """Users log in by key alone; `*` is no password, yet no locked account either (sshd without PAM refuses those)."""
    passwd = ["root:x:0:0:root:/root:/bin/bash", "sshd:x:102:65534::/run/sshd:/usr/sbin/nologin"]
    passwd.append("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin")
    shadow = ["root:*:19000:0:99999:7:::", "sshd:!:19000::::::", "nobody:*:19000:0:99999:7:::"]
    groups = [
        "root:x:0:",
        "tty:x:5:",
        "shadow:x:42:",
        "utmp:x:43:",
        f"docker:x:998:{_docker_users(users)}",
        "nogroup:x:65534:",
    ]
    rules = ["Defaults env_reset", f'Defaults secure_path="{":".join(_SECURE)}"', "root ALL=(ALL:ALL) ALL"]
    for number, user in enumerate((user for user in users if user.name != "root"), start=FIRST_UID):
        passwd.append(f"{user.name}:x:{number}:{number}::/home/{user.name}:{user.shell}")
        shadow.append(f"{user.name}:*:19000:0:99999:7:::")
        groups.append(f"{user.name}:x:{number}:")
        home = layer / f"home/{user.name}"
        home.mkdir(parents=True)
        home.chmod(0o750)
        os.chown(home, number, number)
        _authorize(home, user, number)
        rules += [line.format(user=user.name) for line in SUDOERS[user.sudo]]
    for user in users:
        if user.name == "root":
            (layer / "root").mkdir(mode=0o700)
            _authorize(layer / "root", user, 0)
    layers.write(layer, "etc/passwd", "\n".join(passwd) + "\n")
    layers.write(layer, "etc/shadow", "\n".join(shadow) + "\n", mode=0o640)
    layers.write(layer, "etc/group", "\n".join(groups) + "\n")
    layers.write(layer, "etc/sudoers", "\n".join(rules) + "\n", mode=0o440)
    if not sudo_installed:
        layers.hide(layer / "usr/bin/sudo")


def _docker_users(users: Sequence[User]) -> str:
    return ",".join(user.name for user in users if user.has_docker)


_SECURE = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def _authorize(home: Path, user: User, owner: int) -> None:
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    os.chown(folder, owner, owner)
    text = "".join(f"{key.public}\n" for key in user.keys)
    layers.write(home, ".ssh/authorized_keys", text, mode=0o600, owner=owner)


def _write_python(layer: Path, machine: Machine) -> None:
    if machine.python:
        for path in Path("/usr/bin").glob("python*"):
            layers.hide(layer / "usr/bin" / path.name)
    if machine.python == "absent":
        return
    if machine.python or machine.clock_skew_s or not machine.has_tls:
        version = tuple(int(part) for part in machine.python.split(".")) if machine.python else None
        text = (STUBS / "lab_python.py").read_text()
        text = text.replace("VERSION = None", f"VERSION = {version}").replace(
            "SKEW_S = 0", f"SKEW_S = {machine.clock_skew_s}"
        )
        text = text.replace("HAS_TLS = True", f"HAS_TLS = {machine.has_tls}")
        layers.write(layer, "usr/lib/python3/dist-packages/lab_python.py", text)
        layers.write(layer, "usr/lib/python3/dist-packages/lab_python.pth", "import lab_python\n")  # also under -I
        if machine.python:
            text = f'[ "$*" = -V -o "$*" = --version ] && echo "Python {machine.python}" && exit\n'
            layers.write(layer, "usr/bin/python3", f'#!/bin/sh\n{text}exec /{layers.ENGINE}/python3 "$@"\n', mode=0o755)


def _write_stubs(layer: Path, machine: Machine) -> None:
    facts = {
        "docker": machine.docker,
        "driver": machine.driver.as_json() if machine.driver else None,
        "arch": machine.arch,
        "clock_skew_s": machine.clock_skew_s,
    }
    layers.write(layer, f"{layers.ENGINE}/machine.json", json.dumps(facts))
    stubs = ["lspci"]
    stubs += ["systemctl", "journalctl"] if machine.systemd else ["crontab"]
    if machine.system.startswith("alpine"):
        (layer / "etc/local.d").mkdir()
    stubs += ["docker"] if machine.docker != "absent" else []
    stubs += ["nvidia-smi"] if machine.driver and machine.driver.has_smi else []
    for name in stubs:
        text = (STUBS / f"{name.replace('-', '_')}.py").read_text()
        layers.write(layer, f"usr/bin/{name}", INTERPRETER + text, mode=0o755)
    if machine.docker in {"unconfigured", "nvidia", "cdi"}:
        layers.write(
            layer, "usr/bin/nvidia-ctk", '#!/bin/sh\necho "NVIDIA Container Toolkit CLI version 1.16.2"\n', mode=0o755
        )
    engine = f"/{layers.ENGINE}"
    if machine.arch or machine.kernel:
        said = {"-m": machine.arch, "-s": machine.kernel}
        lines = [f"{option}) echo {shlex.quote(text)} ;;" for option, text in said.items() if text]
        script = "\n".join(["#!/bin/sh", 'case "$*" in', *lines, f'*) exec {engine}/uname "$@" ;;', "esac", ""])
        layers.write(layer, "usr/bin/uname", script, mode=0o755)
    if machine.clock_skew_s:
        script = f'#!/bin/sh\nexec {engine}/date -d "@$(($({engine}/date +%s) + {machine.clock_skew_s}))" "$@"\n'
        layers.write(layer, "usr/bin/date", script, mode=0o755)

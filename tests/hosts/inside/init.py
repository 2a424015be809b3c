"""The first process of a host: makes its namespaces and its root, starts what a machine starts, reaps what is orphaned.

Arguments: the path of `host.json` as the keeper's mount namespace shows it, and the keeper's process id. Reports are
JSON lines on stdout: `{"pid": 123}` as soon as the host's network namespace can be entered, then `{"ready": true}` when
its sshd listens. The end of stdin is a power cut, because the process that holds the other end is gone.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import uuid
from typing import Any

import linux
import names
import services

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SSHD_LIMIT_S = 60.0


def report(**what: Any) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


def mount_root(host: dict[str, Any]) -> None:
    """Put the layers on each other and make them the root, with fresh /proc, /sys, /dev and /run."""
    linux.keep_mounts_private()
    folder = host["folder"]
    top = f"{folder}/top"
    root = f"{folder}/root"
    layers = ":".join([*host["layers"], "/"])
    linux.mount("overlay", root, "overlay", data=f"lowerdir={layers},upperdir={top}/upper,workdir={top}/work")
    linux.mount("proc", f"{root}/proc", "proc")
    linux.mount("sysfs", f"{root}/sys", "sysfs")
    linux.mount("dev", f"{root}/dev", "tmpfs", data="mode=755,size=64m")
    for name in DEVICES:
        with open(f"{root}/dev/{name}", "wb"):
            pass
        linux.bind(f"/dev/{name}", f"{root}/dev/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"{root}/dev/{name}")
    linux.mount("devpts", f"{root}/dev/pts", "devpts", data="newinstance,ptmxmode=0666,mode=620")
    linux.mount("shm", f"{root}/dev/shm", "tmpfs", data="mode=1777,size=64m")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0"}
    links |= {"stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
    for name, target in links.items():
        os.symlink(target, f"{root}/dev/{name}")
    for name in host["devices"]:
        with open(f"{root}/dev/{name}", "wb"):
            pass
    linux.mount("run", f"{root}/run", "tmpfs", data="mode=755,size=64m")
    for name in ("run/sshd", "run/lock", "run/lab"):
        os.mkdir(f"{root}/{name}")
    if host["driver_file"]:
        linux.mount("driver", f"{root}/proc/driver", "tmpfs", data="mode=555")
        os.makedirs(f"{root}/proc/driver/nvidia")
        with open(f"{root}/proc/driver/nvidia/version", "w") as file:
            file.write(host["driver_file"])
    boot_id = f"{root}/run/lab/boot_id"
    with open(boot_id, "w") as file:
        file.write(f"{uuid.uuid4()}\n")
    linux.bind(boot_id, f"{root}/proc/sys/kernel/random/boot_id")
    os.makedirs(f"{root}/var/lib/docker", exist_ok=True)
    linux.bind(f"{folder}/docker", f"{root}/var/lib/docker")
    linux.enter_root(root)


def start_sshd() -> None:
    """Start sshd as its own service manager would, and wait until it listens."""
    with open("/etc/ssh/sshd_config") as file:
        port = next(int(line.split()[1]) for line in file if line.startswith("Port "))
    with open("/run/lab/sshd.log", "ab") as log:
        subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": PATH, "LANG": "C.UTF-8"},
            start_new_session=True,
        )
    give_up_at = time.monotonic() + SSHD_LIMIT_S
    while time.monotonic() < give_up_at:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.003)
    with open("/run/lab/sshd.log") as file:
        raise OSError(f"sshd does not listen on port {port}: {file.read()[-500:]}")


def live(host: dict[str, Any]) -> None:
    """Be process 1 until the power is cut."""
    bell, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    manager = services.Manager() if host["systemd"] else None
    sources = [0, bell]
    resolver = names.Resolver(host["names"], host["dns"]) if host["dns"] != "silent" else None
    if resolver:
        sources.append(resolver.fileno())
    start_sshd()
    if manager:
        sources.append(manager.fileno())
        manager.start_enabled()
    else:
        services.run_boot_scripts()
    report(ready=True)
    while True:
        ready = select.select(sources, [], [], manager.patience() if manager else None)[0]
        if 0 in ready and not os.read(0, 1):
            os._exit(0)
        if bell in ready:
            os.read(bell, 4096)
        if resolver and resolver.fileno() in ready:
            resolver.answer()
        if manager and manager.fileno() in ready:
            manager.answer()
        reap(manager)


def reap(manager: services.Manager | None) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if manager:
                manager.ended(pid, os.waitstatus_to_exitcode(status))
    if manager:
        manager.look()


def main() -> None:
    with open(f"/proc/{sys.argv[2]}/root{sys.argv[1]}") as file:
        host = json.load(file)
    linux.setns(f"/proc/{sys.argv[2]}/ns/mnt", linux.CLONE_NEWNS)
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWPID)
    child = os.fork()
    if child:
        report(pid=child)
        os.close(0)
        os.waitpid(child, 0)
        return
    try:
        linux.set_hostname(host["name"])
        mount_root(host)
        subprocess.run(["/usr/sbin/ip", "link", "set", "lo", "up"], check=True)
        linux.set_process_name("systemd" if host["systemd"] else "init")
        live(host)
    except BaseException as error:  # noqa: BLE001 - whatever it was, the lab must hear of it, and process 1 must end
        report(error=f"{type(error).__name__}: {error}")
        os._exit(1)


if __name__ == "__main__":
    main()

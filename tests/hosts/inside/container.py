"""One container of a lab's host: the process between the Docker stub and what runs inside. Argument: its folder.

A container has the host's files below files of its own (an overlay on a tmpfs), its volumes, processes of its own and
the host's network. The folder has `container.json` (what is wanted), `log`, `lock` (held while it lives), `pid` (its
first process) and `end` (the exit status).
"""

import contextlib
import fcntl
import json
import os
import signal
import sys

import linux

PASSED_ON = (signal.SIGTERM, signal.SIGINT)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def mount_root(volumes: list[list[str]]) -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.keep_mounts_private()
    linux.mount("container", "/mnt", "tmpfs")
    for name in ("upper", "work", "root"):
        os.mkdir(f"/mnt/{name}")
    linux.mount("overlay", "/mnt/root", "overlay", data="lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work")
    linux.mount("proc", "/mnt/root/proc", "proc")
    linux.mount("/dev", "/mnt/root/dev", flags=linux.MS_BIND | linux.MS_REC)
    for source, target in volumes:
        os.makedirs(source, exist_ok=True)
        os.makedirs(f"/mnt/root{target}", exist_ok=True)
        linux.bind(source, f"/mnt/root{target}")
    linux.enter_root("/mnt/root")


def begin(wanted: dict, name: str) -> int:
    """Be the first process: start the command, pass SIGTERM on, reap, and end with the command's exit status."""
    linux.set_hostname(name[:12])
    mount_root(wanted["volumes"])
    main = os.fork()
    if main == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        values = {"PATH": PATH, "HOME": "/root", "HOSTNAME": name[:12]} | wanted["env"]
        try:
            os.makedirs(wanted["workdir"], exist_ok=True)
            os.chdir(wanted["workdir"])
            os.execvpe(wanted["argv"][0], wanted["argv"], values)
        except OSError as error:
            os.write(2, f"exec {wanted['argv'][0]}: {error.strerror}\n".encode())
            os._exit(127)
    for number in PASSED_ON:
        signal.signal(number, lambda given, _frame: os.kill(main, given))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    while True:
        pid, status = os.wait()
        if pid == main:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def main() -> None:
    folder = sys.argv[1]
    lock = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with open(f"{folder}/container.json") as file:
        wanted = json.load(file)
    log = os.open(f"{folder}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWUTS)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # one that comes before it can be passed on waits until then
    told = os.dup(1)
    for number in (1, 2):
        os.dup2(log, number)
    child = os.fork()
    if child == 0:
        os.close(lock)
        os.close(told)
        os._exit(begin(wanted, os.path.basename(folder)))
    with open(f"{folder}/pid", "w") as file:
        file.write(str(child))
    os.write(told, b"started\n")  # who hears of it may want to end it, and looks there for whom
    os.close(told)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError), open(f"{folder}/end", "w") as file:
        file.write(str(code if code >= 0 else 128 - code))


if __name__ == "__main__":
    main()

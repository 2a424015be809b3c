"""The system calls that make a host. Errors are `OSError`. Linux only; needs root. Sources: the pages of man 2."""

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
PR_SET_NAME = 15


def unshare(flags: int) -> None:
    """Leave the given namespaces for new ones."""
    _check(_LIBC.unshare(flags), "unshare")


def setns(path: str, kind: int) -> None:
    """Enter the namespace that a path under /proc names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        _check(_LIBC.setns(handle, kind), f"setns {path}")
    finally:
        os.close(handle)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a filesystem, or bind a path with `MS_BIND`."""
    arguments = source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
    _check(_LIBC.mount(*arguments), f"mount {target}")


def bind(source: str, target: str) -> None:
    mount(source, target, flags=MS_BIND)


def keep_mounts_private() -> None:
    """What is mounted from now on is seen by nobody outside."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def enter_root(folder: str) -> None:
    """Make a folder the root and let go of the old one. Source: pivot_root(2), `pivot_root(".", ".")`."""
    os.chdir(folder)
    _check(_LIBC.pivot_root(b".", b"."), "pivot_root")
    _check(_LIBC.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def set_process_name(name: str) -> None:
    """What `ps -o comm` shows."""
    _check(_LIBC.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0), "prctl")


def set_hostname(name: str) -> None:
    encoded = name.encode()
    _check(_LIBC.sethostname(encoded, len(encoded)), "sethostname")


def _check(result: int, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")

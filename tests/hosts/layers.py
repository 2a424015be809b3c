"""The folders that a host's root is made of, and what lies on top of them.

From below: the root of this machine, from which only programs and their settings show through; the lab's own layer,
which hides the rest and this machine's peculiarities; the host's layer (its users, keys, stubs); and the top, where
everything lands that is written while the host runs. So the top is exactly what adoption left.
Source of whiteouts and opaque folders: Documentation/filesystems/overlayfs.rst of the kernel.
"""

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

SHOWN = {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc"}
EMPTY = {
    "root": 0o700,
    "home": 0o755,
    "tmp": 0o1777,
    "var": 0o755,
    "opt": 0o755,
    "srv": 0o755,
    "mnt": 0o755,
    "media": 0o755,
    "run": 0o755,
    "proc": 0o555,
    "sys": 0o555,
    "dev": 0o755,
    "boot": 0o755,
    "usr/local": 0o755,
    "etc/ssh": 0o755,
    "etc/systemd": 0o755,
    "etc/sudoers.d": 0o750,
    "etc/cron.d": 0o755,
    "etc/rc2.d": 0o755,
    "etc/docker": 0o755,
    "etc/cdi": 0o755,
}
INSIDE = (
    "usr/local/bin",
    "usr/local/sbin",
    "etc/systemd/system/multi-user.target.wants",
    "var/lib/docker",
    "var/log",
    "var/tmp",
    "var/cache",
    "var/spool/cron/crontabs",
)
HIDDEN = (
    "usr/bin/docker",
    "usr/bin/nvidia-smi",
    "usr/bin/nvidia-ctk",
    "usr/bin/nvidia-container-cli",
    "usr/bin/nvidia-container-runtime",
    "usr/bin/lspci",
    "usr/bin/systemctl",
    "usr/bin/journalctl",
    "usr/bin/systemd-run",
    "etc/tidepool",
    "etc/rc.local",
    "etc/resolv.conf",
    "etc/hosts",
    "etc/hostname",
    "etc/machine-id",
)
LOGIN_RECORDS = {"/var/log/lastlog", "/var/log/wtmp", "/var/log/btmp"}
ENGINE = "usr/libexec/lab"
"""Where a host keeps what its stubs run on: an interpreter that is there when the host's own is not, and originals."""


@dataclass(frozen=True)
class Entry:
    """One path on top of the base. `kind`: file, folder, link, pipe, socket, device, or `removed` from the base."""

    kind: str
    mode: str = ""
    owner: str = ""
    size: int = 0
    content: str = ""
    """The digest of a file, the target of a link."""


def hide(path: Path) -> None:
    """Make a path of the layers below vanish."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def replace_folder(path: Path, mode: int) -> None:
    """Make a folder that shows nothing of the layers below."""
    path.mkdir(parents=True)
    path.chmod(mode)
    os.setxattr(path, "trusted.overlay.opaque", b"y")


def write(layer: Path, name: str, text: str, mode: int = 0o644, owner: int = 0) -> None:
    """Put a file into a layer. Folders on the way belong to root, or to the owner below its home."""
    path = layer / name.lstrip("/")
    if path.is_symlink() or path.exists():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, owner, owner)


def make_common(layer: Path, inside: Path) -> None:
    """Make the lab's layer."""
    layer.mkdir()
    layer.chmod(0o755)
    for path in Path("/").iterdir():
        if path.name not in SHOWN and path.name not in EMPTY:
            hide(layer / path.name)
    for name, mode in EMPTY.items():
        replace_folder(layer / name, mode)
    for name in INSIDE:
        (layer / name).mkdir(parents=True, exist_ok=True)
    (layer / "var/tmp").chmod(0o1777)
    for name in HIDDEN:
        if Path("/", name).exists():
            hide(layer / name)
    engine = layer / ENGINE
    shutil.copytree(inside, engine, ignore=shutil.ignore_patterns("__pycache__"))
    for source in ("python3", "uname", "date"):
        shutil.copy2(Path("/usr/bin", source).resolve(), engine / source)


def differences(upper: Path, below: list[Path]) -> dict[str, Entry]:
    """Say what lies in `upper` and differs from the layers below it, by path.

    A folder or file that was only touched, and is as it was, is no difference; nor are records of logins.
    """
    found = {}
    for folder, folders, files in os.walk(upper):
        for name in [*folders, *files]:
            path = Path(folder, name)
            shown = f"/{path.relative_to(upper)}"
            entry = describe(path)
            under = _below(shown, below)
            if shown in LOGIN_RECORDS or (entry.kind == "removed" and under is None) or entry == under:
                continue
            found[shown] = entry
        for name in folders:
            path = Path(folder, name)
            shown = f"/{path.relative_to(upper)}"
            if shown not in found and _is_closed(path):
                found[shown] = Entry("folder", content="replaced")
    return found


def describe(path: Path) -> Entry:
    """Describe one path of a layer."""
    status = path.lstat()
    mode, owner = oct(stat.S_IMODE(status.st_mode))[2:], f"{status.st_uid}:{status.st_gid}"
    if stat.S_ISREG(status.st_mode):
        return Entry("file", mode, owner, status.st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    if stat.S_ISLNK(status.st_mode):
        return Entry("link", "", owner, 0, os.readlink(path))
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return Entry("removed")
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return Entry(kinds.get(stat.S_IFMT(status.st_mode), "device"), mode, owner)


def _below(shown: str, below: list[Path]) -> Entry | None:
    """Describe what the layers below show at a path; None when nothing."""
    parts = Path(shown.lstrip("/")).parts
    for layer in below:
        path = layer / shown.lstrip("/")
        if os.path.lexists(path):
            entry = describe(path)
            return None if entry.kind == "removed" else entry
        for depth in range(1, len(parts)):
            if _is_closed(layer.joinpath(*parts[:depth])):
                return None
    return None


def _is_closed(path: Path) -> bool:
    """Whether a layer hides everything of the layers below at a path."""
    if not os.path.lexists(path):
        return False
    if not path.is_dir() or path.is_symlink():
        return True
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False

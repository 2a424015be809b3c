"""Remembers the hash of the archive of a folder, so that an unchanged one is neither read nor packed again.

A folder is known by each entry's path, mode, size and times of change (both: the second one cannot be set back), and
by inode. Whatever goes wrong here only costs time, so nothing here fails.
"""

from __future__ import annotations

import hashlib
import json
import os

from tidepool.archive import LEVEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tidepool.archive import Entry

SETTLED_NS = 2_000_000_000
"""An entry changed this lately may change again within the same tick of the file system's clock."""
KEPT = 200


def fingerprint(entries: Iterable[Entry], now: float) -> str:
    """Name the present state of a folder; empty while it is too fresh to be told from the next one."""
    digest = hashlib.sha256(str(LEVEL).encode())
    newest = 0
    for entry in entries:
        status = entry.status
        newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
        facts = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        digest.update(os.fsencode(entry.path) + b"\0" + repr(facts).encode() + b"\n")
    return digest.hexdigest() if newest < now * 1e9 - SETTLED_NS else ""


def look_up(environ: Mapping[str, str], key: str) -> tuple[str, int] | None:
    """The hash and size of the archive of that state, if it was packed before."""
    entry = _read(environ).get(key) if key else None
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], int):
        return entry[0], entry[1]
    return None


def remember(environ: Mapping[str, str], key: str, sha256: str, size: int) -> None:
    """Keep a state's hash; the oldest are forgotten."""
    if not key:
        return
    known = _read(environ)
    known.pop(key, None)
    known[key] = [sha256, size]
    kept = dict(list(known.items())[-KEPT:])
    path = _path(environ)
    draft = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(draft, "w", encoding="utf-8") as file:
            json.dump(kept, file)
        os.replace(draft, path)
    except OSError:
        return


def _path(environ: Mapping[str, str]) -> str:
    home = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".cache")
    return os.path.join(home, "tidepool", "archives.json")


def _read(environ: Mapping[str, str]) -> dict[str, object]:
    try:
        with open(_path(environ), encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

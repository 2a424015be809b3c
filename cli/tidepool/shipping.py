"""What travels to the machine: the current folder, and the files that a run file adds to it."""

from __future__ import annotations

import os
import stat

from tidepool.archive import Entry, pack, stays_inside, survey
from tidepool.archive_cache import fingerprint, look_up, remember
from tidepool.errors import InputError
from tidepool.ignore import ALWAYS_OUT
from tidepool.text import clean, quoted, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tidepool.command import Session
    from tidepool.run_file import RunFile


def ship(session: Session, run_file: RunFile | None, *, with_folder: bool) -> str:
    """Store what travels unless it is there already; answer its hash, or nothing when nothing travels."""
    if with_folder and not session.folder:
        raise InputError("the current folder was removed; --no-code runs without it")
    entries, left_out = survey(session.folder) if with_folder else ([], [])
    if run_file and run_file.files:
        added = list(extra_entries(run_file, session, left_out))
        entries = combined(entries, added, run_file.shown)
    for line in left_out:
        session.out.note(f"not shipped: {clean(line)}")
    return _store(session, entries) if with_folder or entries else ""


def extra_entries(run_file: RunFile, session: Session, left_out: list[str]) -> Iterator[Entry]:
    """What `files` names, folders with all that is in them. A path is relative to the run file's folder.

    Without a goal a path below the current folder keeps its place there, and any other goes to the top under its name.
    """
    home = session.environ.get("HOME") or os.path.expanduser("~")
    for local, remote in run_file.files:
        start = home + local[1:] if local == "~" or local.startswith("~/") else local
        full = os.path.realpath(os.path.join(run_file.folder, start))
        goal = remote or _place(os.path.normpath(os.path.join(run_file.folder, start)), session.folder)
        goal = "" if goal == "." else os.path.normpath(goal).replace(os.sep, "/")
        if ALWAYS_OUT.intersection(goal.split("/")):
            raise InputError(f"{run_file.shown}: files: {quoted(goal)} would lie in a folder that never travels")
        try:
            status = os.stat(full)
        except OSError as error:
            raise InputError(f"{run_file.shown}: files: {quoted(local)}: {error.strerror}") from None
        if stat.S_ISDIR(status.st_mode):
            yield from _folder(full, goal, left_out)
        elif stat.S_ISREG(status.st_mode):
            yield Entry(goal or os.path.basename(full), full, status)
        else:
            raise InputError(f"{run_file.shown}: files: {quoted(local)} is neither a file nor a folder")


def combined(entries: Iterable[Entry], added: Iterable[Entry], shown: str) -> list[Entry]:
    """All entries in order; what `files` names takes the place of what the folder has there."""
    by_path = {entry.path: entry for entry in entries}
    for entry in added:
        by_path[entry.path] = entry
    for path in by_path:
        above = path.rpartition("/")[0]
        while above:
            over = by_path.get(above)
            if over is not None and not stat.S_ISDIR(over.status.st_mode):
                raise InputError(f"{shown}: files: {quoted(path)} cannot lie below {quoted(above)}, which is no folder")
            above = above.rpartition("/")[0]
    return [by_path[path] for path in sorted(by_path)]


def _place(full: str, folder: str) -> str:
    if folder and full.startswith(folder.rstrip(os.sep) + os.sep):
        return os.path.relpath(full, folder)
    return os.path.basename(full)


def _folder(top: str, goal: str, left_out: list[str]) -> Iterator[Entry]:
    """A folder and all that is in it, whatever `.gitignore` says: it was named."""
    if goal:
        yield Entry(goal, top, os.stat(top))
    pending = [(top, goal)]
    while pending:
        folder, at = pending.pop()
        with os.scandir(folder) as found:
            for item in sorted(found, key=lambda one: one.name):
                path = f"{at}/{item.name}" if at else item.name
                status = item.stat(follow_symlinks=False)
                kind = stat.S_IFMT(status.st_mode)
                if item.name in ALWAYS_OUT:
                    continue
                if kind == stat.S_IFLNK and not stays_inside(item.path, top):
                    left_out.append(f"{path}: a link that leads out of the folder")
                elif kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                    yield Entry(path, item.path, status)
                    if kind == stat.S_IFDIR:
                        pending.append((item.path, path))
                else:
                    left_out.append(f"{path}: neither file, folder nor link")


def _store(session: Session, entries: list[Entry]) -> str:
    key = fingerprint(entries, session.now())
    known = look_up(session.environ, key)
    if known and session.client.runs.is_stored(*known):
        return known[0]
    archive = pack(entries)
    with archive.file:
        if archive.size > 1 << 20:
            session.out.note(f"shipping {size_text(round(archive.size / (1 << 20), 1))} of code")
        session.client.runs.upload(archive.file, archive.sha256, archive.size)
    remember(session.environ, key, archive.sha256, archive.size)
    return archive.sha256

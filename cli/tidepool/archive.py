"""The current folder as one archive: a gzip-compressed tar whose bytes depend on names, modes and contents alone.

Entries are sorted, owners and times are fixed, so an unchanged folder has the same hash and need not travel again.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import zlib

from tidepool.errors import InputError
from tidepool.ignore import walk
from tidepool.text import size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

MAX_SIZE = 512 * 1024 * 1024
"""The most that the API takes."""
FIXED_TIME = 315_532_800
"""1980-01-01: the earliest moment that zip-based tools on the other side can write down."""
LEVEL = 3
"""Code compresses nearly as well as at 6, in half the time."""
NAMED = 5
"""How many of the biggest entries a refusal names."""
IN_MEMORY = 8 << 20


class TooLargeError(InputError):
    """The folder does not fit into one archive."""

    code = "folder-too-large"


class Entry:
    """One file, folder or link to ship. `path` is relative, with `/`."""

    __slots__ = ("full", "path", "status")

    def __init__(self, path: str, full: str, status: os.stat_result) -> None:
        self.path = path
        self.full = full
        self.status = status


class Archive:
    """A finished archive; `size` is that of the compressed bytes in `file`."""

    __slots__ = ("file", "sha256", "size")

    def __init__(self, file: BinaryIO, sha256: str, size: int) -> None:
        self.file = file
        self.sha256 = sha256
        self.size = size


def survey(folder: str) -> tuple[list[Entry], list[str]]:
    """List what travels, and what cannot: links that lead out of the folder, devices, sockets."""
    top = os.path.realpath(folder)
    entries, left_out = [], []
    for found in walk(folder):
        path = os.path.relpath(found.path, folder).replace(os.sep, "/")
        status = found.stat(follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFLNK and not stays_inside(found.path, top):
            left_out.append(f"{path}: a link that leads out of the folder")
        elif kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            entries.append(Entry(path, found.path, status))
        else:
            left_out.append(f"{path}: neither file, folder nor link")
    return entries, left_out


def pack(entries: Iterable[Entry], *, max_size: int = MAX_SIZE) -> Archive:
    """Write the archive. Raises `TooLargeError` as soon as it exceeds `max_size`."""
    listed = list(entries)
    out = _Compressed(max_size)
    try:
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 16) as tar:
            for entry in listed:
                _add(tar, entry)
        return Archive(out.finish(), out.digest.hexdigest(), out.size)
    except _FullError:
        out.file.close()
        names = "\n".join(f"  {line}" for line in biggest(listed))
        raise TooLargeError(
            f"the folder is larger than an archive may be ({size_text(max_size >> 20)} compressed). Its biggest:\n"
            f"{names}\nLeave them out through .gitignore, or use --no-code."
        ) from None


def biggest(entries: Iterable[Entry]) -> list[str]:
    """Name the biggest entries of the top folder, with their uncompressed sizes."""
    sizes: dict[str, int] = {}
    for entry in entries:
        name, inside, _ = entry.path.partition("/")
        if stat.S_ISREG(entry.status.st_mode):
            key = name + "/" if inside else name
            sizes[key] = sizes.get(key, 0) + entry.status.st_size
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:NAMED]
    return [f"{size_text(round(size / (1 << 20), 1)):>8}  {name}" for name, size in ordered]


def stays_inside(link: str, top: str) -> bool:
    """Whether a link, followed from where it stands, ends below `top`; the other side refuses others."""
    target = os.readlink(link)
    if os.path.isabs(target):
        return False
    goal = os.path.normpath(os.path.join(os.path.realpath(os.path.dirname(link)), target))
    return goal == top or goal.startswith(top + os.sep)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.path)
    info.mtime = FIXED_TIME
    mode = entry.status.st_mode
    info.mode = 0o755 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o644
    if stat.S_ISDIR(mode):
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif stat.S_ISLNK(mode):
        info.type = tarfile.SYMTYPE
        info.linkname = os.readlink(entry.full)
        info.mode = 0o777
        tar.addfile(info)
    else:
        info.size = entry.status.st_size
        with open(entry.full, "rb") as file:
            try:
                tar.addfile(info, file)
            except OSError as error:
                if error.errno is not None:
                    raise
                raise InputError(f"{entry.path} became shorter while it was read; try again") from error


class _FullError(Exception):
    """The limit is reached."""


class _Compressed(io.RawIOBase):
    """Compresses what is written, hashing the result; in memory while it is small, in a temporary file beyond.

    Written by hand, because `gzip.GzipFile` puts things into the header that differ between versions of Python.
    """

    def __init__(self, max_size: int) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self.file: BinaryIO = io.BytesIO()
        self._max_size = max_size
        self._checksum = 0
        self._plain_size = 0
        self._compress = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._put(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")  # RFC 1952: deflate, no name, no time, system unknown

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._checksum = zlib.crc32(data, self._checksum)
        self._plain_size += len(data)
        self._put(self._compress.compress(data))
        return len(data)

    def finish(self) -> BinaryIO:
        tail = (self._checksum & 0xFFFFFFFF).to_bytes(4, "little") + (self._plain_size & 0xFFFFFFFF).to_bytes(
            4, "little"
        )
        self._put(self._compress.flush() + tail)
        self.file.seek(0)
        return self.file

    def _put(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._max_size:
            raise _FullError
        if self.size > IN_MEMORY and isinstance(self.file, io.BytesIO):
            import tempfile

            spilled = tempfile.TemporaryFile()  # noqa: SIM115 - whoever uses the archive closes it
            spilled.write(self.file.getvalue())
            self.file = spilled
        self.digest.update(data)
        self.file.write(data)

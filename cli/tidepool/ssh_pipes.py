"""Talking with a process through pipes: what it says is read to the end, and kept up to a limit.

What has no end fills neither a disk nor memory. A connection that ssh shares stays behind in the background and may
hold the pipes open, so it is the process's own end that counts, not that of the pipes.
"""

from __future__ import annotations

import os
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from subprocess import TimeoutExpired
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import IO

PIECE = 1 << 16
LOOK_S = 0.1
"""How often it is looked whether a process has ended whose pipes somebody else holds open."""


def talk(child: subprocess.Popen[bytes], given: bytes, within_s: float, keep: int) -> tuple[bytes, bytes]:
    """Feed a process and read what it says until it ends; answer the first `keep` bytes of its output and its errors.

    Raises `TalkTimeout`, with what was said so far, when that takes longer than `within_s` seconds.
    """
    until = monotonic() + within_s
    with _Pipes(child, given, keep) as pipes:
        while pipes.is_open():
            has_ended = child.poll() is not None
            if not pipes.move(0 if has_ended else min(LOOK_S, max(0.0, until - monotonic()))) and has_ended:
                break
            if monotonic() >= until and not has_ended:
                raise TalkTimeout(*pipes.said())
    try:
        child.wait(max(0.0, until - monotonic()))
    except TimeoutExpired:
        raise TalkTimeout(*pipes.said()) from None
    return pipes.said()


class TalkTimeout(Exception):  # noqa: N818 - like the standard library's TimeoutExpired
    """The process has not ended in time. `out` and `err` are what it has said."""

    def __init__(self, out: bytes, err: bytes) -> None:
        super().__init__("no end within the time limit")
        self.out = out
        self.err = err


class _Pipes:
    """The three pipes of a process, none of which is waited for alone."""

    def __init__(self, child: subprocess.Popen[bytes], given: bytes, keep: int) -> None:
        assert child.stdin
        assert child.stdout
        assert child.stderr
        self._selector = DefaultSelector()
        self._files: tuple[IO[bytes], ...] = (child.stdin, child.stdout, child.stderr)
        self._left = memoryview(given)
        self._keep = keep
        self._kept = {child.stdout.fileno(): bytearray(), child.stderr.fileno(): bytearray()}
        for file in self._files:
            os.set_blocking(file.fileno(), False)
            self._selector.register(file, EVENT_WRITE if file is child.stdin else EVENT_READ)

    def __enter__(self) -> _Pipes:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for file in self._files:
            file.close()

    def is_open(self) -> bool:
        return bool(self._selector.get_map())

    def said(self) -> tuple[bytes, bytes]:
        out, err = self._kept.values()
        return bytes(out), bytes(err)

    def move(self, within_s: float) -> bool:
        """Move what can be moved now, or within that time; answer whether anything was said."""
        has_said = False
        for key, _ in self._selector.select(within_s):
            file: IO[bytes] = key.fileobj  # type: ignore[assignment]
            if key.events & EVENT_WRITE:
                self._write(file)
            else:
                has_said = self._read(file) or has_said
        return has_said

    def _write(self, file: IO[bytes]) -> None:
        try:
            self._left = self._left[os.write(file.fileno(), self._left[:PIECE]) :]
        except BrokenPipeError:  # it ended without reading all of it: its exit status tells why
            self._left = self._left[:0]
        if not self._left:
            self._close(file)

    def _read(self, file: IO[bytes]) -> bool:
        piece, kept = os.read(file.fileno(), PIECE), self._kept[file.fileno()]
        kept += piece[: self._keep - len(kept)]
        if not piece:
            self._close(file)
        return bool(piece)

    def _close(self, file: IO[bytes]) -> None:
        self._selector.unregister(file)
        file.close()

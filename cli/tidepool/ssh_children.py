"""The processes of ssh that run for us: each has a time limit, and an interrupt ends all of them."""

from __future__ import annotations

import os
import signal
import subprocess
from threading import Lock

from tidepool.errors import InputError
from tidepool.ssh_pipes import TalkTimeout, talk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
END_LIMIT_S = 5
"""How long one may take to end when it is told to, before it is not asked any more."""
MISSING = "there is no ssh here: install an OpenSSH client"


class Children:
    """The processes that run for us, so that an interrupt can end all of them; after that, none is started any more."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self.ended = False

    def start(self, argv: Sequence[str], environ: Mapping[str, str], *, asks: bool) -> subprocess.Popen[bytes]:
        """Start one: with `asks` in the terminal's foreground, where ssh can ask, else in a session of its own."""
        with self._lock:
            if self.ended:
                raise InterruptedError("interrupted")
            try:
                pipe = subprocess.PIPE
                child = subprocess.Popen(
                    argv, stdin=pipe, stdout=pipe, stderr=pipe, env=environ, start_new_session=not asks
                )
            except FileNotFoundError as error:
                raise InputError(MISSING, code="local-io") from error
            self._running.add(child)
            return child

    def finish(
        self, child: subprocess.Popen[bytes], given: bytes, within_s: float, keep: int
    ) -> tuple[bytes, bytes, bool]:
        """Feed one and wait for its end, or end it; answer the first `keep` bytes of its output and of its errors, and
        whether it ended by itself."""
        try:
            return *talk(child, given, within_s, keep), True
        except TalkTimeout as late:
            end(child)
            return late.out, late.err, False
        finally:
            with self._lock:
                self._running.discard(child)

    def end_all(self) -> None:
        """End whatever runs, with what it has started."""
        with self._lock:
            self.ended = True
            running = list(self._running)
        for child in running:
            end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a process and those it leads, first asking, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            if os.getpgid(child.pid) == child.pid:
                os.killpg(child.pid, number)
            else:
                child.send_signal(number)
            child.wait(END_LIMIT_S)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue

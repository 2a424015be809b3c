"""Ports for servers that are told theirs: chosen now, taken a moment later, and maybe taken again after a restart."""

import socket
from contextlib import suppress
from random import SystemRandom

RANGE = range(10_240, 30_000)
"""Below those that a system gives to whoever does not care (from 32768 on Linux, 49152 on macOS), so that it gives one
of these to nobody before it is taken."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    while True:
        port = SystemRandom().choice(RANGE)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port

"""One connection to a host, and commands over it.

Nothing is taken from the surroundings: no agent, no default keys, no `ssh_config`, no `known_hosts`. Nothing is
retried. Paramiko is loaded when a connection is made (`login`), so that importing this costs nothing.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from chalicelib.ssh.errors import CommandTimeoutError, ConnectionLostError, SshError, UnreachableError
from chalicelib.ssh.keys import PrivateKey
from chalicelib.ssh.login import USUAL, HostKey, Limits, Target, Trust, closed, dialled, log_in, watched
from chalicelib.ssh.targets import Lookup, Network, refuse_behind

if TYPE_CHECKING:
    from paramiko import Channel, Transport

__all__ = ("Done", "HostKey", "Jump", "Limits", "Session", "Target", "Trust", "connect")

OUTPUT_LIMIT: Final = 1 << 20
"""Bytes of each stream that are kept. What comes after them is read and dropped."""

SHELL: Final = "sh -s"
ROOT_SHELL: Final = "sh -c 'if [ \"$(id -u)\" = 0 ]; then exec sh -s; else exec sudo -n sh -s; fi'"
"""For root, who may have no sudo, as for others; the login shell may be any that knows single quotes."""


@dataclass(frozen=True, slots=True)
class Jump:
    """A host to go through. Names behind it are resolved there."""

    target: Target
    key: PrivateKey
    trust: Trust


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended. `exit_code` is -1 where a signal ended it. `is_cut`: there was more output than is kept."""

    stdout: str
    stderr: str
    exit_code: int
    is_cut: bool = False


def connect(
    target: Target,
    key: PrivateKey,
    *,
    trust: Trust,
    allowed: Sequence[Network],
    jump: Jump | None = None,
    limits: Limits = USUAL,
    lookup: Lookup = socket.getaddrinfo,
) -> "Session":
    """Connect, check the host's key, log in. `allowed` limits the first hop, which is the one that we dial ourselves;
    of what is behind it only loopback, link-local and metadata addresses are refused.

    Raises an `SshError`: `unreachable`, `target-refused`, `not-ssh`, `host-key-mismatch` (one was given),
    `host-key-changed` (one was pinned), `auth-failed`, `connection-lost`. In its `context`, `hop` names the jump host
    where it is that one which cannot be worked with; `host_key` is the fingerprint that was shown, and `jump_key` what
    to pin of the jump host, if it came so far.
    """
    if jump is None:
        transport, host_key = log_in(lambda left: dialled(target, allowed, left, lookup), target, key, trust, limits)
        return Session(transport, target, host_key, limits)
    refuse_behind(target.host)
    try:
        through = connect(jump.target, jump.key, trust=jump.trust, allowed=allowed, limits=limits, lookup=lookup)
    except SshError as error:
        raise _of_the_jump(error, jump.target) from error
    try:
        transport, host_key = log_in(lambda left: through.channel_to(target, left.dial_s), target, key, trust, limits)
    except SshError as error:
        error.context["jump_key"] = through.host_key.line
        through.close()
        raise
    except BaseException:
        through.close()
        raise
    return Session(transport, target, host_key, limits, through)


class Session:
    """A connection that is logged in. Close it, or use it in a `with`."""

    def __init__(
        self,
        transport: "Transport",
        target: Target,
        host_key: HostKey,
        limits: Limits,
        through: "Session | None" = None,
    ) -> None:
        self.host_key = host_key
        self.jump_key = through.host_key if through else None
        self._transport = transport
        self._target = target
        self._limits = limits
        self._through = through

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. What still runs on the host is told by a closed pipe, and not waited for."""
        closed(self._transport)
        if self._through is not None:
            self._through.close()

    def run(self, script: str, *, sudo: bool = False, limit_s: float, output_limit: int = OUTPUT_LIMIT) -> Done:
        """Feed a script to a shell on the host, as root with `sudo`, and wait for its end.

        The script goes over standard input, so nothing of it stands in a list of processes.

        Raises `CommandTimeoutError` when it takes longer than `limit_s` (the connection is closed then), and
        `ConnectionLostError` when the connection breaks: in both cases it may have been done, in part or whole.
        """
        where = str(self._target)
        late = CommandTimeoutError(f"{where}: the command took longer than {limit_s:g} s", host=where, limit_s=limit_s)
        with watched(self._transport, limit_s, late, where):
            channel = self._transport.open_session(timeout=min(limit_s, self._limits.channel_s))
            with channel:
                return _executed(channel, ROOT_SHELL if sudo else SHELL, script.encode(), output_limit)

    def channel_to(self, target: Target, limit_s: float) -> "Channel":
        """Open a way from this host on to another. Raises `UnreachableError` (cause `jump`) where it does not."""
        words = f"{target} cannot be reached through {self._target}"
        late = UnreachableError(f"{words} within {limit_s:.2g} s", host=str(target), cause="jump")
        try:
            with watched(self._transport, limit_s + 1, late, str(self._target)):
                there = (target.host, target.port)
                return self._transport.open_channel("direct-tcpip", there, ("127.0.0.1", 0), timeout=limit_s)
        except ConnectionLostError as error:
            why = error.detail.removeprefix(f"{self._target}: ")
            raise UnreachableError(f"{words}: {why}", host=str(target), cause="jump") from error


def _of_the_jump(error: SshError, jump: Target) -> SshError:
    """The same error, as one of the host on the way."""
    context = {**error.context, "hop": str(jump)}
    if reason := error.context.get("reason"):
        context["reason"] = f"jump host {jump}: {reason}"
    return type(error)(f"jump host {error.detail}", **context)


def _executed(channel: "Channel", command: str, script: bytes, limit: int) -> Done:
    """Run one command. Both streams are read at once, because a full one would stop the command."""
    channel.exec_command(command)
    errors = _Stream(limit)
    reader = threading.Thread(target=errors.drain, args=(channel.recv_stderr,), daemon=True)
    reader.start()
    output = _Stream(limit)
    with suppress(OSError):  # it ended without reading all of it: its exit status tells why
        channel.sendall(script)
        channel.shutdown_write()
    output.drain(channel.recv)
    reader.join()
    code = channel.recv_exit_status()
    if code == -1 and not channel.get_transport().is_active():
        raise EOFError("the connection broke off while a command was running")
    return Done(output.text(), errors.text(), code, is_cut=output.is_cut or errors.is_cut)


class _Stream:
    """What came of one stream, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.is_cut = False

    def drain(self, receive: Callable[[int], bytes]) -> None:
        """Read to the end, however much it is."""
        with suppress(OSError):
            while piece := receive(1 << 16):
                self.is_cut = self.is_cut or len(self._kept) + len(piece) > self._limit
                self._kept += piece[: self._limit - len(self._kept)]

    def text(self) -> str:
        return self._kept.decode(errors="replace")

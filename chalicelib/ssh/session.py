"""One connection to a host, and commands over it. The only module that loads Paramiko, and only when it connects.

Nothing is taken from the surroundings: no agent, no default keys, no `ssh_config`, no `known_hosts`. Nothing is
retried. Every phase has a limit over all of it, kept by a watchdog that closes the socket, because Paramiko's own limits begin
anew with each packet or do not exist.
"""

import io
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from chalicelib.ssh.errors import (
    AuthFailedError,
    CommandTimeoutError,
    ConnectionLostError,
    HostKeyChangedError,
    HostKeyMismatchError,
    NotSshError,
    SshError,
    UnreachableError,
)
from chalicelib.ssh.faults import meaning
from chalicelib.ssh.host_keys import HostKeys, known_as, shown
from chalicelib.ssh.keys import PrivateKey, fingerprint
from chalicelib.ssh.targets import Lookup, Network, resolve

if TYPE_CHECKING:
    from paramiko import Channel, PKey, Transport

OUTPUT_LIMIT: Final = 1 << 20
"""Bytes of each stream that are kept. What comes after them is read and dropped."""

SHELL: Final = "sh -s"
ROOT_SHELL: Final = "sh -c 'if [ \"$(id -u)\" = 0 ]; then exec sh -s; else exec sudo -n sh -s; fi'"
"""For root, who may have no sudo, as for others; the login shell may be any that knows single quotes."""

KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4)) if hasattr(
    socket, "TCP_KEEPIDLE"
) else ()  # fmt: skip
"""A peer that is gone is noticed after 35 s, also while nothing is sent. macOS has other names for these."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who to be where. `host` is a name or an address."""

    host: str
    user: str
    port: int = 22

    def __str__(self) -> str:
        return known_as(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Trust:
    """Which keys a host may show. `keys` None: whichever it shows, on first use. `is_pinned`: they were seen before."""

    keys: HostKeys | None = None
    is_pinned: bool = False

    @property
    def source(self) -> str:
        """`given`, `pinned` or `first-use`."""
        if self.keys is None:
            return "first-use"
        return "pinned" if self.is_pinned else "given"


@dataclass(frozen=True, slots=True)
class Jump:
    """A host to go through. Names behind it are resolved there."""

    target: Target
    key: PrivateKey
    trust: Trust


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that each phase may take altogether."""

    dial_s: float = 10.0
    handshake_s: float = 15.0
    auth_s: float = 20.0
    channel_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended. `exit_code` is -1 where a signal ended it. `is_cut`: there was more output than is kept."""

    stdout: str
    stderr: str
    exit_code: int
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key a host showed. `line` is what to pin: its type and itself, as in `known_hosts`."""

    line: str
    fingerprint: str


def connect(
    target: Target,
    key: PrivateKey,
    *,
    trust: Trust,
    allowed: Sequence[Network],
    jump: Jump | None = None,
    limits: Limits = Limits(),
    lookup: Lookup = socket.getaddrinfo,
) -> "Session":
    """Connect, check the host's key, log in. `allowed` limits the first hop, which is the one that we dial ourselves.

    Raises an `SshError`: `unreachable`, `target-refused`, `not-ssh`, `host-key-mismatch` (one was given),
    `host-key-changed` (one was pinned), `auth-failed`, `connection-lost`.
    """
    if jump is None:
        return _logged_in(lambda: _dialled(target, allowed, limits, lookup), target, key, trust, limits, None)
    through = connect(jump.target, jump.key, trust=jump.trust, allowed=allowed, limits=limits, lookup=lookup)
    try:
        return _logged_in(lambda: through.channel_to(target), target, key, trust, limits, through)
    except BaseException:
        through.close()
        raise


class Session:
    """A connection that is logged in. Close it, or use it in a `with`."""

    def __init__(
        self, transport: "Transport", target: Target, host_key: HostKey, limits: Limits, through: "Session | None"
    ) -> None:
        self.host_key = host_key
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
        _closed(self._transport)
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
        with _watched(self._transport, limit_s, late, where):
            channel = self._transport.open_session(timeout=min(limit_s, self._limits.channel_s))
            with channel:
                return _executed(channel, ROOT_SHELL if sudo else SHELL, script.encode(), output_limit)

    def channel_to(self, target: Target) -> "Channel":
        """Open a way from this host on to another. Raises `UnreachableError` (cause `jump`) where it does not."""
        limit_s = self._limits.dial_s
        words = f"{target} cannot be reached through {self._target}"
        late = UnreachableError(f"{words} within {limit_s:g} s", host=str(target), cause="jump")
        try:
            with _watched(self._transport, limit_s + 1, late, str(self._target)):
                there = (target.host, target.port)
                return self._transport.open_channel("direct-tcpip", there, ("127.0.0.1", 0), timeout=limit_s)
        except ConnectionLostError as error:
            raise UnreachableError(f"{words}: {error.detail}", host=str(target), cause="jump") from error


def _dialled(target: Target, allowed: Sequence[Network], limits: Limits, lookup: Lookup) -> socket.socket:
    """Connect to one of the addresses that were checked. Small packets go out at once: a command is several of them,
    and each would wait about 40 ms for the delayed acknowledgement of the one before."""
    until = time.monotonic() + limits.dial_s
    failure: SshError = UnreachableError(f"{target} has no address", host=str(target), cause="dns")
    addresses = resolve(target.host, target.port, allowed, lookup=lookup)
    for tried, address in enumerate(addresses):
        share_s = (until - time.monotonic()) / (len(addresses) - tried)
        try:
            dialled = socket.create_connection((str(address), target.port), timeout=max(0.1, share_s))
        except OSError as error:
            failure = meaning(error, str(target))
            continue
        dialled.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        dialled.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            dialled.setsockopt(socket.IPPROTO_TCP, option, value)
        return dialled
    raise failure


def _logged_in(
    dial: Any, target: Target, key: PrivateKey, trust: Trust, limits: Limits, through: Session | None
) -> Session:
    """Shake hands and log in. A fingerprint does not say of which type its key is, so the types are asked for in turn."""
    signing = _signing(key)
    failure: SshError = NotSshError(f"{target} has no host key of a type that we know", host=str(target))
    for kinds in _kinds_to_ask(trust.keys):
        transport = _shaken(dial, target, limits, kinds)
        if transport is None:
            continue
        try:
            found = _host_key(transport)
            if trust.keys is not None and found.fingerprint not in trust.keys:
                failure = _wrong_key(target, trust, found)
                _closed(transport)
                if trust.keys.kinds:
                    break
                continue
            _authenticate(transport, target, key, signing, limits)
            return Session(transport, target, found, limits, through)
        except BaseException:
            _closed(transport)
            raise
    raise failure


def _shaken(dial: Any, target: Target, limits: Limits, kinds: Sequence[str]) -> "Transport | None":
    """Agree on keys. With `kinds`, only on those of these types: None where the host has none of them."""
    import paramiko

    transport = paramiko.Transport(dial())
    transport.daemon = True
    transport.banner_timeout = transport.handshake_timeout = limits.handshake_s
    options = transport.get_security_options()
    if kinds:
        options.key_types = [each for each in options.key_types if _kind_of(each) in kinds] or options.key_types
    where, limit_s = str(target), limits.handshake_s
    late = NotSshError(f"{where} answers, but not as an SSH server within {limit_s:g} s", host=where)
    try:
        with _watched(transport, limit_s, late, where):
            transport.start_client(timeout=limit_s + 1)
    except NotSshError:
        _closed(transport)
        if kinds:
            return None
        raise
    except BaseException:
        _closed(transport)
        raise
    return transport


def _kinds_to_ask(keys: HostKeys | None) -> Iterator[tuple[str, ...]]:
    """Types of host keys to ask for, one handshake after the other; the empty tuple is whatever the host prefers."""
    if keys is None:
        yield ()
    elif keys.kinds:
        yield keys.kinds
        yield ()
    else:
        yield ()
        yield ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
        yield ("ssh-rsa",)


def _kind_of(algorithm: str) -> str:
    """RSA keys sign with SHA-2 under other names, RFC 8332."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _host_key(transport: "Transport") -> HostKey:
    shown_key = transport.get_remote_server_key()
    return HostKey(f"{shown_key.get_name()} {shown_key.get_base64()}", fingerprint(shown_key.asbytes()))


def _wrong_key(target: Target, trust: Trust, found: HostKey) -> SshError:
    expected = shown(trust.keys.prints) if trust.keys else ""
    kind, was = (HostKeyChangedError, "pinned") if trust.is_pinned else (HostKeyMismatchError, "given")
    words = f"{target} shows the host key {found.fingerprint}; {was} was {expected}"
    return kind(words, host=str(target), expected=expected, found=found.fingerprint)


def _authenticate(transport: "Transport", target: Target, key: PrivateKey, signing: "PKey", limits: Limits) -> None:
    where, named = str(target), f"{target.user} with the {key.kind} key {key.fingerprint}"
    late = UnreachableError(
        f"{where} did not say within {limits.auth_s:g} s who may log in", host=where, cause="timeout"
    )
    try:
        with _watched(transport, limits.auth_s, late, where):
            transport.auth_timeout = limits.auth_s + 1
            further = transport.auth_publickey(target.user, signing)
    except AuthFailedError as error:
        words = f"{where} does not let in {named}: {error.detail.removeprefix(f'{where}: ')}"
        raise AuthFailedError(words, host=where, user=target.user, fingerprint=key.fingerprint) from error
    if further:
        words = f"{where} lets in {named} only with {' and '.join(further)} as well"
        raise AuthFailedError(words, host=where, user=target.user, fingerprint=key.fingerprint)


def _signing(key: PrivateKey) -> "PKey":
    """The key as Paramiko wants it, without a second check of its numbers."""
    import paramiko
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private: Any = key.private
    if key.kind == "rsa":
        return paramiko.RSAKey(key=private)
    if key.kind == "ecdsa":
        return paramiko.ECDSAKey(vals=(private, private.public_key()))
    text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return paramiko.Ed25519Key.from_private_key(io.StringIO(text))


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

    def drain(self, receive: Any) -> None:
        """Read to the end, however much it is."""
        with suppress(OSError):
            while piece := receive(1 << 16):
                self.is_cut = self.is_cut or len(self._kept) + len(piece) > self._limit
                self._kept += piece[: self._limit - len(self._kept)]

    def text(self) -> str:
        return self._kept.decode(errors="replace")


@contextmanager
def _watched(transport: "Transport", limit_s: float, late: SshError, where: str) -> Iterator[None]:
    """Close the connection when the limit is over, and say what an exception means: `late`, or what it is."""
    over = threading.Event()

    def end() -> None:
        over.set()
        _closed(transport)

    watchdog = threading.Timer(limit_s, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except SshError:
        raise
    except Exception as error:
        raise (late if over.is_set() else meaning(error, where)) from error
    finally:
        watchdog.cancel()
    if over.is_set():
        raise late


def _closed(transport: "Transport") -> None:
    """Close it; Paramiko's thread ends by itself when its socket does."""
    with suppress(OSError, EOFError):
        transport.close()
    with suppress(OSError):
        transport.sock.close()

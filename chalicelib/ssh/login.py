"""How a connection comes about: dial, agree on keys, check whose host it is, log in.

With `session` the only module that loads Paramiko, and only when it connects. Every phase has a limit over all of it,
kept by a watchdog that closes the socket, because Paramiko's own limits begin anew with each packet or do not exist.
"""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from chalicelib.ssh.errors import (
    AuthFailedError,
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

KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4)) if hasattr(
    socket, "TCP_KEEPIDLE"
) else ()  # fmt: skip
"""A peer that is gone is noticed after 35 s, also while nothing is sent. macOS has other names for these."""


OVERHEARD: Final = 1024
SHORTEST_S: Final = 0.5
"""What a last handshake is given at least."""

NO_ROOM: Final = (b"Exceeded MaxStartups", b"Not allowed at this time")
"""What sshd says instead of a version when it takes nobody more, or nobody from there, for now."""


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
class Limits:
    """Seconds that each phase may take altogether."""

    dial_s: float = 10.0
    handshake_s: float = 15.0
    auth_s: float = 20.0
    channel_s: float = 10.0


USUAL: Final = Limits()


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key a host showed. `line` is what to pin: its type and itself, as in `known_hosts`."""

    line: str
    fingerprint: str


class PromptSocket(socket.socket):
    """A socket that neither holds small packets back nor lets the other side wait for its acknowledgements.

    A command is several small packets, each of which would wait up to 40 ms for the acknowledgement of the one before.
    `TCP_NODELAY` ends that for ours. For a server's, which sets it only once a command runs, acknowledgements must go
    out at once (44 ms less for the first command); the kernel forgets that wish whenever it thinks fit, so it is
    renewed. Linux only, tcp(7).
    """

    QUICK: Final = getattr(socket, "TCP_QUICKACK", None)

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        self._acknowledge()
        return data

    def send(self, data: Any, flags: int = 0) -> int:
        sent = super().send(data, flags)
        self._acknowledge()
        return sent

    def _acknowledge(self) -> None:
        if self.QUICK is not None:
            self.setsockopt(socket.IPPROTO_TCP, self.QUICK, 1)


class Overheard:
    """What Paramiko reads from, with the first of what came: that tells a server of something else from a lost one.

    It is judged and never shown, so that nobody reads the answers of other services by asking for an adoption.
    """

    def __init__(self, line: "socket.socket | Channel") -> None:
        self._line = line
        self.first = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._line, name)

    def recv(self, size: int) -> bytes:
        """Read, and keep the beginning."""
        data = self._line.recv(size)
        if len(self.first) < OVERHEARD:
            self.first += data[: OVERHEARD - len(self.first)]
        return data

    def is_other(self) -> bool:
        """Whether something spoke, and it was no SSH server: one may greet before it names its version, RFC 4253."""
        lines = self.first.splitlines()
        return bool(self.first) and not any(line.startswith((b"SSH-", *NO_ROOM)) for line in lines)


def dialled(target: Target, allowed: Sequence[Network], limits: Limits, lookup: Lookup) -> PromptSocket:
    """Connect to one of the addresses that were checked."""
    until = time.monotonic() + limits.dial_s
    failure: SshError = UnreachableError(f"{target} has no address", host=str(target), cause="dns")
    addresses = resolve(target.host, target.port, allowed, lookup=lookup)
    for tried, address in enumerate(addresses):
        share_s = (until - time.monotonic()) / (len(addresses) - tried)
        try:
            plain = socket.create_connection((str(address), target.port), timeout=max(0.1, share_s))
        except OSError as error:
            failure = meaning(error, str(target))
            continue
        line = PromptSocket(fileno=plain.detach())
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            line.setsockopt(socket.IPPROTO_TCP, option, value)
        return line
    raise failure


def log_in(
    dial: Callable[[Limits], "socket.socket | Channel"], target: Target, key: PrivateKey, trust: Trust, limits: Limits
) -> tuple["Transport", HostKey]:
    """Shake hands and log in over what `dial` opens, and say which key the host showed.

    A fingerprint does not say of which type its key is, so the types are asked for in turn, each in a new connection;
    all of them together take no longer than one may. An error has the key that was shown as `context["host_key"]`.
    """
    signing = _signing(key)
    until = time.monotonic() + limits.dial_s + limits.handshake_s
    failure: SshError = NotSshError(f"{target} has no host key of a type that we know", host=str(target))
    for kinds in _kinds_to_ask(trust.keys):
        left_s = max(SHORTEST_S, until - time.monotonic())
        left = replace(limits, dial_s=min(limits.dial_s, left_s), handshake_s=min(limits.handshake_s, left_s))
        transport = _shaken(dial, target, left, kinds)
        if transport is None:
            continue
        try:
            found = _host_key(transport)
            if trust.keys is None or found.fingerprint in trust.keys:
                _authenticate(transport, target, key, signing, limits)
                return transport, found
        except SshError as error:
            error.context["host_key"] = found.fingerprint
            closed(transport)
            raise
        except BaseException:
            closed(transport)
            raise
        closed(transport)
        failure = _wrong_key(target, trust, found)
        if trust.keys.kinds:
            break
    raise failure


@contextmanager
def watched(transport: "Transport", limit_s: float, late: SshError, where: str) -> Iterator[None]:
    """Close the connection when the limit is over, and say what an exception means: `late`, or what it is."""
    over = threading.Event()

    def end() -> None:
        over.set()
        closed(transport)

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


def closed(transport: "Transport") -> None:
    """Close it; Paramiko's thread ends by itself when its socket does."""
    with suppress(OSError, EOFError):
        transport.close()
    with suppress(OSError):
        transport.sock.close()


def _shaken(
    dial: Callable[[Limits], "socket.socket | Channel"], target: Target, limits: Limits, kinds: Sequence[str]
) -> "Transport | None":
    """Agree on keys. With `kinds`, only on those of these types: None where the host has none of them."""
    import paramiko

    line = Overheard(dial(limits))
    as_socket: Any = line
    transport = paramiko.Transport(as_socket)
    transport.daemon = True
    transport.banner_timeout = transport.handshake_timeout = limits.handshake_s
    options = transport.get_security_options()
    if kinds:
        options.key_types = [each for each in options.key_types if _kind_of(each) in kinds] or options.key_types
    where, limit_s = str(target), limits.handshake_s
    late = NotSshError(f"{where} answers, but not as an SSH server within {limit_s:.2g} s", host=where)
    try:
        with watched(transport, limit_s, late, where):
            transport.start_client(timeout=limit_s + 1)
    except (NotSshError, ConnectionLostError) as error:
        closed(transport)
        if line.is_other():
            raise NotSshError(f"{where} answers, but not as an SSH server", host=where) from error
        if kinds and isinstance(error, NotSshError):
            return None
        raise
    except BaseException:
        closed(transport)
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
    return kind(words, host=str(target), expected=expected, found=found.fingerprint, host_key=found.fingerprint)


def _authenticate(transport: "Transport", target: Target, key: PrivateKey, signing: "PKey", limits: Limits) -> None:
    where, named = str(target), f"{target.user} with the {key.kind} key {key.fingerprint}"
    late = UnreachableError(
        f"{where} did not say within {limits.auth_s:g} s who may log in", host=where, cause="timeout"
    )
    try:
        with watched(transport, limits.auth_s, late, where):
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

"""What the exceptions of the network and of Paramiko mean. A table by name, so that Paramiko need not be loaded."""

import errno
from collections.abc import Mapping
from typing import Final

from chalicelib.ssh.errors import (
    AuthFailedError,
    ConnectionLostError,
    HostKeyMismatchError,
    NotSshError,
    SshError,
    UnreachableError,
)

MEANING: Final[Mapping[str, type[SshError]]] = {
    "AuthenticationException": AuthFailedError,
    "PasswordRequiredException": AuthFailedError,
    "BadAuthenticationType": AuthFailedError,
    "PartialAuthentication": AuthFailedError,
    "UnableToAuthenticate": AuthFailedError,
    "AuthFailure": AuthFailedError,
    "BadHostKeyException": HostKeyMismatchError,
    "InvalidHostKey": NotSshError,
    "UnknownKeyType": NotSshError,
    "IncompatiblePeer": NotSshError,
    "MessageOrderError": NotSshError,
    "BERException": NotSshError,
    "ChannelException": ConnectionLostError,
    "PipeTimeout": ConnectionLostError,
    "SFTPError": ConnectionLostError,
    "NeedRekeyException": ConnectionLostError,
    "ProxyCommandFailure": UnreachableError,
    "NoValidConnectionsError": UnreachableError,
    "CouldNotCanonicalize": UnreachableError,
    "ConfigParseError": SshError,
    "SSHException": ConnectionLostError,
    "EOFError": ConnectionLostError,
    "TimeoutError": UnreachableError,
    "ConnectionRefusedError": UnreachableError,
    "ConnectionError": ConnectionLostError,
    "OSError": UnreachableError,
}
"""Name of an exception's class -> what it means to us. The nearest class of an exception's ancestry counts."""

NOT_THE_PROTOCOL: Final = ("indecipherable protocol version", "incompatible version", "invalid packet")
"""What Paramiko says, as plain `SSHException`s, of a server that speaks something else."""

CAUSES: Final[Mapping[type[OSError], str]] = {ConnectionRefusedError: "refused", TimeoutError: "timeout"}

PLAIN: Final[Mapping[int, str]] = {
    errno.ECONNREFUSED: "connection refused, nothing listens on that port",
    errno.EHOSTUNREACH: "no route to host",
    errno.EHOSTDOWN: "the host is down",
    errno.ENETUNREACH: "no route to its network",
    errno.EACCES: "a firewall forbids it",
    errno.EPERM: "a firewall forbids it",
    errno.ETIMEDOUT: "no answer",
}
"""Why a connection does not come about, for a person: connect(2)."""


REFUSED_CHANNELS: Final[Mapping[int, str]] = {
    1: "it forbids connections to other hosts (AllowTcpForwarding of its sshd)",
    2: "it could not connect there: the name, the port, a firewall or a route is wrong",
    3: "its sshd cannot forward connections",
    4: "it has no room for another connection",
}
"""Why an SSH server opens no way on to another host: the codes of RFC 4254, section 5.1."""


def meaning(error: BaseException, where: str) -> SshError:
    """Say what an exception of a connection means. `where` names the host, for a person.

    An exception that is none of these is a defect: `SshError` itself, which nothing retries.
    """
    kinds = (MEANING.get(kind.__name__) for kind in type(error).__mro__)
    kind = next((each for each in kinds if each is not None), SshError)
    words = _words(error)
    if kind is ConnectionLostError and any(said in words.casefold() for said in NOT_THE_PROTOCOL):
        kind = NotSshError
    if kind is UnreachableError:
        cause = next((name for each, name in CAUSES.items() if isinstance(error, each)), "network")
        return UnreachableError(f"{where} cannot be reached: {words}", host=where, cause=cause, reason=words)
    return kind(f"{where}: {words}", host=where)


def _words(error: BaseException) -> str:
    """What an exception says, in plain words."""
    if type(error).__name__ == "ChannelException" and getattr(error, "code", None) in REFUSED_CHANNELS:
        return REFUSED_CHANNELS[error.code]  # type: ignore[attr-defined]
    if isinstance(error, TimeoutError):
        return PLAIN[errno.ETIMEDOUT]
    if isinstance(error, OSError) and error.errno is not None:
        return PLAIN.get(error.errno) or error.strerror or str(error)
    return str(error) or type(error).__name__

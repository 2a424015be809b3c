"""What can go wrong between us and a host. Codes are public; most are findings of an adoption's checks as well."""

from typing import Any

from chalicelib.domain.errors import InvalidInputError, TidepoolError


class SshError(TidepoolError):
    """A host could not be worked with. `retryable`: the same may work a moment later.

    `context["reason"]` says why in a few plain words, where there are shorter ones than `detail`.
    """

    code, status, exit_code = "ssh-failed", 502, 8


class UnreachableError(SshError):
    """No connection came about. `context["cause"]` is `dns`, `refused`, `timeout`, `network` or `jump`."""

    code, status, retryable = "unreachable", 503, True


class TargetRefusedError(SshError):
    """The address is none that the stack's allow-list admits."""

    code, status, exit_code = "target-refused", 422, 2


class TargetNeverError(TargetRefusedError):
    """The address is one that no allow-list admits: loopback, link-local, a metadata service."""

    code = "target-never"


class NotSshError(SshError):
    """Something else than an SSH server answers there, or one with which no algorithm is shared."""

    code = "not-ssh"


class HostKeyMismatchError(SshError):
    """The host's key is not among those that were given. `context` has `expected` and `found`."""

    code, status, exit_code = "host-key-mismatch", 409, 9


class HostKeyChangedError(SshError):
    """The host's key is not the one that was pinned. `context` has `expected` and `found`."""

    code, status, exit_code = "host-key-changed", 409, 9


class AuthFailedError(SshError):
    """The host does not let the user in with the key. `context` has `user` and the key's `fingerprint`."""

    code, status, exit_code = "auth-failed", 422, 9


class ConnectionLostError(SshError):
    """The connection broke off, so what was running may or may not have been done."""

    code, status, retryable = "connection-lost", 503, True


class CommandTimeoutError(SshError):
    """A command took longer than it may. It may still be running on the host."""

    code, status, retryable = "command-timeout", 504, True


class ScriptOutputError(SshError):
    """What came back is not the output of the script that was sent. `context["line"]` is where that shows."""

    code = "script-output"


class KeyRefusedError(InvalidInputError):
    """A private key that cannot be used. `context["reason"]` is a `Reason` of `ssh.keys`."""

    code = "key-refused"

    def __init__(self, field: str, reason: str, detail: str, expected: str) -> None:
        super().__init__(field, "…", expected)
        self.detail = f"{field}: {detail}; expected {expected}"
        self.args = (self.detail,)
        self.context: dict[str, Any] = {"field": field, "reason": reason, "expected": expected}

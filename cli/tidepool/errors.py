"""What can go wrong, as one small tree. Each class has the exit code that the command line ends with.

An error that the API answered carries its problem document: `code` (stable, kebab-case), `status`, `detail` and
`context` (every further member, such as `field`, `reasons`, `attempts`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar


class TidepoolError(Exception):
    """Something a caller can act on, or at least name."""

    code: str = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        detail: str,
        *,
        code: str = "",
        status: int = 0,
        retryable: bool = False,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.status = status
        self.retryable = retryable
        self.context: dict[str, Any] = dict(context or {})


class BadAnswerError(TidepoolError):
    """The other side does not speak the API: not JSON, cut short, or a redirect."""

    code = "bad-answer"


class InputError(TidepoolError):
    """Bad input. From the API, `context` names the `field`, what was `given` and what is `expected`."""

    code = "invalid-input"
    exit_code = 2


class AuthError(TidepoolError):
    """No token, a token that is not known (any more), or one whose role is not enough."""

    code = "unauthenticated"
    exit_code = 3


class NotFoundError(TidepoolError):
    """The named thing is unknown, or belongs to a project that the token does not reach."""

    code = "not-found"
    exit_code = 4


class ConflictError(TidepoolError):
    """The request contradicts what is there."""

    code = "conflict"
    exit_code = 5


class BusyError(ConflictError):
    """The instance is in use; only force ends it."""

    code = "busy"


class LeaseLost(ConflictError):  # noqa: N818 - an outcome that holders plan for, and the name they catch
    """The lease is over, or may be: stop using the machine."""

    code = "lease-lost"


class NoMatchError(TidepoolError):
    """No idle instance fits and nothing may be bought. `context["reasons"]` says why not, for each."""

    code = "no-match"
    exit_code = 6


class ProvisioningFailedError(TidepoolError):
    """Every offer was tried. `context["attempts"]` lists each with its class and reason."""

    code = "provisioning-failed"
    exit_code = 7


class NoOffersError(ProvisioningFailedError):
    """No backend offers what was asked. `context["filters"]` says which filter removed the last candidates."""

    code = "no-offers"


class UnavailableError(TidepoolError):
    """The control plane, or something it leans on, did not answer in time. The same call may work later."""

    code = "unavailable"
    exit_code = 8


class BackendCheckFailedError(TidepoolError):
    """An account cannot rent machines as it is. `context["checks"]` says what is wrong and how to put it right."""

    code = "backend-check-failed"
    exit_code = 8


class HostChecksFailedError(TidepoolError):
    """A host is not fit to be adopted. `context["checks"]` says what is wrong, and the command that puts it right."""

    code = "host-checks-failed"
    exit_code = 9


class ConnectionLostError(UnavailableError):
    """No (complete) answer came: refused, cut, timed out, or the name does not resolve."""

    code = "connection-lost"


BY_CODE: dict[str, type[TidepoolError]] = {
    error.code: error
    for error in (
        BackendCheckFailedError,
        BusyError,
        LeaseLost,
        NoMatchError,
        NoOffersError,
        ProvisioningFailedError,
        UnavailableError,
    )
} | dict.fromkeys(("auth-failed", "host-key-changed", "host-key-mismatch", "jump-host-key"), HostChecksFailedError)
"""The class of a code where its status does not tell: what a host is refused for is as its checks have it."""
BY_STATUS: dict[int, type[TidepoolError]] = {
    400: InputError,
    401: AuthError,
    403: AuthError,
    404: NotFoundError,
    409: ConflictError,
    413: InputError,
    415: InputError,
    422: InputError,
    429: UnavailableError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
PASSING = frozenset({429, 500, 502, 503, 504})
"""Without a `code` these are a gateway's own words, not the API's: the call may work later."""
ENVELOPE = frozenset({"type", "code", "title", "status", "detail", "message", "retryable"})


def from_problem(status: int, problem: Mapping[str, Any]) -> TidepoolError:
    """Make the error that a problem document tells of. Bodies of gateways in between (`{"message": …}`) do too."""
    code = str(problem.get("code") or "")
    passing = not code and status in PASSING
    made = BY_CODE.get(code) or (UnavailableError if passing else BY_STATUS.get(status, TidepoolError))
    words = problem.get("detail") or problem.get("message") or problem.get("Message") or problem.get("title")
    return made(
        str(words or f"the API answered {status}"),
        code=code,
        status=status,
        retryable=bool(problem.get("retryable", passing)),
        context={name: value for name, value in problem.items() if name not in ENVELOPE},
    )

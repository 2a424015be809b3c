"""The outcomes a caller can act on: one tree, each leaf with a public code, a status and an exit code.

`code` is part of the API: kebab-case, never renamed. `status` is the HTTP status it answers with,
`exit_code` is what the command line ends with. The table in `docs/reference/errors.md` is generated from here.
"""

from typing import Any, ClassVar


class TidepoolError(Exception):
    """An outcome with a stable code. `context` holds public facts and is put into the answer as it is."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, **context: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.context = context


class InvalidInputError(TidepoolError):
    """Bad input. `field` names where, `given` what stood there, `expected` what would be right."""

    code, status, exit_code = "invalid-input", 422, 2

    def __init__(self, field: str, given: object, expected: str) -> None:
        super().__init__(
            f"{field}: {given!r} is not valid; expected {expected}", field=field, given=given, expected=expected
        )
        self.field = field
        self.given = given
        self.expected = expected


class MalformedBodyError(TidepoolError):
    """The body is not a JSON object."""

    code, status, exit_code = "malformed-body", 400, 2


class BodyTooLargeError(TidepoolError):
    """The body is larger than the route accepts."""

    code, status, exit_code = "body-too-large", 413, 2


class UnsupportedMediaTypeError(TidepoolError):
    """The body is announced as something else than JSON."""

    code, status, exit_code = "unsupported-media-type", 415, 2


class UnauthenticatedError(TidepoolError):
    """No token, or one that is unknown, expired or revoked."""

    code, status, exit_code = "unauthenticated", 401, 3


class ForbiddenError(TidepoolError):
    """The token is good, its role is not enough."""

    code, status, exit_code = "forbidden", 403, 3


class NotFoundError(TidepoolError):
    """The named thing is unknown, or belongs to a project this token does not reach."""

    code, status, exit_code = "not-found", 404, 4


class ConflictError(TidepoolError):
    """The request contradicts what is there."""

    code, status, exit_code = "conflict", 409, 5


class AlreadyExistsError(ConflictError):
    """The name is taken."""

    code = "already-exists"


class BusyError(ConflictError):
    """The instance is in use; only force ends it."""

    code = "busy"


class PoolNotEmptyError(ConflictError):
    """The pool still has live instances."""

    code = "pool-not-empty"


class BackendInUseError(ConflictError):
    """Machines of the backend are rented, or may be. `context["instances"]` names some of them."""

    code = "backend-in-use"


class IdempotencyMismatchError(ConflictError):
    """The same Idempotency-Key came with another request."""

    code = "idempotency-mismatch"


class IdempotencyPendingError(IdempotencyMismatchError):
    """The first request with this Idempotency-Key is still being worked on: the same call answers later."""

    code, retryable = "idempotency-pending", True


class LeaseLostError(ConflictError):
    """The lease ended, or its instance has a newer fence: the holder must stop using the machine."""

    code = "lease-lost"


class LostRaceError(ConflictError):
    """Another writer moved the row since it was read."""

    code, retryable = "lost-race", True


class IllegalTransitionError(ConflictError):
    """The lifecycle has no such step from the present state."""

    code = "illegal-transition"


class NoMatchError(TidepoolError):
    """No idle instance fits, and the request may not provision. `context["reasons"]` says why for each."""

    code, status, exit_code, retryable = "no-match", 409, 6, True


class NoOffersError(TidepoolError):
    """No configured backend offers what was asked. `context["filters"]` says which filter removed the last ones."""

    code, status, exit_code = "no-offers", 422, 7


class BackendCheckFailedError(TidepoolError):
    """The account cannot rent machines as it is. `context["checks"]` says what is wrong and how to put it right."""

    code, status, exit_code = "backend-check-failed", 422, 8


class UnavailableError(TidepoolError):
    """A part the control plane leans on did not answer in time; nothing was changed."""

    code, status, exit_code, retryable = "unavailable", 503, 8, True


class ThrottledError(TidepoolError):
    """Too many requests; the same call may succeed later."""

    code, status, exit_code, retryable = "throttled", 429, 8, True


class BackendError(TidepoolError):
    """A provider refused a call. Drivers raise only its subclasses; the class decides what happens next."""

    code, status, exit_code = "backend-error", 502, 8
    kind: ClassVar[str] = "unknown"


class NoCapacityError(BackendError):
    """The provider has none of that shape there now: try the next offer."""

    code, status, kind, retryable = "no-capacity", 503, "no_capacity", True


class QuotaError(BackendError):
    """The account may not have more of that shape there."""

    code, status, kind = "quota", 503, "quota"


class InvalidRequestError(BackendError):
    """The provider rejects the request itself: drop the offer, never retry it."""

    code, status, kind = "backend-invalid", 502, "invalid"


class BackendAuthError(BackendError):
    """The credentials are wrong: the backend is out for this request, and somebody must know."""

    code, status, kind = "backend-auth", 502, "auth"


class BackendThrottledError(BackendError):
    """The provider asks to slow down; the same offer may work later."""

    code, status, kind, retryable = "backend-throttled", 503, "throttled", True


class BalanceError(BackendError):
    """The account has no credit left."""

    code, status, kind = "balance", 502, "balance"


class TransientError(BackendError):
    """The provider failed in passing and nothing was made."""

    code, status, kind, retryable = "transient", 503, "transient", True


class UnknownOutcomeError(BackendError):
    """No answer, or one that leaves open whether it was done: look the attempt up before anything else.

    `context["provider_code"]` is there when the provider did answer, with a code that its driver does not know.
    """

    code, status, kind = "unknown-outcome", 503, "unknown"

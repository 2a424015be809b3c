"""Errors as `application/problem+json` (RFC 9457), with a stable `code`.

This is a decorator under the route, not a middleware: Chalice turns an unknown exception into its own 500 before a
middleware sees it.
"""

import json
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Final, ParamSpec

from botocore.exceptions import BotoCoreError, ClientError
from chalice.app import Response
from pydantic import ValidationError

from chalicelib import log
from chalicelib.domain.errors import InvalidInputError, ThrottledError, TidepoolError, UnavailableError

P = ParamSpec("P")

CONTENT_TYPE: Final = "application/problem+json"
SHOWN: Final = 200
"""How much of a refused value is echoed, in characters."""

RETRY_AFTER_S: Final = "1"

HIDDEN: Final = frozenset({"credentials", "env", "passphrase", "private_key", "proposed_token"})
"""Fields that may hold secrets: what was given there is not echoed. Nor is what stands in a field that is not known:
its name may be a slip of one of these."""

NOT_SHOWN: Final = "(not shown)"

_THROTTLED: Final = frozenset({"SlowDown", "ThrottlingException", "TooManyRequestsException", "RequestThrottled"})
_UNAVAILABLE: Final = frozenset({"InternalError", "InternalFailure", "InternalServerError", "ServiceUnavailable"})


def answers_problems(view: Callable[P, Response]) -> Callable[P, Response]:
    """Answer what `view` raises as a problem. A bug is a 500 without internals; the log has them, under the same id."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Response:
        try:
            return view(*args, **kwargs)
        except TidepoolError as error:
            return problem(error)
        except ValidationError as error:
            return problem(of_validation(error))
        except (BotoCoreError, ClientError) as error:
            log.error("dependency-failed", error)
            return problem(of_dependency(error))
        except Exception as error:  # noqa: BLE001 - the outermost edge: nothing may leave it as a stack trace
            log.error("unexpected-error", error)
            return problem(_internal())

    return guarded


def problem(error: TidepoolError) -> Response:
    """Write an error as its answer."""
    body = {
        **error.context,
        "type": f"/problems/{error.code}",
        "code": error.code,
        "title": error.code.replace("-", " "),
        "status": error.status,
        "detail": error.detail,
        "retryable": error.retryable,
    }
    headers: dict[str, str | list[str]] = {"Content-Type": CONTENT_TYPE}
    if error.retryable and error.status in {429, 503}:
        headers["Retry-After"] = RETRY_AFTER_S
    return Response(
        body=json.dumps(body, separators=(",", ":"), default=str), status_code=error.status, headers=headers
    )


def of_validation(error: ValidationError) -> InvalidInputError:
    """Name the first wrong field in `field`, `given`, `expected`, and all of them in `errors`."""
    errors = [_field_error(each) for each in error.errors(include_url=False, include_context=False)]
    found = InvalidInputError(**errors[0])
    found.context["errors"] = errors
    return found


def of_dependency(error: BotoCoreError | ClientError) -> TidepoolError:
    """Tell a throttle and a part that did not answer, which both pass, from a call that was refused, which is a bug."""
    if isinstance(error, BotoCoreError):
        return UnavailableError("a part that the control plane leans on did not answer in time")
    code = error.response.get("Error", {}).get("Code", "")
    if code in _THROTTLED:
        return ThrottledError("too many requests; try again in a moment")
    if code in _UNAVAILABLE:
        return UnavailableError("a part that the control plane leans on is out of order for the moment")
    return _internal()


def _internal() -> TidepoolError:
    """A bug, said without internals; the log has them under the same id."""
    return TidepoolError(
        "something went wrong here; the log has it under `request_id`", request_id=log.bound().get("request_id")
    )


def _field_error(error: Any) -> dict[str, Any]:
    path: Iterable[Any] = error["loc"]
    field = ".".join(str(part) for part in path) or "body"
    if error["type"] == "extra_forbidden":
        expected = "no such field"
    else:
        expected = str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    return {"field": field, "given": _shown(field, error["input"], error["type"]), "expected": expected}


def _shown(field: str, given: object, kind: str) -> object:
    if kind == "missing":
        return None
    if kind == "extra_forbidden" or not HIDDEN.isdisjoint(field.split(".")):
        return NOT_SHOWN
    if isinstance(given, str):
        return given if len(given) <= SHOWN else f"{given[:SHOWN]}…"
    if isinstance(given, bool | int | float | None):
        return given
    text = json.dumps(given, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

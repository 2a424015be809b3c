"""The checks of an account, within a time limit, and without a credential in what they say."""

from collections.abc import Mapping
from datetime import timedelta
from queue import Empty, SimpleQueue
from threading import Thread
from traceback import format_exception
from typing import Any, Final

from chalicelib import log
from chalicelib.backends.base import Account, Check
from chalicelib.domain.accounts import Checkup
from chalicelib.domain.errors import BackendError
from chalicelib.services.deps import Deps

LIMIT: Final = timedelta(seconds=20)
"""How long the checks of one account may take together: a request has 29 s at API Gateway, and reads and writes too."""

SHORTEST: Final = 6
"""A shorter credential is no secret worth the name, and cutting it out would garble every text."""


def checkup(deps: Deps, account: Account) -> Checkup:
    """Make the checks of an account. An account that answers none in time has failed, and so has one that is refused.

    Raises `BackendError` for what passes by itself: a throttle, a provider that is out of order.
    """
    answers: SimpleQueue[tuple[Check, ...] | Exception] = SimpleQueue()
    Thread(target=_ask, args=(deps, account, answers), daemon=True).start()
    try:
        found = answers.get(timeout=LIMIT.total_seconds())
    except Empty:
        found = (_too_slow(),)
    if isinstance(found, BackendError) and found.retryable:
        raise type(found)(without(found.detail, account.credentials))
    if isinstance(found, Exception):
        found = (_fault(account, found),)
    of = next((check.account for check in found if check.account), "")
    return Checkup(deps.now(), tuple(_public(check, account.credentials) for check in found), of)


def without(text: str, credentials: Mapping[str, Any]) -> str:
    """Cut every credential out of a text."""
    for value in sorted(map(str, credentials.values()), key=len, reverse=True):
        if len(value) >= SHORTEST:
            text = text.replace(value, "***")
    return text


def _ask(deps: Deps, account: Account, answers: "SimpleQueue[tuple[Check, ...] | Exception]") -> None:
    try:
        answers.put(tuple(deps.drivers.make(account).check()))
    except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
        answers.put(error)


def _fault(account: Account, error: Exception) -> Check:
    """What a driver raises instead of answering. Its words may hold anything, so they are cut."""
    if isinstance(error, BackendError):
        return Check(
            error.code, ok=False, detail=error.detail, fix="put right what the provider refuses, and try again"
        )
    trace = without("".join(format_exception(error)), account.credentials)
    log.error("backend-check-fault", backend=account.name, kind=account.kind, traceback=trace)
    return Check("driver", ok=False, detail=f"the driver failed: {type(error).__name__}", fix="report this as a bug")


def _too_slow() -> Check:
    log.event("backend-check-slow")
    seconds = round(LIMIT.total_seconds())
    return Check("time", ok=False, detail=f"no answer within {seconds} s", fix="try again; is the provider reachable?")


def _public(check: Check, credentials: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": check.name,
        "ok": check.ok,
        "detail": without(check.detail, credentials),
        "fix": without(check.fix, credentials),
    }

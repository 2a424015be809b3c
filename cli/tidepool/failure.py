"""How a failure is told: one sentence, what it is about, and what to do next."""

from __future__ import annotations

import json

from tidepool.errors import (
    AuthError,
    BackendCheckFailedError,
    BadAnswerError,
    ConnectionLostError,
    InputError,
    NoMatchError,
    ProvisioningFailedError,
    TidepoolError,
)
from tidepool.text import clean, clipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, TextIO

    from tidepool.wire import Attempt, Offer


LONGEST_GIVEN = 200
REQUIRED = "Field required"
"""What the API expects of a field that is missing, in the words of its validation."""


def report(error: Exception, stderr: TextIO, *, as_json: bool) -> int:
    """Write the failure to stderr, as JSON when the command speaks JSON; answer the exit code."""
    known = error if isinstance(error, TidepoolError) else from_exception(error)
    context = known.context
    if isinstance(context.get("given"), str):
        context["given"] = clipped(context["given"], LONGEST_GIVEN)
    if as_json:
        facts = {"code": known.code, "status": known.status or None, "detail": known.detail, **context}
        lines = [json.dumps({"error": facts}, default=str)]
    else:
        lines = list(sentences(known))
    try:
        stderr.write("\n".join(lines) + "\n")
        stderr.flush()
    except OSError:
        pass  # nobody is there to read it; the exit code still tells
    return known.exit_code


def from_exception(error: Exception) -> TidepoolError:
    """Name a failure that nobody foresaw, or one of this computer."""
    if isinstance(error, OSError):
        where = f"{clipped(str(error.filename), LONGEST_GIVEN)}: " if error.filename else ""
        return InputError(f"{where}{error.strerror or error}", code="local-io")
    if isinstance(error, RecursionError | MemoryError):
        return TidepoolError(f"out of memory ({type(error).__name__})")
    return TidepoolError(f"unexpected {type(error).__name__}: {error} (TIDEPOOL_DEBUG=1 shows where)")


def sentences(error: TidepoolError) -> Iterator[str]:
    """The lines for a person."""
    first, *more = error.detail.replace(f"expected {REQUIRED}", "is required").split("\n")
    yield f"error: {clean(first)}"
    yield from (clean(line) for line in more)
    context = error.context
    if isinstance(error, InputError):
        yield from _input_lines(error)
    if isinstance(error, NoMatchError):
        yield from (f"  {line}" for line in reason_lines(context.get("reasons")))
    if isinstance(error, ProvisioningFailedError):
        yield from (f"  {clean(cluster_text(str(line)))}" for line in context.get("filters") or ())
        attempts = context.get("attempts") or ()
        yield from (f"  {attempt_line(attempt)}" for attempt in attempts)
        yield from (f"  {clean(line)}" for line in context.get("next_steps") or next_steps(attempts))
    if isinstance(error, BackendCheckFailedError):
        yield from (f"  {line}" for line in check_lines(context.get("checks")))
    if context.get("fix"):
        yield clean(f"  fix: {context['fix']}")
    if isinstance(error, AuthError) and error.status == 401:
        yield "  `tidepool config` shows which token is used; `tidepool login` stores another one"
    if isinstance(error, ConnectionLostError | BadAnswerError):
        yield "  `tidepool config` shows which control plane is meant"


def _input_lines(error: InputError) -> Iterator[str]:
    """Which field is wrong, what it was, and what it should be, as far as the sentence has not said so."""
    field, expected = clean(str(error.context.get("field", ""))), clean(str(error.context.get("expected", "")))
    if expected and expected not in error.detail:
        if expected == REQUIRED:
            yield f"  {field}: is required"
            return
        if field and field not in error.detail:
            yield f"  field: {field}"
        yield f"  given: {clean(str(error.context.get('given')))}"
        yield f"  expected: {expected}"
    elif field and field not in error.detail:
        yield f"  field: {field}"


def cluster_text(line: str) -> str:
    """The line with the cluster that it begins with, if any, as tables have it: `aws us-east-1`."""
    first, bar, rest = line.partition("|")
    return f"{first} {rest}" if bar and " " not in first else line


def reason_lines(reasons: Any) -> list[str]:
    """Why each instance did not match: one line an instance, whatever way the reasons are grouped."""
    if isinstance(reasons, dict):
        return [clean(f"{cluster_text(name)}: {_joined(why)}") for name, why in reasons.items()]
    return [clean(_joined(entry)) for entry in reasons or ()]


def check_lines(checks: Any) -> Iterator[str]:
    """Each check on a line: how it went, in whose words, and what to do."""
    for each in checks or ():
        yield clean(f"{'ok' if each['ok'] else 'failed':<6}  {each['name']}: {each['detail']}")
        if not each["ok"] and each["fix"]:
            yield clean(f"        fix: {each['fix']}")


def _joined(value: Any) -> str:
    if isinstance(value, dict):
        name = value.get("name") or value.get("instance") or value.get("instance_id") or ""
        why = value.get("reasons") or value.get("reason") or value.get("detail") or ""
        return f"{name}: {_joined(why)}" if name else _joined(why)
    if isinstance(value, list | tuple):
        return "; ".join(_joined(entry) for entry in value)
    return str(value)


def attempt_line(attempt: Attempt) -> str:
    """One attempt on one line: which offer, how it went, in whose words."""
    how = attempt["kind"] or attempt["state"]
    words = f" - {attempt['detail']}" if attempt.get("detail") else ""
    return clean(f"attempt {attempt['number']}: {offer_text(attempt['offer'])}: {how}{words}")


NEXT_STEPS = {
    "auth": "{backend} refuses the credentials: `tidepool backend test {backend}` says what is wrong, "
    "`tidepool backend add … --replace` stores others",
    "balance": "{backend} does not rent to this account: `tidepool backend test {backend}` says what is wrong, "
    "`tidepool backend add … --replace` stores another one",
    "quota": "ask {backend} for a larger quota in {region}, or allow other regions or instance types",
    "no_capacity": "`--retry` waits for capacity, and `--retry-duration` says for how long",
}
"""What helps against a class of refusals; against the others nothing is known that would."""


def next_steps(attempts: Iterable[Attempt]) -> list[str]:
    """What to do about attempts that were refused, each thing once."""
    steps: dict[str, None] = {}
    for attempt in attempts:
        if attempt["kind"] in NEXT_STEPS:
            offer = attempt["offer"]
            steps[NEXT_STEPS[attempt["kind"]].format(backend=offer["backend"], region=offer["region"])] = None
    return list(steps)


UNDER_WAY = {"intent": "asking the provider", "launched": "launched, waiting for its agent"}


def under_way_text(attempt: Attempt) -> str:
    """What an attempt that has not ended waits for."""
    return UNDER_WAY.get(attempt["state"], attempt["state"])


def offer_text(offer: Offer) -> str:
    """What is bought, where, and for how much: `aws eu-west-1 p4d at $3.67/h, spot`."""
    from tidepool.text import price_text

    what = " ".join(str(offer[name]) for name in ("backend", "region", "instance_type"))
    price = price_text(offer.get("price_micros"), offer.get("price_source"), offer.get("backend"))
    return f"{what} at {price}/h{', spot' if offer.get('spot') else ''}"

"""`errors.md`: the error tree, and the exit codes of the command line."""

from collections.abc import Iterator, Sequence

from chalicelib.domain.errors import BackendError, TidepoolError
from chalicelib.domain.findings import FINDINGS
from chalicelib.domain.networks import NoAddressInNetworkError
from chalicelib.ssh.errors import KeyRefusedError, SshError
from infra.reference.markdown import code, sentence, table
from infra.reference.markdown import page as whole
from tidepool.help import EXIT_CODES

MEANING_OF_INTERNAL = "A defect. The log has it under the answer's `request_id`."


def tree(kind: type[TidepoolError] = TidepoolError) -> Iterator[type[TidepoolError]]:
    """Yield a class of the error tree and all below it, in the order of the source. A test's own are not of it."""
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == TidepoolError.__module__ or each is KeyRefusedError:
            yield from tree(each)


def page() -> str:
    """Make the page."""
    every = list(tree())
    answered = [each for each in every if not issubclass(each, BackendError)]
    refusals = [each for each in every if issubclass(each, BackendError)]
    ends = [*below(SshError), NoAddressInNetworkError]
    parts = [INTRO, _answers(answered), REFUSALS, _refusals(refusals), ADOPTIONS, _ends(ends), EXITS, _exits()]
    return whole("Errors", *parts)


def below(kind: type[TidepoolError]) -> Iterator[type[TidepoolError]]:
    """Yield a class and all below it, wherever they are written."""
    yield kind
    for each in kind.__subclasses__():
        yield from below(each)


def _answers(kinds: Sequence[type[TidepoolError]]) -> str:
    rows = [
        (code(each.code), str(each.status), str(each.exit_code), "yes" if each.retryable else "no", meaning(each))
        for each in sorted(kinds, key=lambda each: (each.status, each.code))
    ]
    return table(("code", "status", "exit code", "retryable", "meaning"), rows)


def _refusals(kinds: Sequence[type[TidepoolError]]) -> str:
    rows = [(code(each.code), code(getattr(each, "kind", "")), meaning(each)) for each in kinds]
    return table(("code", "class of the attempt", "meaning, and what is done"), rows)


def _ends(kinds: Sequence[type[TidepoolError]]) -> str:
    rows = [
        (code(each.code), "yes" if each.retryable else "no", "yes" if each.code in FINDINGS else "", meaning(each))
        for each in kinds
    ]
    return table(("code", "tried again", "a check", "meaning"), rows)


def meaning(kind: type[TidepoolError]) -> str:
    """What a code means. The root of the tree documents itself as a class, not as an outcome."""
    return MEANING_OF_INTERNAL if kind is TidepoolError else sentence(kind.__doc__)


def _exits() -> str:
    return f"```text\n{EXIT_CODES.strip()}\n```"


INTRO = """\
Every error of the API is `application/problem+json` (RFC 9457). `code` is stable and never renamed; `retryable`
says whether the same call may succeed later. Further members depend on the code: a 422 has `field`, `given` and
`expected`.

```json
{"type": "/problems/busy", "code": "busy", "title": "busy", "status": 409, "detail": "…", "retryable": false}
```

Two answers come from API Gateway itself and have its own body: 401 `{"message": "Unauthorized"}` when there is
no good token, and 403 `{"message": "Missing Authentication Token"}` for a route that does not exist. The exit
code is what the command line ends with."""

REFUSALS = """\
## Refusals of a provider

A driver raises only these. They are not answered by the API: they appear as the `kind` of an
[attempt](../architecture.md#11-getting-a-machine), and the class decides what provisioning does next."""

ADOPTIONS = """\
## Why an adoption over SSH ended

Not answered by the API either, since the work is done by a workflow: they begin the `failure` of a host, before a
colon. Most are the code of a [check](checks.md) as well, which has the fix. For how long it is tried again:
[adoption](../adoption.md#the-steps). The command line ends with 8 where only the way to the host failed, else
with 9."""

EXITS = "## Exit codes of the command line"

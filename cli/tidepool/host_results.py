"""What came of a host: one value a host, a line for it, the checks as a table, and the exit code of them all."""

from __future__ import annotations

from tidepool.errors import ConflictError, HostChecksFailedError, TidepoolError
from tidepool.output import cell
from tidepool.text import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from tidepool.output import Output
    from tidepool.wire import HostCheck, Instance

CHECK_HEADER = ("CHECK", "RESULT", "CODE", "FOUND")
SEVERITY = (0, ConflictError.exit_code, HostChecksFailedError.exit_code, 8, 7, 6, 4, 2, 3, 1, 130)
"""Exit codes, the worst last: what speaks about one host before what speaks about all of them."""

WORDS = ADDED, THERE, ORDERED, CHECKED, FAILED = "added", "already there", "ordered", "fit", "failed"


class Result:
    """How one host ended. `how` is one of the words above; `error` is there where it failed; `is_new_key`: its key was
    not known before."""

    __slots__ = ("checks", "error", "fingerprint", "host", "how", "instance", "is_new_key", "jump_fingerprint")

    def __init__(
        self,
        host: str,
        how: str,
        *,
        instance: Instance | None = None,
        checks: Sequence[HostCheck] = (),
        fingerprint: str = "",
        error: TidepoolError | None = None,
    ) -> None:
        self.host = host
        self.how = how
        self.instance = instance
        self.checks = list(checks)
        self.fingerprint = fingerprint
        self.is_new_key = False
        self.jump_fingerprint = ""
        self.error = error

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error else 0

    def document(self) -> dict[str, Any]:
        """The result as JSON. `fix` is that of each check that failed, one a line."""
        error = self.error
        fixes = [check["fix"] for check in self.checks if check["status"] == "fail"] if error else []
        fixes = list(dict.fromkeys(filter(None, fixes))) or ([str(error.context.get("fix") or "")] if error else [])
        return {
            "host": self.host,
            "result": self.how,
            "code": error.code if error else "",
            "detail": error.detail if error else "",
            "fix": "\n".join(fixes),
            "fingerprint": self.fingerprint,
            "first_use": self.is_new_key,
            "jump_fingerprint": self.jump_fingerprint,
            "checks": self.checks,
            "instance": self.instance,
        }


def failed(host: str, error: TidepoolError, *, fingerprint: str = "") -> Result:
    """The result of a host that went wrong; the checks are those that the error tells of."""
    instance: Instance | str | None = error.context.get("instance")
    return Result(
        host,
        FAILED,
        instance=None if isinstance(instance, str) else instance,  # a problem of the API names one, and has none
        checks=error.context.get("checks") or (),
        fingerprint=fingerprint,
        error=error,
    )


def interrupted(host: str, instance: Instance, words: str) -> Result:
    """The result of an adoption that nobody watches any more."""
    context = {"fix": f"tidepool pool rm {instance['name']}"}
    error = TidepoolError(f"{host}: {words}", code="interrupted", context=context)
    return Result(host, ORDERED, instance=instance, error=error)


def worst(results: Iterable[Result]) -> int:
    """The exit code of several hosts: that of the one that went worst."""
    codes = [result.exit_code for result in results]
    return max(codes, key=lambda code: SEVERITY.index(code) if code in SEVERITY else len(SEVERITY), default=0)


def result_lines(result: Result, width: int) -> list[str]:
    """A host of several on one line, with what to do about it below."""
    name = f"{result.host:<{width}}"
    if result.error is None:
        instance = result.instance["name"] if result.instance else ""
        known_as = f" as {instance}" if instance and instance != result.host else ""
        warned = ", ".join(check["code"] for check in result.checks if check["status"] == "warn")
        return [clean(f"{name}  {result.how}{known_as}{f' (warnings: {warned})' if warned else ''}")]
    wrong = [check for check in result.checks if check["status"] == "fail"]
    codes = ", ".join(check["code"] for check in wrong) or result.error.code
    said = (
        result.error.detail.removeprefix(f"{result.host}: ")
        if not wrong
        else "; ".join(check["found"] for check in wrong)
    )
    lines = [clean(f"{name}  {result.how}: {codes}: {said}")]
    fixes = [check["fix"] for check in wrong] or [str(result.error.context.get("fix") or "")]
    return lines + [clean(f"{'':<{width}}    fix: {fix}") for fix in dict.fromkeys(fixes) if fix]


def show_checks(out: Output, checks: Sequence[HostCheck]) -> None:
    """The checks as a table, and under it what puts each right that did not pass."""
    if not checks:
        return
    rows = [(cell(each["check"]), each["status"], cell(each["code"]), cell(each["found"])) for each in checks]
    out.table(CHECK_HEADER, rows, status=1, wraps=True)
    for each in checks:
        if each["status"] != "pass" and each["fix"]:
            out.line(f"fix {clean(each['check'])}: {clean(each['fix'])}")


def summary(results: Sequence[Result]) -> str:
    """How many hosts went how."""
    counts = {how: sum(result.how == how for result in results) for how in WORDS}
    return f"{len(results)} hosts: " + ", ".join(f"{count} {how}" for how, count in counts.items() if count)

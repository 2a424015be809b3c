"""What the fake is told to do wrong. Faults are rules, in the order given; the first that fits is used."""

import threading
from dataclasses import dataclass, replace
from typing import Any, Final

REFUSALS: Final[dict[str, tuple[int, str, str]]] = {
    "no-capacity": (409, "SkuNotAvailable", "The requested VM size is currently not available in this location."),
    "quota": (
        409,
        "OperationNotAllowed",
        "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.",
    ),
    "invalid": (400, "InvalidParameter", "The value of parameter vmSize is invalid."),
    "auth": (403, "AuthorizationFailed", "The client does not have authorization to perform the action."),
    "balance": (403, "ReadOnlyDisabledSubscription", "The subscription is disabled and therefore marked as read only."),
    "throttled": (429, "TooManyRequests", "The request is being throttled as the limit has been reached."),
    "transient": (503, "ServerBusy", "The server is currently unable to receive requests."),
    "unknown": (500, "", "<html>nobody foresaw this</html>"),
}
"""Fault -> status, code and words of the answer to the PUT of a machine. Nothing is made."""

OTHERS: Final = ("allocation-failed", "capacity", "lost-answer", "slow", "read-refused", "delete-refused")
"""`allocation-failed`: the PUT is accepted, and the machine fails with all its parts in place. `capacity`: `value`
machines of that kind at once, for as long as the rule stands. `lost-answer`: the PUT is done, and the connection cut.
`slow`: every answer takes `value` seconds. `read-refused`, `delete-refused`: a GET, a DELETE is answered with 503."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault. What is None does not narrow it; `count` None is for as long as it stands."""

    fault: str
    size: str | None = None
    region: str | None = None
    spot: bool | None = None
    count: int | None = None
    value: float = 0

    def concerns(self, size: str | None, region: str | None, spot: bool | None) -> bool:
        """Whether a call about such a machine is hit; a rule for some machines does not hit a call about none."""
        return self.size in (None, size) and self.region in (None, region) and (self.spot is None or self.spot == spot)


class Quirks:
    """The rules in force."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._rules: list[Rule] = []

    def replace(self, rows: list[dict[str, Any]]) -> None:
        """Forget the rules and take these. Raises `TypeError` or `ValueError` for one that is none."""
        rules = [Rule(**row) for row in rows]
        for rule in rules:
            if rule.fault not in (*REFUSALS, *OTHERS):
                raise ValueError(f"{rule.fault!r} is none of {', '.join((*REFUSALS, *OTHERS))}")
        with self._guard:
            self._rules = rules

    def take(
        self, *faults: str, size: str | None = None, region: str | None = None, spot: bool | None = None
    ) -> Rule | None:
        """Use up one count of the first rule that fits; None when nothing is to go wrong."""
        with self._guard:
            for place, rule in enumerate(self._rules):
                if rule.fault in faults and rule.concerns(size, region, spot):
                    if rule.count is not None:
                        left = replace(rule, count=rule.count - 1)
                        self._rules[place : place + 1] = [left] if rule.count > 1 else []
                    return rule
        return None

    def limits(self) -> list[Rule]:
        """The `capacity` rules."""
        with self._guard:
            return [rule for rule in self._rules if rule.fault == "capacity"]

"""Scripted faults: what the local cloud is told to do wrong, so that failures can be rehearsed.

They live in memory: a restarted server behaves.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from infra.local.cloud import catalog
from infra.local.cloud.refusals import RefusedError


class Fault(StrEnum):
    """What can go wrong. Those of a launch come first."""

    NO_CAPACITY = "no-capacity"
    QUOTA = "quota"
    BALANCE = "balance"
    UNKNOWN_TYPE = "unknown-type"
    CAPACITY = "capacity"
    BOOT_DELAY = "boot-delay"
    SILENT = "silent"
    LOST_ANSWER = "lost-answer"
    TERMINATE_FAILS = "terminate-fails"
    THROTTLE = "throttle"
    AUTH = "auth"
    UNAVAILABLE = "unavailable"
    UNFORESEEN = "unforeseen"
    SLOW = "slow"


NEEDS_VALUE: Final = {
    Fault.CAPACITY: "how many machines may live at once, a whole number from 0",
    Fault.BOOT_DELAY: "seconds from 0 to 3600",
    Fault.SLOW: "seconds from 0 to 3600",
}
MOST_S: Final = 3600
MOST_FAULTS: Final = 100


@dataclass(frozen=True, slots=True)
class Rule:
    """One scripted fault. `type` and `region` narrow it to what concerns such machines; `count` None is for ever."""

    fault: Fault
    type: str | None = None
    region: str | None = None
    count: int | None = None
    value: float | None = None

    def concerns(self, type_name: str | None, region: str | None) -> bool:
        """Whether a call about such a machine is hit. A call about no machine is hit by a rule for all only."""
        return self.type in (None, type_name) and self.region in (None, region)

    def to_json(self) -> dict[str, Any]:
        """The rule as a client writes it, without what it left out."""
        row = {"fault": self.fault.value, "type": self.type, "region": self.region, "value": self.value}
        return {**{key: value for key, value in row.items() if value is not None}, "count": self.count}


class Rehearsal:
    """The rules in force, in the order given; the first that fits is used."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._rules: list[Rule] = []

    def to_json(self) -> list[dict[str, Any]]:
        """The rules that are left, with what is left of their counts."""
        with self._guard:
            return [rule.to_json() for rule in self._rules]

    def replace(self, rules: Sequence[Rule]) -> None:
        """Forget the rules and take these."""
        with self._guard:
            self._rules = list(rules)

    def take(self, fault: Fault, type_name: str | None = None, region: str | None = None) -> Rule | None:
        """Use up one count of the first rule that fits; None when nothing is to go wrong."""
        with self._guard:
            for place, rule in enumerate(self._rules):
                if rule.fault is fault and rule.concerns(type_name, region):
                    if rule.count is not None:
                        left = replace(rule, count=rule.count - 1)
                        self._rules[place : place + 1] = [left] if rule.count > 1 else []
                    return rule
            return None

    def limits(self, type_name: str, region: str) -> list[Rule]:
        """The `capacity` rules that a launch of such a machine must keep."""
        with self._guard:
            return [rule for rule in self._rules if rule.fault is Fault.CAPACITY and rule.concerns(type_name, region)]


def parse(body: object) -> list[Rule]:
    """Read the body of `PUT /rehearsal`, a list of rules. A refusal names the field and what is right."""
    if not isinstance(body, list) or len(body) > MOST_FAULTS:
        raise _wrong("body", type(body).__name__, f"a list of at most {MOST_FAULTS} faults")
    return [_rule(f"[{place}]", row) for place, row in enumerate(body)]


def _rule(where: str, row: object) -> Rule:
    if not isinstance(row, dict):
        raise _wrong(where, row, 'an object such as {"fault": "no-capacity", "count": 1}')
    unknown = sorted(set(row) - {"fault", "type", "region", "count", "value"})
    if unknown:
        raise _wrong(f"{where}.{unknown[0]}", row[unknown[0]], "one of the fields fault, type, region, count, value")
    try:
        fault = Fault(str(row.get("fault")))
    except ValueError:
        raise _wrong(f"{where}.fault", row.get("fault"), "one of " + ", ".join(Fault)) from None
    return Rule(
        fault=fault,
        type=_known(f"{where}.type", row.get("type"), {kind.name for kind in catalog.TYPES}),
        region=_known(f"{where}.region", row.get("region"), {kind.region for kind in catalog.TYPES}),
        count=_count(f"{where}.count", row.get("count"), fault),
        value=_value(f"{where}.value", row.get("value"), fault),
    )


def _known(where: str, given: object, names: set[str]) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or given not in names:
        raise _wrong(where, given, "one of " + ", ".join(sorted(names)))
    return given


def _count(where: str, given: object, fault: Fault) -> int | None:
    if given is None:
        return None
    if fault is Fault.CAPACITY:
        raise _wrong(where, given, "no count: a capacity holds until it is reset")
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise _wrong(where, given, "a whole number from 1, or null for every call until reset")
    return given


def _value(where: str, given: object, fault: Fault) -> float | None:
    if fault not in NEEDS_VALUE:
        if given is not None:
            raise _wrong(where, given, f"no value: {fault.value} has none")
        return None
    whole = fault is Fault.CAPACITY
    number = isinstance(given, int if whole else int | float) and not isinstance(given, bool)
    if not number or not 0 <= float(str(given)) <= MOST_S:
        raise _wrong(where, given, NEEDS_VALUE[fault])
    return given  # type: ignore[return-value]


def _wrong(field: str, given: object, expected: str) -> RefusedError:
    words = f"{field}: {given!r} is not valid; expected {expected}"
    return RefusedError(422, "invalid-rehearsal", words, field=field, given=given, expected=expected)

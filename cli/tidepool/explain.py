"""`--explain`: each value that holds, and who says it. Defaults are those of the plan that the server answered."""

from __future__ import annotations

from tidepool.keys import KEYS
from tidepool.output import cell
from tidepool.script import command_text
from tidepool.text import NOTHING, duration_text, money_text, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from tidepool.choices import Choices
    from tidepool.keys import Key, Said
    from tidepool.wire import Plan

HEADER = ("KEY", "VALUE", "SOURCE")
DEFAULT = "default"


def rows(choices: Choices, plan: Plan, *, for_run: bool) -> list[dict[str, Any]]:
    """One entry a key: `key`, `value` (as the API takes it, or as the server's default has it), `text`, `source`."""
    return [entry(key, choices, plan) for key in KEYS if for_run or not key.run_only]


def entry(key: Key, choices: Choices, plan: Plan) -> dict[str, Any]:
    """What holds for one key."""
    said = choices.said.get(key.name)
    default = _default(key, plan)
    name = f"{key.section}.{key.name}" if key.section else key.name
    if said is None:
        return {"key": name, "value": default, "text": _default_text(key, default), "source": DEFAULT}
    # What the server made of it is told where it says more than what was written: `retry: true` has a duration.
    text = _default_text(key, default) if key.kind in ("retry", "limit", "price") and default is not None else ""
    return {"key": name, "value": said.value, "text": text or value_text(said.value), "source": said.source}


def job_rows(job: Mapping[str, Said]) -> Iterator[dict[str, Any]]:
    """The same for what only a run has. Of the environment only the names: the values may be secrets."""
    for name, said in job.items():
        words = said.value if name == "command" and isinstance(said.value, list) else None
        text = command_text(words) if words else value_text(said.value)
        yield {"key": name, "value": said.value, "text": text, "source": said.source}


def table(entries: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """The entries as rows of `HEADER`."""
    return [(each["key"], cell(each["text"]), each["source"]) for each in entries]


def value_text(value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {value_text(part)}" for name, part in value.items())
    return str(value)


def _default(key: Key, plan: Plan) -> Any:
    """What the server says holds for a key."""
    if key.name == "pool":
        return plan["pool"]
    policies = plan["policies"]
    if key.section:
        return (policies.get("requirements") or {}).get(key.shown)
    return policies.get(key.shown)


def _default_text(key: Key, value: Any) -> str:
    if value is None or value == []:
        return "all" if key.kind == "names" else "no" if key.kind in ("flag", "retry") else NOTHING
    if key.shown.endswith("_micros"):
        return f"{money_text(value)}/h"
    if key.shown.endswith("_s") and not isinstance(value, str):
        return duration_text(value)
    if key.kind == "retry" and isinstance(value, dict):
        return f"on {', '.join(value['on_events'])}, for {duration_text(value['duration_s'])}"
    if isinstance(value, dict) and "low" in value:
        return _span_text(value, sizes=key.shown.endswith("_mib"))
    if key.shown.endswith("_mib"):
        return size_text(value)
    return value_text(value)


def _span_text(span: Mapping[str, int | None], *, sizes: bool) -> str:
    low, high = (None if end is None else size_text(end) if sizes else str(end) for end in (span["low"], span["high"]))
    return f"{low}.." if high is None else f"{low or ''}..{high}" if low != high else f"{high}"

"""What a profile, or the top of a run file, says of the keys of the table: checked, and as the API takes it.

Older keys are read for what they meant, and a note says what has taken their place.
"""

from __future__ import annotations

from tidepool.keys import (
    BY_NAME,
    DEPRECATED,
    GPU_PARTS,
    RENAMED,
    RESOURCES,
    TOP_LEVEL,
    Said,
    expected,
)
from tidepool.options import RETRY_EVENTS, SPOT_POLICIES, price_of
from tidepool.yaml_file import FileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from tidepool.keys import Key
    from tidepool.yaml_file import Value

RETRY_PARTS = ("on_events", "duration")


def read_policies(entries: Mapping[str, Value], notes: list[str], source: str = "{place}") -> dict[str, Said]:
    """Read the keys of the table from a map; a null is the same as not said. Keys of other kinds are passed over.

    `source` says where a value is from, with `{place}` for its file and line. Raises `FileError` at the first fault.
    """
    said: dict[str, Said] = {}
    from_key: dict[str, str] = {}

    def take(key: Key, name: str, value: Value, meaning: object) -> None:
        if meaning is None:
            return
        if key.name in said:
            raise FileError(f"{value.place}: {name} and {from_key[key.name]} say the same thing; keep one of them")
        said[key.name] = Said(meaning, source.replace("{place}", value.place))
        from_key[key.name] = name

    for name, value in entries.items():
        if value.kind == "null":
            continue
        if name in DEPRECATED:
            notes.append(f"{value.place}: {name} is an older key; now it is {RENAMED[name]}")
        key = BY_NAME.get(RENAMED.get(name, name))
        if name == "resources":
            _resources(value, take)
        elif key and name in READ_OLD:
            take(key, name, value, READ_OLD[name](value, entries))
        elif key and name in TOP_LEVEL:
            take(key, name, value, meaning_of(key, name, value))
    return said


def refuse_unknown(value: Value, known: Iterable[str]) -> None:
    """Refuse the first key of a map that is neither in `known` nor in the table."""
    every = (*known, *TOP_LEVEL)
    for name, entry in value.entries.items():
        if name in RESOURCES or name == "shm_size":
            raise FileError(
                f"{entry.place}: {name} stands under resources",
                context={"file": entry.file, "line": entry.line, "field": name},
            )
        if name not in every:
            raise entry.unknown(name, every)


def meaning_of(key: Key, name: str, value: Value) -> Any:
    """A value as the API takes it; `name` is the key as it was written. Raises `FileError` for another type."""
    meaning = READ[key.kind](name, value)
    if meaning is None:
        raise value.refusal(name, expected(key))
    return meaning


def texts_of(name: str, value: Value) -> list[str] | None:
    """A list of texts, or None when it is something else. Raises `FileError` for an entry that is no text."""
    if value.kind != "list":
        return None
    for item in value.items:
        if item.kind not in ("text", "number") or not item.text.strip():
            raise item.refusal(name, item.text_form())
    return [item.text for item in value.items]


def _resources(value: Value, take: Callable[[Key, str, Value, object], None]) -> None:
    if value.kind != "map":
        raise value.refusal("resources", f"a map with some of {', '.join(RESOURCES)}")
    for name, item in value.entries.items():
        key = BY_NAME.get(RENAMED.get(name, name))
        if key is None or not key.section:
            raise item.unknown(name, (*RESOURCES, "shm_size"))
        if item.kind != "null":
            take(key, name, item, meaning_of(key, f"resources.{name}", item))


def _text(_: str, value: Value) -> str | None:
    return value.text if value.kind in ("text", "number") and value.text.strip() else None


def _gpu(name: str, value: Value) -> Any:
    if value.kind != "map":
        return _text(name, value)
    made: dict[str, Any] = {}
    for part, item in value.entries.items():
        if part not in GPU_PARTS:
            raise item.unknown(part, GPU_PARTS)
        if item.kind == "null":
            continue
        meaning = texts_of(f"{name}.{part}", item) if item.kind == "list" and part == "name" else _text(part, item)
        if meaning is None:
            raise item.refusal(f"{name}.{part}", "a text or a number")
        made[part] = meaning
    return made


def _price(_: str, value: Value) -> float | None:
    return price_of(value.text) if value.kind in ("text", "number") else None


def _limit(name: str, value: Value) -> str | None:
    """A duration. YAML reads a bare `off` as false, so every false is `off`."""
    if value.kind == "bool":
        return None if value.is_true() else "off"
    return _text(name, value)


def _flag(_: str, value: Value) -> bool | None:
    return value.is_true() if value.kind == "bool" else None


def _spot(_: str, value: Value) -> str | None:
    return value.text if value.kind == "text" and value.text in SPOT_POLICIES else None


def _retry(name: str, value: Value) -> Any:
    if value.kind == "bool":
        return value.is_true()
    if value.kind != "map" or not value.entries:
        return None
    made: dict[str, Any] = {}
    for part, item in value.entries.items():
        if part == "on_events":
            made[part] = _events(f"{name}.on_events", item)
        elif part == "duration":
            made[part] = _duration(f"{name}.duration", item)
        else:
            raise item.unknown(part, RETRY_PARTS)
    return made


def _events(name: str, value: Value) -> list[str]:
    form = f"a list with at least one of {', '.join(RETRY_EVENTS)}"
    events = texts_of(name, value)
    if not events:
        raise value.refusal(name, form)
    for item in value.items:
        if item.text not in RETRY_EVENTS:
            raise item.refusal(name, f"one of {', '.join(RETRY_EVENTS)}")
    return events


def _duration(name: str, value: Value) -> str:
    text = _text(name, value)
    if text is None:
        raise value.refusal(name, "a duration such as 2h")
    return text


READ: dict[str, Callable[[str, Value], Any]] = {
    "text": _text,
    "names": texts_of,
    "spec": _text,
    "gpu": _gpu,
    "price": _price,
    "limit": _limit,
    "flag": _flag,
    "spot": _spot,
    "retry": _retry,
}


def _creation_policy(value: Value, _: Mapping[str, Value]) -> bool:
    if value.kind != "text" or value.text not in ("reuse", "reuse-or-create"):
        raise value.refusal("creation_policy", "reuse or reuse-or-create")
    return value.text == "reuse"


def _retry_policy(value: Value, _: Mapping[str, Value]) -> Any:
    """`{retry, duration}`; a duration alone means that it is retried."""
    form = "a map with retry (true or false) and duration"
    if value.kind != "map":
        raise value.refusal("retry_policy", form)
    for part, item in value.entries.items():
        if part not in ("retry", "duration"):
            raise item.unknown(part, ("retry", "duration"))
    wanted, duration = value.entries.get("retry"), value.entries.get("duration")
    if wanted is not None and wanted.kind not in ("bool", "null"):
        raise wanted.refusal("retry_policy.retry", "true or false")
    if duration is not None and duration.kind != "null":
        return {"duration": _duration("retry_policy.duration", duration)}
    return wanted is not None and wanted.is_true()


def _termination_policy(value: Value, _: Mapping[str, Value]) -> str | None:
    """`dont-destroy` is an idle limit that is off; the other word says nothing that is not so anyway."""
    if value.kind != "text" or value.text not in ("dont-destroy", "destroy-after-idle"):
        raise value.refusal("termination_policy", "dont-destroy or destroy-after-idle")
    return "off" if value.text == "dont-destroy" else None


def _termination_idle_time(value: Value, entries: Mapping[str, Value]) -> str | None:
    """The idle limit, unless `termination_policy` beside it switches it off."""
    limit = _limit("termination_idle_time", value)
    if limit is None:
        raise value.refusal("termination_idle_time", expected(BY_NAME["idle_duration"]))
    policy = entries.get("termination_policy")
    return None if policy is not None and policy.text == "dont-destroy" else limit


READ_OLD: dict[str, Callable[[Value, Mapping[str, Value]], Any]] = {
    "creation_policy": _creation_policy,
    "retry_policy": _retry_policy,
    "termination_policy": _termination_policy,
    "termination_idle_time": _termination_idle_time,
}

"""Event filter patterns, as far as this project's stream mappings use them.

A pattern is an object shaped like the record. Each leaf is a list of allowed values; besides plain values it may hold
`{"prefix": "..."}` and `{"exists": true|false}`. Source: AWS Lambda, "Control which events Lambda sends to your
function".
"""

from collections.abc import Mapping
from typing import Any


def matches(pattern: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether every leaf of the pattern allows what the record has in its place.

    Raises `ValueError` on a kind of rule that is not supported here, so that none is ever taken for a mismatch.
    """
    return all(_allows(rule, record, key) for key, rule in pattern.items())


def _allows(rule: Any, record: Mapping[str, Any], key: str) -> bool:
    if isinstance(rule, Mapping):
        inner = record.get(key)
        return matches(rule, inner if isinstance(inner, Mapping) else {})
    return any(_is(allowed, record, key) for allowed in rule)


def _is(allowed: Any, record: Mapping[str, Any], key: str) -> bool:
    if not isinstance(allowed, Mapping):
        return key in record and bool(record[key] == allowed)
    match dict(allowed):
        case {"prefix": str(prefix)}:
            return str(record.get(key, "")).startswith(prefix)
        case {"exists": bool(wanted)}:
            return (key in record) is wanted
    raise ValueError(f"the local pump does not know the filter rule {allowed!r}")

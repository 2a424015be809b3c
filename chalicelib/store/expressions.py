"""Requests to DynamoDB from plain values, for the rows that are written most: an item, a guarded change, its end.

PynamoDB makes an object of every path, value and action, and text of all of them, for each call: half of the processor
time of an acquire. Here the text is made once for each set of attributes, and values are written by the types of the
model's columns. Every name stands behind a `#`, since many of them are reserved words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from pynamodb.attributes import Attribute, BooleanAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from chalicelib.store.columns import DocumentAttribute, MomentAttribute, compact, stamp

Arguments = dict[str, Any]
"""The parameters of one operation, as botocore takes them."""

Guard = Mapping[str, Any]
"""What a row must still have, all of it, by attribute: a value (one at least), None for none, `PRESENT` for any."""

PRESENT: Final = object()

TEXTS: Final = 256
"""How many expressions are remembered: some dozens are in use, one for each kind of write."""

Writer = Callable[[Any], dict[str, Any]]

WRITERS: Final[Mapping[type[Attribute[Any]], Writer]] = {
    UnicodeAttribute: lambda text: {"S": text},
    NumberAttribute: lambda number: {"N": repr(number)},
    BooleanAttribute: lambda flag: {"BOOL": flag},
    MomentAttribute: lambda moment: {"S": stamp(moment)},
    DocumentAttribute: lambda value: {"S": compact(value)},
}
"""How a value lies in an item, by its column: what PynamoDB makes of it too."""


@dataclass(frozen=True, slots=True)
class Expression:
    """The text of an expression, its names by placeholder, and a placeholder for each attribute whose value it has."""

    text: str
    names: Mapping[str, str]
    values: tuple[tuple[str, str], ...]


def key(model: type[Model], hash_key: str, range_key: str | None) -> dict[str, dict[str, str]]:
    """The key of an item. All keys are texts."""
    parts = ((model._hash_keyname, hash_key), (model._range_keyname, range_key))
    return {name: {"S": text} for name, text in parts if name is not None and text is not None}


def item(model: type[Model], attributes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A whole item, its key included. Attributes that are None are absent."""
    columns = _columns(model)
    return {name: columns[name](value) for name, value in attributes.items() if value is not None}


def guarded(model: type[Model], hash_key: str, range_key: str | None, guard: Guard) -> Arguments:
    """Name a row, on the condition that it still is what was seen: by itself what a delete takes."""
    columns, condition = _columns(model), _condition(tuple((name, _term(value)) for name, value in guard.items()))
    return {
        "TableName": model.Meta.table_name,
        "Key": key(model, hash_key, range_key),
        "ConditionExpression": condition.text,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        "ExpressionAttributeNames": dict(condition.names),
        "ExpressionAttributeValues": {place: columns[name](guard[name]) for name, place in condition.values},
    }


def update(
    model: type[Model],
    hash_key: str,
    range_key: str | None,
    attributes: Mapping[str, Any],
    guard: Guard,
    *,
    count: str = "",
) -> Arguments:
    """Set attributes of a row that still is what was seen, and remove those that are None; raise `count` by one."""
    columns, change = (
        _columns(model),
        _change(tuple((name, value is None) for name, value in attributes.items()), count),
    )
    arguments = guarded(model, hash_key, range_key, guard)
    arguments["UpdateExpression"] = change.text
    arguments["ExpressionAttributeNames"] |= change.names
    values = arguments["ExpressionAttributeValues"]
    for name, place in change.values:
        values[place] = columns[name](attributes[name])
    if count:
        values[":one"] = {"N": "1"}
    return arguments


@cache
def _columns(model: type[Model]) -> dict[str, Writer]:
    return {name: WRITERS[type(column)] for name, column in model.get_attributes().items()}


def _term(wanted: Any) -> str:
    """What a guard says of one attribute, as a pattern for the text."""
    if wanted is None:
        return "attribute_not_exists(#{0})"
    return "attribute_exists(#{0})" if wanted is PRESENT else "#{0} = :seen_{0}"


@lru_cache(TEXTS)
def _condition(terms: tuple[tuple[str, str], ...]) -> Expression:
    return Expression(
        text=" AND ".join(term.format(name) for name, term in terms),
        names={f"#{name}": name for name, _ in terms},
        values=tuple((name, f":seen_{name}") for name, term in terms if "=" in term),
    )


@lru_cache(TEXTS)
def _change(attributes: tuple[tuple[str, bool], ...], count: str) -> Expression:
    """`attributes` are names, each with whether it is removed."""
    written = [name for name, removed in attributes if not removed]
    removed = [name for name, removed in attributes if removed]
    clauses = {
        "SET ": [f"#{name} = :new_{name}" for name in written],
        "REMOVE ": [f"#{name}" for name in removed],
        "ADD ": [f"#{count} :one"] if count else [],
    }
    return Expression(
        text=" ".join(verb + ", ".join(parts) for verb, parts in clauses.items() if parts),
        names={f"#{name}": name for name in (*written, *removed, count) if name},
        values=tuple((name, f":new_{name}") for name in written),
    )

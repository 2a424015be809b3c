"""Counts what calls to DynamoDB cost, by its published rules, from the sizes of the items themselves.

Emulators do not charge what DynamoDB would. The meter listens to a client's events, looks at each written item before
and after the call with a client of its own, and adds up the units. Sources: Amazon DynamoDB Developer Guide, "DynamoDB
item sizes and formats", "Provisioned capacity mode" (reads in steps of 4 KB, halved when eventually consistent; writes
in steps of 1 KB of the larger of both versions; transactions twice), "Global secondary indexes" (an index is written
once when an entry comes, goes or changes, twice when its key changes).
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Item = dict[str, dict[str, Any]]

READ_STEP = 4096
WRITE_STEP = 1024


def size(item: Item) -> int:
    """Bytes of an item: names and values in UTF-8; a number two digits a byte and one more; a flag one."""
    return sum(len(name.encode()) + _value(value) for name, value in item.items())


def _value(value: dict[str, Any]) -> int:
    ((kind, inner),) = value.items()
    if kind == "S":
        return len(inner.encode())
    if kind == "N":
        return math.ceil(len(inner.strip("-0.").replace(".", "")) / 2) + 1 + inner.startswith("-")
    if kind in {"BOOL", "NULL"}:
        return 1
    raise AssertionError(f"no row of ours has a {kind}")


def _steps(total: int, step: int) -> int:
    return max(1, math.ceil(total / step))


@dataclass
class Meter:
    """What the calls since the start cost: read units, write units, and how many of each call there were."""

    plain: Any
    """A client that is not metered."""

    reads: float = 0
    writes: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def before(self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """Look at what a write is about to change."""
        self.calls[model.name] += 1
        context["metered"] = (params, [self._look(*target) for target in _targets(model.name, params)])

    def after(self, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """Charge for the call."""
        params, old = context["metered"]
        if model.name == "Query":
            self.reads += self._query(params)
        elif model.name in {"GetItem", "BatchGetItem"}:
            self.reads += self._gets(model.name, params, parsed)
        else:
            factor = 2 if model.name == "TransactWriteItems" else 1
            for (table, key), before in zip(_targets(model.name, params), old, strict=True):
                after = self._look(table, key)
                self.writes += factor * _steps(max(size(before), size(after)), WRITE_STEP)
                self.writes += factor * self._indexes(table, before, after)

    def _look(self, table: str, key: Item) -> Item:
        return self.plain.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})

    def _query(self, params: dict[str, Any]) -> float:
        """A query pays for what it reads, before filter and projection; both are taken out to see it."""
        names = params.get("ExpressionAttributeNames", {})
        values = params.get("ExpressionAttributeValues", {})
        condition = params["KeyConditionExpression"]
        whole = {
            name: value for name, value in params.items() if name not in {"FilterExpression", "ProjectionExpression"}
        }
        whole["ExpressionAttributeNames"] = {name: full for name, full in names.items() if name in condition}
        whole["ExpressionAttributeValues"] = {name: value for name, value in values.items() if name in condition}
        total = sum(map(size, self.plain.query(**whole)["Items"]))
        return _steps(total, READ_STEP) * (1 if params.get("ConsistentRead") else 0.5)

    @staticmethod
    def _gets(name: str, params: dict[str, Any], parsed: dict[str, Any]) -> float:
        if name == "GetItem":
            return _steps(size(parsed.get("Item", {})), READ_STEP) * (1 if params.get("ConsistentRead") else 0.5)
        ((table, asked),) = params["RequestItems"].items()
        found = parsed["Responses"][table]
        steps = sum(_steps(size(item), READ_STEP) for item in found) + len(asked["Keys"]) - len(found)
        return steps * (1 if asked.get("ConsistentRead") else 0.5)

    def _indexes(self, table: str, before: Item, after: Item) -> int:
        if table not in self.tables:
            self.tables[table] = self.plain.describe_table(TableName=table)["Table"]
        described = self.tables[table]
        own = [each["AttributeName"] for each in described["KeySchema"]]
        units = 0
        for index in described.get("GlobalSecondaryIndexes", []):
            keys = [each["AttributeName"] for each in index["KeySchema"]]
            shown = {*own, *keys, *index["Projection"].get("NonKeyAttributes", [])}
            was, now = _entry(before, keys, shown), _entry(after, keys, shown)
            if was == now:
                continue
            moved = bool(was and now) and any(was[name] != now[name] for name in keys)
            units += (2 if moved else 1) * _steps(max(size(was), size(now)), WRITE_STEP)
        return units


def _entry(item: Item, keys: list[str], shown: set[str]) -> Item:
    return {name: item[name] for name in shown & item.keys()} if all(key in item for key in keys) else {}


def _targets(name: str, params: dict[str, Any]) -> list[tuple[str, Item]]:
    """The items that a call writes or checks: table and key of each."""
    if name in {"UpdateItem", "DeleteItem"}:
        return [(params["TableName"], params["Key"])]
    if name == "PutItem":
        return [(params["TableName"], _key(params["TableName"], params["Item"]))]
    if name == "BatchWriteItem":
        ((table, requests),) = params["RequestItems"].items()
        return [(table, request["DeleteRequest"]["Key"]) for request in requests]
    if name == "TransactWriteItems":
        parts = [next(iter(part.values())) for part in params["TransactItems"]]
        return [(part["TableName"], part.get("Key") or _key(part["TableName"], part["Item"])) for part in parts]
    return []


def _key(table: str, item: Item) -> Item:
    from chalicelib.store.tables import schema

    _, stage, noun = table.split("-")
    (described,) = [each for each in schema(stage) if each["TableName"] == f"tidepool-{stage}-{noun}"]
    return {each["AttributeName"]: item[each["AttributeName"]] for each in described["KeySchema"]}


@contextmanager
def metered(client: Any, plain: Any) -> Iterator[Meter]:
    """Meter the calls of a client."""
    meter = Meter(plain)
    client.meta.events.register("before-parameter-build.dynamodb.*", meter.before)
    client.meta.events.register("after-call.dynamodb.*", meter.after)
    try:
        yield meter
    finally:
        client.meta.events.unregister("before-parameter-build.dynamodb.*", meter.before)
        client.meta.events.unregister("after-call.dynamodb.*", meter.after)

"""Tables in memory that answer at once, under the project's real store: what is left to measure is the project.

`FakeTables` takes the place of the network below PynamoDB, so rows are encoded and decoded as ever. It does not read
expressions: every condition holds, a query answers the items of its partition, and an update answers with the
item that `update` makes of the old one. That is enough for work without contention, and says nothing about correctness.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from chalicelib.store import tables
from chalicelib.store.models import InstanceRow

Item = dict[str, dict[str, Any]]


class FakeTables:
    """Items by table and partition. `calls` counts operations; `on_call` is told of each, before it is answered."""

    def __init__(self, stage: str, on_call: Callable[[], None] = lambda: None) -> None:
        tables.configure(stage)
        self.items: defaultdict[str, defaultdict[str, dict[str, Item]]] = defaultdict(lambda: defaultdict(dict))
        self.calls: Counter[str] = Counter()
        self.update: Callable[[Item], Item] = lambda item: item
        self.on_delete: Callable[[Item], None] = lambda _: None
        self._on_call = on_call
        self._keys = {
            each["TableName"]: [key["AttributeName"] for key in each["KeySchema"]] for each in tables.schema(stage)
        }
        self._stage = stage
        shared = tables.connection(InstanceRow).connection
        shared.dispatch = self.dispatch  # type: ignore[method-assign,assignment]

    def seed(self, noun: str, item: Item) -> None:
        """Put an item, at no cost."""
        self._put(tables.table_name(self._stage, noun), item)

    def dispatch(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Answer one call of PynamoDB's."""
        self.calls[operation] += 1
        self._on_call()
        answer: dict[str, Any] = getattr(self, f"_{operation}")(arguments)
        return answer

    def _GetItem(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - DynamoDB's names
        item = self._find(arguments["TableName"], arguments["Key"])
        return {"Item": item} if item else {}

    def _PutItem(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._put(arguments["TableName"], arguments["Item"])
        return {}

    def _UpdateItem(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"Attributes": self.update(self._find(arguments["TableName"], arguments["Key"]) or arguments["Key"])}

    def _Query(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        """The items of the partition that any value of the expression names: those of an index are seeded so too."""
        table = self.items[arguments["TableName"]]
        values = [next(iter(value.values())) for value in arguments["ExpressionAttributeValues"].values()]
        found = next((list(table[value].values()) for value in values if value in table), [])
        return {"Items": found[: arguments.get("Limit", len(found))]}

    def _BatchWriteItem(self, arguments: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        for table, requests in arguments["RequestItems"].items():
            for request in requests:
                key = request["DeleteRequest"]["Key"]
                hash_key, rest = self._place(table, key)
                gone = self.items[table][hash_key].pop(rest, None)
                if gone:
                    self.on_delete(gone)
        return {}

    def _TransactWriteItems(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {}

    def _put(self, table: str, item: Item) -> None:
        hash_key, rest = self._place(table, item)
        self.items[table][hash_key][rest] = item

    def _find(self, table: str, key: Item) -> Item | None:
        hash_key, rest = self._place(table, key)
        return self.items[table][hash_key].get(rest)

    def _place(self, table: str, item: Item) -> tuple[str, str]:
        texts = [str(item[name]["S"]) for name in self._keys[table]]
        return texts[0], "".join(texts[1:])

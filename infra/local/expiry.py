"""Time to live, in the emulator's place: its own reaper leaves no stream record, on which everything here hangs.

DynamoDB promises no moment: an item whose time has passed is deleted "within a few days", and until then is read like
any other. `lag` makes the local deletes as late as a test wants them.
"""

import json
import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from threading import Event
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.deploy import Emulator

STREAMED_EVERY_S: Final = 1.0
OTHERS_EVERY_S: Final = 15.0
SHARE: Final = 10
"""A table is looked at again after at least ten times as long as the last look took: a tenth of a core at most."""

OLDEST_S: Final = 5 * 365 * 24 * 3600
"""DynamoDB leaves items alone whose time is more than five years ago."""

SERVICE: Final = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
"""`userIdentity` of the stream record of a delete by time to live."""

log = logging.getLogger(__name__)


class Expiry:
    """Deletes what has expired, and knows which deletes were its own.

    `tables` gives the time-to-live attribute of each table; `streamed` are those where a delete is to be prompt.
    """

    def __init__(self, emulator: Emulator, tables: dict[str, str], *, streamed: set[str], lag: timedelta) -> None:
        self._emulator = emulator
        self._tables = tables
        self._streamed = streamed
        self._lag_s = lag.total_seconds()
        self._keys: dict[str, list[str]] = {}
        self._deleted: set[tuple[str, str]] = set()

    def run(self, stop: Event) -> None:
        """Look at each table in its own rhythm until `stop` is set."""
        due = dict.fromkeys(self._tables, 0.0)
        while not stop.wait(STREAMED_EVERY_S / 2):
            for table in self._tables:
                began = time.monotonic()
                if began < due[table]:
                    continue
                try:
                    self.delete_expired(table)
                except (BotoCoreError, ClientError) as error:
                    log.warning("%s: %s", table, error)
                every = STREAMED_EVERY_S if table in self._streamed else OTHERS_EVERY_S
                ended = time.monotonic()
                due[table] = ended + max(every, SHARE * (ended - began))

    def delete_expired(self, table: str) -> int:
        """Delete the expired items of one table; return how many. An item whose time was changed meanwhile stays."""
        attribute, client = self._tables[table], self._emulator.client("dynamodb")
        count = 0
        for item in self._expired(table):
            key = {name: item[name] for name in self._key_names(table)}
            mark = _mark(table, key)
            if table in self._streamed:
                # Noted before the delete, whose stream record may be read before the answer is here.
                self._deleted.add(mark)
            try:
                client.delete_item(
                    TableName=table,
                    Key=key,
                    ConditionExpression="#ttl = :seen",
                    ExpressionAttributeNames={"#ttl": attribute},
                    ExpressionAttributeValues={":seen": item[attribute]},
                )
            except ClientError as error:
                self._deleted.discard(mark)
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
            else:
                count += 1
        return count

    def stamp(self, record: dict[str, Any]) -> None:
        """Mark the stream record of a delete that was ours, as DynamoDB does."""
        if record["eventName"] != "REMOVE":
            return
        table = record["eventSourceARN"].partition(":table/")[2].partition("/")[0]
        mark = _mark(table, record["dynamodb"]["Keys"])
        if mark in self._deleted:
            self._deleted.discard(mark)
            record["userIdentity"] = SERVICE

    def _expired(self, table: str) -> Iterator[dict[str, Any]]:
        names = {f"#k{place}": name for place, name in enumerate(self._key_names(table))}
        latest = time.time() - self._lag_s
        query: dict[str, Any] = {
            "TableName": table,
            "FilterExpression": "#ttl BETWEEN :oldest AND :latest",
            "ProjectionExpression": ", ".join(("#ttl", *names)),
            "ExpressionAttributeNames": {"#ttl": self._tables[table], **names},
            "ExpressionAttributeValues": {":oldest": _seconds(latest - OLDEST_S), ":latest": _seconds(latest)},
        }
        while True:
            page = self._emulator.client("dynamodb").scan(**query)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _key_names(self, table: str) -> list[str]:
        if table not in self._keys:
            described = self._emulator.client("dynamodb").describe_table(TableName=table)["Table"]
            self._keys[table] = [each["AttributeName"] for each in described["KeySchema"]]
        return self._keys[table]


def _mark(table: str, key: dict[str, Any]) -> tuple[str, str]:
    return table, json.dumps(key, sort_keys=True, default=repr)


def _seconds(moment: float) -> dict[str, str]:
    return {"N": str(int(moment))}

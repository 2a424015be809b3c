"""The calls to DynamoDB: raw items in and out, and one place where its errors become outcomes of ours.

botocore repeats a request whose answer was lost. A conditional write then meets its own result, so writers put a token
of their own (`fresh_write`) on the row and recognise it in the item that a failed condition returns. Transactions need
none: botocore gives each a ClientRequestToken, and DynamoDB answers a repeated one as it did the first time. Conflicts
between transactions are retried too (`connection.py`).
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, cast

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.constants import BATCH_WRITE_ITEM, GET_ITEM, PUT_ITEM, QUERY, UPDATE_ITEM
from pynamodb.exceptions import PynamoDBConnectionError, VerboseClientError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.models import Model

from chalicelib.domain.errors import BodyTooLargeError, ThrottledError, TidepoolError, UnavailableError
from chalicelib.store import expressions, tables
from chalicelib.store.connection import CONFLICTS, RETRIES
from chalicelib.store.expressions import Guard
from chalicelib.store.models import InstanceRow

Image = dict[str, dict[str, Any]]
"""An item as DynamoDB writes it: `{"name": {"S": "..."}}`."""

MAX_BATCH: Final = 25
"""Requests in one BatchWriteItem (DynamoDB's limit)."""

THROTTLED: Final = frozenset(
    {"ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "Throttling"}
)


class ConditionFailedError(Exception):
    """A condition did not hold. `item` is the row as it was (None: there was none); `failed` the parts by index."""

    def __init__(self, item: Image | None, failed: tuple[int, ...] = (0,)) -> None:
        super().__init__("condition failed")
        self.item = item
        self.failed = failed


def fresh_write() -> str:
    """A token for one conditional write. 64 bits: only the few writers of one row must differ."""
    return secrets.token_urlsafe(8)


def get(model: type[Model], hash_key: str, range_key: str | None = None, *, consistent: bool) -> Image | None:
    """Read one item, or None."""
    arguments = {
        "TableName": model.Meta.table_name,
        "Key": expressions.key(model, hash_key, range_key),
        "ConsistentRead": consistent,
    }
    with _outcomes():
        return cast(Image | None, tables.connection(model).connection.dispatch(GET_ITEM, arguments).get("Item"))


def query(model: type[Model], hash_key: str, **options: Any) -> dict[str, Any]:
    """Read one page: DynamoDB's answer as it is. `options` are those of `TableConnection.query`."""
    with _outcomes():
        return cast(dict[str, Any], tables.connection(model).query(hash_key, **options))


def front(model: type[Model], index: str, hash_name: str, hash_key: str, limit: int) -> list[Image]:
    """Read the first entries of one partition of an index."""
    arguments = {
        "TableName": model.Meta.table_name,
        "IndexName": index,
        "KeyConditionExpression": "#key = :key",
        "ExpressionAttributeNames": {"#key": hash_name},
        "ExpressionAttributeValues": {":key": {"S": hash_key}},
        "Limit": limit,
    }
    with _outcomes():
        return cast(list[Image], tables.connection(model).connection.dispatch(QUERY, arguments)["Items"])


def query_all(model: type[Model], hash_key: str, **options: Any) -> Iterator[Image]:
    """Read every item of a key range, page by page."""
    start = None
    while True:
        answer = query(model, hash_key, exclusive_start_key=start, **options)
        yield from answer["Items"]
        start = answer.get("LastEvaluatedKey")
        if not start:
            return


def scan_all(model: type[Model]) -> Iterator[Image]:
    """Read a whole table consistently, page by page: for maintenance of small tables alone."""
    start = None
    while True:
        with _outcomes():
            answer = tables.connection(model).scan(exclusive_start_key=start, consistent_read=True)
        yield from answer["Items"]
        start = answer.get("LastEvaluatedKey")
        if not start:
            return


def get_many(model: type[Model], keys: Sequence[Image], *, consistent: bool) -> list[Image]:
    """Read up to 100 items by their whole keys, in any order; those that are gone are left out."""
    found: list[Image] = []
    pending = list(keys)
    for _ in range(1 + RETRIES):
        if not pending:
            return found
        with _outcomes():
            answer = tables.connection(model).batch_get_item(cast(Any, pending), consistent_read=consistent)
        found.extend(answer["Responses"].get(model.Meta.table_name, []))
        pending = answer.get("UnprocessedKeys", {}).get(model.Meta.table_name, {}).get("Keys", [])
    raise ThrottledError("the table did not answer for every item in time")


def put(row: Model, condition: Condition | None = None) -> None:
    """Write one item. Raises `ConditionFailedError` with the item that is there instead."""
    arguments = row.get_save_kwargs_from_instance(
        condition=condition, return_values_on_condition_failure=_old(condition)
    )
    with _outcomes():
        tables.connection(type(row)).connection.dispatch(PUT_ITEM, arguments)


def write(model: type[Model], attributes: Mapping[str, Any]) -> None:
    """Write one item from plain values, its key among them, whatever is there."""
    arguments = {"TableName": model.Meta.table_name, "Item": expressions.item(model, attributes)}
    with _outcomes():
        tables.connection(model).connection.dispatch(PUT_ITEM, arguments)


def change(
    model: type[Model],
    hash_key: str,
    range_key: str | None,
    attributes: Mapping[str, Any],
    guard: Guard,
    *,
    count: str = "",
) -> Image:
    """Set attributes of one item (None removes), raise `count` by one, and return all of it as it is afterwards.

    What `update` does, at a fraction of its processor time. Raises `ConditionFailedError` with what is there.
    """
    arguments = expressions.update(model, hash_key, range_key, attributes, guard, count=count)
    arguments["ReturnValues"] = "ALL_NEW"
    with _outcomes():
        return cast(Image, tables.connection(model).connection.dispatch(UPDATE_ITEM, arguments)["Attributes"])


def update(
    model: type[Model],
    hash_key: str,
    range_key: str | None,
    actions: Sequence[Action],
    condition: Condition | None = None,
) -> Image:
    """Change one item and return all of it as it is afterwards. Raises `ConditionFailedError` with what is there."""
    table = tables.connection(model)
    arguments = table.get_operation_kwargs(
        hash_key,
        range_key,
        actions=actions,
        condition=condition,
        return_values="ALL_NEW",
        return_values_on_condition_failure=_old(condition),
    )
    with _outcomes():
        return cast(Image, table.connection.dispatch(UPDATE_ITEM, arguments)["Attributes"])


def delete(model: type[Model], hash_key: str, range_key: str | None = None, condition: Condition | None = None) -> None:
    """Delete one item; one that is not there is fine unless the condition says otherwise."""
    with _outcomes():
        tables.connection(model).delete_item(hash_key, range_key, condition=condition)


def delete_many(model: type[Model], keys: Sequence[Image]) -> int:
    """Delete items by their whole keys, 25 in a request; return how many are certainly gone.

    What DynamoDB leaves unprocessed (a throttled partition) is asked again up to `RETRIES` times; the rest stays
    for the next caller.
    """
    gone = 0
    for start in range(0, len(keys), MAX_BATCH):
        batch = list(keys[start : start + MAX_BATCH])
        pending: list[Any] = [{"DeleteRequest": {"Key": key}} for key in batch]
        for _ in range(1 + RETRIES):
            with _outcomes():
                answer = tables.connection(model).connection.dispatch(
                    BATCH_WRITE_ITEM, {"RequestItems": {model.Meta.table_name: pending}}
                )
            pending = answer.get("UnprocessedItems", {}).get(model.Meta.table_name, [])
            if not pending:
                break
        gone += len(batch) - len(pending)
    return gone


@dataclass(slots=True)
class Transaction:
    """Writes that happen together or not at all, at most 100. `failed` of the error counts in the order added."""

    parts: list[dict[str, Any]] = field(default_factory=list)

    def put(self, row: Model, condition: Condition | None = None) -> None:
        """Add a put."""
        self.parts.append({"Put": row.get_save_kwargs_from_instance(condition=condition)})

    def update(
        self,
        model: type[Model],
        hash_key: str,
        range_key: str | None,
        actions: Sequence[Action],
        condition: Condition | None = None,
    ) -> None:
        """Add a change of one item."""
        arguments = tables.connection(model).get_operation_kwargs(
            hash_key,
            range_key,
            actions=actions,
            condition=condition,
            return_values_on_condition_failure=_old(condition),
        )
        self.parts.append({"Update": arguments})

    def change(
        self, model: type[Model], hash_key: str, range_key: str | None, attributes: Mapping[str, Any], guard: Guard
    ) -> None:
        """Add a change of one item from plain values; those that are None are removed."""
        self.parts.append({"Update": expressions.update(model, hash_key, range_key, attributes, guard)})

    def drop(self, model: type[Model], hash_key: str, range_key: str | None, guard: Guard) -> None:
        """Add a delete of an item that still is what was seen."""
        self.parts.append({"Delete": expressions.guarded(model, hash_key, range_key, guard)})

    def delete(self, model: type[Model], hash_key: str, range_key: str | None, condition: Condition) -> None:
        """Add a delete."""
        self.parts.append(
            {"Delete": tables.connection(model).get_operation_kwargs(hash_key, range_key, condition=condition)}
        )

    def check(self, model: type[Model], hash_key: str, range_key: str | None, condition: Condition) -> None:
        """Add a condition on an item that is not written."""
        self.parts.append(
            {"ConditionCheck": tables.connection(model).get_operation_kwargs(hash_key, range_key, condition=condition)}
        )

    def commit(self) -> None:
        """Write. Raises `ConditionFailedError` with the indexes of the parts whose condition failed."""
        shared = tables.connection(InstanceRow).connection
        with _outcomes():
            shared.dispatch("TransactWriteItems", {"TransactItems": self.parts})


def _old(condition: Condition | None) -> str | None:
    return None if condition is None else "ALL_OLD"


@contextmanager
def _outcomes() -> Iterator[None]:
    try:
        yield
    except PynamoDBConnectionError as error:
        _raise(error.cause or error)
    except (ClientError, BotoCoreError) as error:
        _raise(error)


def _raise(error: Exception) -> NoReturn:
    """Turn one of botocore's errors into what the caller can act on. An unforeseen one (a bug) stays itself."""
    if isinstance(error, BotoCoreError):
        raise UnavailableError(f"the tables did not answer: {type(error).__name__}") from error
    if not isinstance(error, ClientError):
        raise error
    code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    if code == "ConditionalCheckFailedException":
        raise ConditionFailedError(_old_item(error)) from error
    if code == "TransactionCanceledException":
        raise _cancelled(error) from error
    raise _failure(code, message) or error from error


def _failure(code: str, message: str) -> TidepoolError | None:
    if code in THROTTLED:
        return ThrottledError("the tables are busy")
    if code in CONFLICTS:
        return ThrottledError("the row is being written by others")
    if code in {"InternalServerError", "ServiceUnavailable", "RequestTimeout", "InternalFailure"}:
        return UnavailableError(f"the tables did not answer: {code}")
    if code == "ValidationException" and "size" in message.lower() and "exceed" in message.lower():
        return BodyTooLargeError("what is to be stored exceeds 400 KB")
    return None


def _old_item(error: ClientError) -> Image | None:
    """The item that a failed condition met. PynamoDB keeps botocore's whole answer only on the original error."""
    original = error.__cause__ if isinstance(error, VerboseClientError) else error
    return cast(Image | None, getattr(original, "response", {}).get("Item"))


def _cancelled(error: ClientError) -> Exception:
    original = error.__cause__ if isinstance(error, VerboseClientError) else error
    reasons = getattr(original, "response", {}).get("CancellationReasons", [])
    codes = [reason.get("Code") for reason in reasons]
    failed = tuple(index for index, code in enumerate(codes) if code == "ConditionalCheckFailed")
    if failed:
        return ConditionFailedError(reasons[failed[0]].get("Item"), failed)
    for code in codes:
        if known := _failure(f"{code}Exception" if code == "ProvisionedThroughputExceeded" else str(code), ""):
            return known
    if any("size" in str(reason.get("Message", "")).lower() for reason in reasons):
        return BodyTooLargeError("what is to be stored exceeds 400 KB")
    return error

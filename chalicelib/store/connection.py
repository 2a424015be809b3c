"""One connection for all tables, with its limits, its retries and its reading of answers.

Region, endpoint and credentials come from the ordinary AWS environment at the first call.
"""

import json
import random
from typing import Any, Final, cast

from botocore.parsers import JSONParser, ResponseParserFactory
from botocore.session import Session
from pynamodb.connection import Connection

CONNECT_TIMEOUT_S: Final = 2
READ_TIMEOUT_S: Final = 5
RETRIES: Final = 3
"""After the first try, with botocore's exponential back-off and jitter ("standard" mode)."""

POOL_CONNECTIONS: Final = 32
"""Enough for every thread of a task that fans out; unused ones are never opened."""

CONFLICTS: Final = frozenset({"TransactionConflict", "TransactionConflictException", "TransactionInProgressException"})
CONFLICT_TRIES: Final = 6
CONFLICT_BASE_S: Final = 0.02
"""Doubles with each try; the wait is uniform below it, so at most 1.3 s for the last one."""


class SharedConnection(Connection):
    """A PynamoDB connection for every model, so that a process builds one client (about 100 ms) and not eight."""

    def __init__(self) -> None:
        super().__init__(
            connect_timeout_seconds=CONNECT_TIMEOUT_S,
            read_timeout_seconds=READ_TIMEOUT_S,
            max_retry_attempts=RETRIES,
            max_pool_connections=POOL_CONNECTIONS,
        )

    @property
    def session(self) -> Session:
        """The session that clients are made from; they inherit its event handlers."""
        session = super().session
        session.register_component("response_parser_factory", PlainParsers())
        session.register("needs-retry.dynamodb.*", cast(Any, retry_conflict), unique_id="tidepool-conflicts")
        return session


class PlainParser(JSONParser):
    """Takes an answer as the JSON that it is.

    botocore walks through every attribute of every item to turn binaries and dates into Python's: 60 ms for a page of
    1,000 instances, on top of 7 for reading the JSON. Items of ours have neither. Errors are read as ever.
    """

    def _do_parse(self, response: Any, shape: Any) -> Any:  # noqa: ARG002 - the shape is what is not walked through
        parsed = json.loads(response["body"])
        if "x-amzn-requestid" in response["headers"]:
            parsed["ResponseMetadata"] = {"RequestId": response["headers"]["x-amzn-requestid"]}
        return parsed


class PlainParsers(ResponseParserFactory):
    """Makes a `PlainParser` for each answer."""

    def create_parser(self, protocol_name: str) -> JSONParser:
        """DynamoDB has one protocol, JSON."""
        if protocol_name != "json":
            raise ValueError(f"DynamoDB speaks JSON, not {protocol_name!r}")
        return PlainParser()


def retry_conflict(response: Any = None, attempts: int = 0, **_: Any) -> float | None:
    """Answer botocore's `needs-retry` event: seconds to wait before the same request is sent again, or None.

    botocore retries throttling by itself, but takes a transaction that met another one for final. One in which a
    condition failed is final indeed.
    """
    if response is None or attempts > CONFLICT_TRIES:
        return None
    answer = response[1]
    codes = {reason.get("Code") for reason in answer.get("CancellationReasons", [])}
    codes.add(answer.get("Error", {}).get("Code"))
    if "ConditionalCheckFailed" in codes or not codes & CONFLICTS:
        return None
    return random.uniform(0, CONFLICT_BASE_S * 2**attempts)

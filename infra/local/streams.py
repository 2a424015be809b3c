"""One stream, one function: what a Lambda event source mapping does, through public APIs only.

The emulator's own mappings ignore partial batch responses, bisection and the retry cap, and lose a poison record. Here,
as on AWS: records reach the function in order, a failed batch is cut at the first record reported as failed or else
halved, a record that fails alone is tried `retries` times more and then described to the failure queue, and nothing
behind a failing record is delivered before it is dealt with.
"""

import base64
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any, Final
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.deploy import Emulator
from infra.local.filters import matches

Record = dict[str, Any]

IDLE_S: Final = 0.5
BUSY_S: Final = 0.05
"""How long to wait before the stream is asked again, while it is quiet and for a while after it was not."""

BUSY_FOR_S: Final = 2.0
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 2.0
FOREVER: Final = -1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Mapping:
    """The settings of one event source mapping."""

    function: str
    stream: str
    batch: int
    patterns: tuple[dict[str, Any], ...]
    retries: int
    bisects: bool
    reports_failures: bool
    failure_queue: str


def mappings(emulator: Emulator) -> list[Mapping]:
    """Read the mappings of DynamoDB streams back from the emulator, which stores them as they were deployed."""
    found = emulator.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    return [_mapping(each) for each in found if ":dynamodb:" in each["EventSourceArn"]]


def _mapping(described: dict[str, Any]) -> Mapping:
    filters = described.get("FilterCriteria", {}).get("Filters", [])
    return Mapping(
        function=described["FunctionArn"],
        stream=described["EventSourceArn"],
        batch=described["BatchSize"],
        patterns=tuple(json.loads(each["Pattern"]) for each in filters),
        retries=described.get("MaximumRetryAttempts", FOREVER),
        bisects=described.get("BisectBatchOnFunctionError", False),
        reports_failures="ReportBatchItemFailures" in described.get("FunctionResponseTypes", []),
        failure_queue=described.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", ""),
    )


class Consumer:
    """Delivers one stream to one function. `stamp` may add to a record what the emulator leaves out.

    `passed` is the number of the last record that is dealt with; an earlier consumer's is given as `after`.
    """

    def __init__(
        self, emulator: Emulator, mapping: Mapping, *, stamp: Callable[[Record], None], after: int = 0
    ) -> None:
        self._emulator = emulator
        self._mapping = mapping
        self._stamp = stamp
        self._iterators: dict[str, str] = {}
        self.passed = after

    def run(self, stop: Event) -> None:
        """Deliver until `stop` is set and the stream is empty. An emulator that does not answer is asked again."""
        last_active = 0.0
        while True:
            stopping = stop.is_set()
            try:
                delivered = self.deliver_once(stop)
            except (BotoCoreError, ClientError) as error:
                log.warning("%s: %s", self._mapping.stream, error)
                self._iterators.clear()
                delivered = False
            if delivered:
                last_active = time.monotonic()
            elif stopping:
                return
            stop.wait(BUSY_S if time.monotonic() - last_active < BUSY_FOR_S else IDLE_S)

    def deliver_once(self, stop: Event) -> bool:
        """Read what is there of each shard and deliver it. False: there was nothing."""
        streams = self._emulator.client("dynamodbstreams")
        found = False
        for shard in self._shards():
            answer = streams.get_records(ShardIterator=self._iterator(shard), Limit=1000)
            new = [each for each in answer["Records"] if _number(each) > self.passed]
            self._deliver_all(shard, [self._completed(each) for each in new], stop)
            self._iterators[shard] = answer.get("NextShardIterator", "")
            found = found or bool(new)
        return found

    def _shards(self) -> list[str]:
        if not self._iterators:
            description = self._emulator.client("dynamodbstreams").describe_stream(StreamArn=self._mapping.stream)
            self._iterators = {each["ShardId"]: "" for each in description["StreamDescription"]["Shards"]}
        return list(self._iterators)

    def _iterator(self, shard: str) -> str:
        if not self._iterators[shard]:
            answer = self._emulator.client("dynamodbstreams").get_shard_iterator(
                StreamArn=self._mapping.stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
            )
            self._iterators[shard] = answer["ShardIterator"]
        return self._iterators[shard]

    def _completed(self, record: Record) -> Record:
        record["eventSourceARN"] = self._mapping.stream
        self._stamp(record)
        return record

    def _deliver_all(self, shard: str, records: Sequence[Record], stop: Event) -> None:
        patterns = self._mapping.patterns
        wanted = [each for each in records if not patterns or any(matches(pattern, each) for pattern in patterns)]
        for start in range(0, len(wanted), self._mapping.batch):
            self._deliver(shard, wanted[start : start + self._mapping.batch], stop)
        if records:
            self.passed = _number(records[-1])

    def _deliver(self, shard: str, batch: Sequence[Record], stop: Event) -> None:
        """Deliver a batch until each of its records was taken or given up."""
        tries = 0
        while batch:
            first_failed = self._invoke(batch)
            tries = 1 if first_failed else tries + 1
            batch = batch[first_failed:]
            if not batch:
                return
            if self._mapping.bisects and len(batch) > 1:
                middle = len(batch) // 2
                self._deliver(shard, batch[:middle], stop)
                self._deliver(shard, batch[middle:], stop)
                return
            if self._mapping.retries != FOREVER and tries > self._mapping.retries:
                self._give_up(shard, batch, tries)
                return
            # A stop cuts this short, so that the record gets to the failure queue: no stream outlives the emulator.
            stop.wait(min(RETRY_MOST_S, RETRY_FIRST_S * 2 ** (tries - 1)))

    def _invoke(self, batch: Sequence[Record]) -> int:
        """Call the function; return how many records from the start of the batch are done."""
        payload = json.dumps({"Records": batch}, default=_plain).encode()
        try:
            answer = self._emulator.client("lambda").invoke(FunctionName=self._mapping.function, Payload=payload)
            text = answer["Payload"].read()
        except (BotoCoreError, ClientError) as error:
            log.warning("%s: %s", self._mapping.function, error)
            return 0
        if answer.get("FunctionError"):
            log.warning("%s failed: %s", self._mapping.function, text.decode(errors="replace"))
            return 0
        return _done(batch, json.loads(text or b"null")) if self._mapping.reports_failures else len(batch)

    def _give_up(self, shard: str, batch: Sequence[Record], tries: int) -> None:
        """Describe the records to the failure queue as Lambda does: where they are, not what is in them."""
        log.error("%s: gave up %s after %d tries", self._mapping.function, _number(batch[0]), tries)
        if not self._mapping.failure_queue:
            return
        arrivals = [each["dynamodb"]["ApproximateCreationDateTime"].isoformat() for each in (batch[0], batch[-1])]
        message = {
            "requestContext": {
                "requestId": str(uuid4()),
                "functionArn": self._mapping.function,
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": tries,
            },
            "version": "1.0",
            "timestamp": datetime.now(UTC).isoformat(),
            "DDBStreamBatchInfo": {
                "shardId": shard,
                "startSequenceNumber": batch[0]["dynamodb"]["SequenceNumber"],
                "endSequenceNumber": batch[-1]["dynamodb"]["SequenceNumber"],
                "approximateArrivalOfFirstRecord": arrivals[0],
                "approximateArrivalOfLastRecord": arrivals[1],
                "batchSize": len(batch),
                "streamArn": self._mapping.stream,
            },
        }
        sqs = self._emulator.client("sqs")
        queue = sqs.get_queue_url(QueueName=self._mapping.failure_queue.rpartition(":")[2])["QueueUrl"]
        sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(message))


def _done(batch: Sequence[Record], answer: Any) -> int:
    """Read a partial batch response: the lowest failed sequence number is the checkpoint.

    An empty or missing list is a success. A list with an id that is not of this batch fails it whole, as on AWS.
    """
    failures = (answer or {}).get("batchItemFailures") or []
    numbers = [each["dynamodb"]["SequenceNumber"] for each in batch]
    failed = {each.get("itemIdentifier") for each in failures}
    if not failed <= set(numbers):
        return 0
    return min((numbers.index(each) for each in failed), default=len(batch))


def _number(record: Record) -> int:
    return int(record["dynamodb"]["SequenceNumber"])


def _plain(value: object) -> object:
    """What the stream's JSON has in place of the SDK's types."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"a stream record holds no {type(value).__name__}")

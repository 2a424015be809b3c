"""The two streams of the control plane, delivered as late, as often and as much out of order as DynamoDB may."""

from random import Random
from typing import Any

import boto3
import pytest

from chalicelib.domain.timers import Timer, due_partitions
from chalicelib.services import expiry
from chalicelib.store import calls, projection, timers
from chalicelib.store.models import TimerRow
from tests.services.world import World


class TimerStream:
    """Deletions of timers that were not delivered yet."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.records: list[Timer] = []
        delete = timers.delete

        def recording(batch: Any) -> Any:
            try:
                return delete(batch)
            finally:  # a process that dies after the deletion does not take the stream's record with it
                self.records += [timer for timer in batch if not self._filed(timer)]

        monkeypatch.setattr(timers, "delete", recording)

    def _filed(self, timer: Timer) -> bool:
        return calls.get(TimerRow, timer.partition, timer.sort, consistent=True) is not None

    def sweep(self) -> None:
        expiry.sweep(self.world.deps, until=self.world.clock.replace(year=2100))

    def expire_one(self, rng: Random) -> None:
        """TTL deletes one item that is due, whichever it likes."""
        partitions = list(due_partitions(watermark=timers.watermark() or self.world.clock, now=self.world.clock))
        due = [t for p in partitions for t in timers.due(p, now=self.world.clock, limit=10)]
        if due:
            timers.delete([rng.choice(due)])

    def deliver(self, rng: Random) -> None:
        """Deliver one record from anywhere; now and then it stays and comes again."""
        if self.records:
            at = rng.randrange(len(self.records))
            timer = self.records[at]
            expiry.fire(self.world.deps, timer)
            if rng.random() > 0.2:
                self.records.remove(timer)


class InstanceStream:
    """The instances table's stream, in order, each record at least once."""

    def __init__(self, stage: str) -> None:
        self.client: Any = boto3.client("dynamodbstreams")
        table = boto3.client("dynamodb").describe_table(TableName=f"tidepool-{stage}-instances")
        self.arn = table["Table"]["LatestStreamArn"]
        shard = self.client.describe_stream(StreamArn=self.arn)["StreamDescription"]["Shards"][0]["ShardId"]
        self.iterator = self.client.get_shard_iterator(
            StreamArn=self.arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        self.pending: list[dict[str, Any]] = []

    def deliver(self, rng: Random) -> None:
        """Project what is new, and sometimes a part of it twice."""
        answer = self.client.get_records(ShardIterator=self.iterator)
        self.iterator = answer["NextShardIterator"]
        self.pending += [record["dynamodb"] for record in answer["Records"]]
        while self.pending:
            change = self.pending[0]
            projection.apply(change.get("OldImage"), change.get("NewImage"))
            if rng.random() > 0.1:
                self.pending.pop(0)

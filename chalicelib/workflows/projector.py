"""Writes history and pool counts from the stream of the instances table."""

from typing import Any, Final

from chalice.app import Blueprint, DynamoDBEvent

from chalicelib import log
from chalicelib.store import projection
from chalicelib.wiring import deps
from chalicelib.workflows.task import task

STREAM_ARN: Final = "arn:aws:dynamodb:us-east-1:000000000000:table/placeholder/stream/placeholder"

workers = Blueprint(__name__)


@workers.on_dynamodb_record(stream_arn=STREAM_ARN, name="projector")
@task
def projector(event: DynamoDBEvent, context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Project each record in order. The first that fails stops the batch: later ones of its row must not overtake."""
    deps()
    for record in event.to_dict()["Records"]:
        change = record["dynamodb"]
        try:
            projection.apply(change.get("OldImage"), change.get("NewImage"))
        except Exception as error:  # noqa: BLE001 - whatever it was, the stream tries this record again
            log.error("projection-failed", error)
            return {"batchItemFailures": [{"itemIdentifier": change["SequenceNumber"]}]}
    return {"batchItemFailures": []}

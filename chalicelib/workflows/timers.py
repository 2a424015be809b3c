"""The clock's two workers: the sweep deletes what is due, and the stream of the deletions fires it."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from typing import Any, Final

from chalice.app import Blueprint, CloudWatchEvent, DynamoDBEvent, Rate

from chalicelib import log
from chalicelib.services import expiry
from chalicelib.services.deps import Deps
from chalicelib.store import timers
from chalicelib.wiring import deps
from chalicelib.workflows.task import task

SWEEP_FOR: Final = timedelta(seconds=45)
"""How long one sweep may work: it must be over before the next one starts."""

AT_ONCE: Final = 8
"""Timers fired at the same time; each waits for a handful of table calls."""

STREAM_ARN: Final = "arn:aws:dynamodb:us-east-1:000000000000:table/placeholder/stream/placeholder"
"""Chalice wants a literal; the template of `infra/resources.py` puts the table's own stream in its place."""

workers = Blueprint(__name__)


@workers.schedule(Rate(1, unit=Rate.MINUTES), name="sweep")
@task
def sweep(event: CloudWatchEvent, context: Any) -> dict[str, int]:  # noqa: ARG001 - Lambda's signature
    """Delete every due timer."""
    known = deps()
    return {"deleted": expiry.sweep(known, until=known.now() + SWEEP_FOR)}


@workers.on_dynamodb_record(stream_arn=STREAM_ARN, name="on_timer")
@task
def on_timer(event: DynamoDBEvent, context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Fire the deleted timers, several at once: they are of different rows, and one that hangs holds up no other.

    One that fails is reported alone, so that its neighbours are not fired again.
    """
    known = deps()
    changes = [record["dynamodb"] for record in event.to_dict()["Records"]]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        fired = [pool.submit(copy_context().run, _fired, known, change["OldImage"]) for change in changes]
    failed = [change for change, future in zip(changes, fired, strict=True) if not future.result()]
    return {"batchItemFailures": [{"itemIdentifier": change["SequenceNumber"]} for change in failed]}


def _fired(known: Deps, image: dict[str, Any]) -> bool:
    """Fire one timer. False: it failed, and the stream tries it again."""
    try:
        expiry.fire(known, timers.parse(image))
    except Exception as error:  # noqa: BLE001 - whatever it was, the stream tries this record again
        log.error("timer-failed", error)
        return False
    return True

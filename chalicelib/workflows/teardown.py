"""The task of the teardown workflow (`infra/asl/teardown.json`)."""

from typing import Any, Final

from chalice.app import Blueprint

from chalicelib.services import teardown as service
from chalicelib.wiring import deps
from chalicelib.workflows.task import task

ROUNDS: Final = 12
"""Looks before one execution ends, after seven minutes; the `teardown` timer starts the next one at ten."""

workers = Blueprint(__name__)


@workers.lambda_function(name="teardown")
@task
def teardown(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Do what is still owed, and answer whether and when to look again."""
    here = {key: event[key] for key in ("project", "pool", "instance_id")}
    seconds = service.advance(deps(), **here, round_=event["round"])
    over = seconds is None or event["round"] + 1 >= ROUNDS
    return {**here, "round": event["round"] + 1, "seconds": round(seconds or 0), "next": "end" if over else "wait"}

"""The tasks of the adopt workflow (`infra/asl/adopt.json`). The function stands in the VPC: it alone speaks SSH."""

from dataclasses import asdict
from typing import Any

from chalice.app import Blueprint

from chalicelib.services import adoption, provisioning
from chalicelib.wiring import deps
from chalicelib.workflows.task import task

workers = Blueprint(__name__)


@workers.lambda_function(name="adopt")
@task
def adopt(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Run the task named in the event: `advance`, `await_agent` or `give_up`."""
    return TASKS[event["task"]](event)


def _advance(event: dict[str, Any]) -> dict[str, Any]:
    """Answer the input of the next step, so that the workflow carries nothing else along."""
    project, pool, key = _here(event).values()
    following = adoption.advance(deps(), project, pool, key, kind=event["kind"])
    return {**_here(event), "kind": event["kind"], **asdict(following)}


def _await_agent(event: dict[str, Any]) -> dict[str, Any]:
    provisioning.await_agent(deps(), **_here(event), callback=event["callback"])
    return {}


def _give_up(event: dict[str, Any]) -> dict[str, Any]:
    cause = event.get("cause") or {}
    detail = f"the adopt workflow failed: {cause.get('Error', 'unknown')}: {str(cause.get('Cause', ''))[:200]}"
    project, pool, key = _here(event).values()
    adoption.give_up(deps(), project, pool, key, kind=event["kind"], detail=detail)
    return {}


def _here(event: dict[str, Any]) -> dict[str, str]:
    return {key: event[key] for key in ("project", "pool", "instance_id")}


TASKS = {"advance": _advance, "await_agent": _await_agent, "give_up": _give_up}

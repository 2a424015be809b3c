"""The tasks of the provision workflow (`infra/asl/provision.json`): one function, so that one start warms them."""

from dataclasses import asdict
from typing import Any

from chalice.app import Blueprint

from chalicelib.services import provisioning
from chalicelib.wiring import deps
from chalicelib.workflows.task import task

workers = Blueprint(__name__)


@workers.lambda_function(name="provision")
@task
def provision(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Run the task named in the event: `advance`, `await_agent` or `give_up`."""
    return TASKS[event["task"]](event)


def _advance(event: dict[str, Any]) -> dict[str, Any]:
    """Answer the input of the next step, so that the workflow carries nothing else along."""
    here = _here(event)
    step = provisioning.advance(deps(), **here, round_=event["round"], since=event["since"], steps=event["steps"])
    return {**here, **asdict(step)}


def _await_agent(event: dict[str, Any]) -> dict[str, Any]:
    provisioning.await_agent(deps(), **_here(event), callback=event["callback"])
    return {}


def _give_up(event: dict[str, Any]) -> dict[str, Any]:
    cause = event.get("cause") or {}
    detail = f"the provision workflow failed: {cause.get('Error', 'unknown')}: {str(cause.get('Cause', ''))[:200]}"
    provisioning.give_up(deps(), **_here(event), detail=detail)
    return {}


def _here(event: dict[str, Any]) -> dict[str, str]:
    return {key: event[key] for key in ("project", "pool", "instance_id")}


TASKS = {"advance": _advance, "await_agent": _await_agent, "give_up": _give_up}

"""Compares our rows with the clouds every five minutes."""

from dataclasses import asdict
from typing import Any

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib.services import reconcile as service
from chalicelib.wiring import deps
from chalicelib.workflows.task import task

workers = Blueprint(__name__)


@workers.schedule(Rate(5, unit=Rate.MINUTES), name="reconcile")
@task
def reconcile(event: CloudWatchEvent, context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Compare every backend."""
    return {"reports": [asdict(report) for report in service.compare(deps())]}

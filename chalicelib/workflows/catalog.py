"""Asks the providers for their prices, a few times a day for each account."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from chalice.app import Blueprint, CloudWatchEvent, Rate

from chalicelib.services import catalog_refresh as service
from chalicelib.wiring import deps
from chalicelib.workflows.task import task

REFRESH_FOR: Final = timedelta(minutes=4)
"""How long one look may work: the function is ended after five minutes, and the next look comes then."""

workers = Blueprint(__name__)


@workers.schedule(Rate(5, unit=Rate.MINUTES), name="catalog")
@task
def catalog(event: CloudWatchEvent, context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Refresh the catalogs that are due."""
    known = deps()
    return {"reports": [asdict(report) for report in service.refresh_due(known, until=known.now() + REFRESH_FOR)]}

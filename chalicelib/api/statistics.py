"""What became of spot machines: how many were launched, and how many their providers took back."""

from datetime import timedelta

from chalice.app import Blueprint, Response

from chalicelib.api import answers
from chalicelib.api.http import VIEWER, Call, answer, endpoint
from chalicelib.api.parameters import whole
from chalicelib.services import interruptions
from chalicelib.wiring import deps

routes = Blueprint(__name__)

DAYS = whole("days", "How many days back, today included (UTC).", default=30, least=1, most=90)


@endpoint(
    routes,
    "GET",
    "/v1/projects/{project}/backends/{backend}/spot-statistics",
    VIEWER,
    answer=answers.SpotStatistics,
    query=(DAYS,),
)
def spot_statistics(call: Call[None], project: str, backend: str) -> Response:
    """Count launches and interruptions of a backend's spot machines, by day and kind. An unknown backend has none."""
    since = deps().now().date() - timedelta(days=call.query["days"] - 1)
    found: list[answers.SpotCount] = [
        {
            "day": each.day,
            "region": each.region,
            "zone": each.zone,
            "instance_type": each.instance_type,
            "launches": each.launches,
            "interruptions": each.interruptions,
        }
        for each in interruptions.statistics(project, backend, since=since)
    ]
    return answer({"backend": backend, "since": since.isoformat(), "days": found})

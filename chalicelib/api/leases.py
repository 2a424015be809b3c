"""Leases: exclusive, fenced, expiring holds on idle instances."""

from datetime import timedelta

from chalice.app import Blueprint, Response

from chalicelib.api import answers, views
from chalicelib.api.http import USER, VIEWER, Call, answer, endpoint
from chalicelib.api.schemas import HeartbeatRequest, LeaseRequest
from chalicelib.domain.errors import ConflictError, InvalidInputError, LeaseLostError, NoMatchError
from chalicelib.domain.policies import LEASE
from chalicelib.services import gangs, leases
from chalicelib.wiring import deps

routes = Blueprint(__name__)


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/pools/{pool}/leases",
    USER,
    body=LeaseRequest,
    status=201,
    answer=answers.Lease | answers.Gang,
    errors=[NoMatchError],
)
def acquire_lease(call: Call[LeaseRequest], project: str, pool: str) -> Response:
    """Hold the best idle instance that fits. A refusal says for each instance why it was not taken.

    With `nodes` of more than one: that many of one cluster, or none of them. Each has a lease of its own, prolonged and
    released like any other; a refusal says for each cluster what is missing.
    """
    wanted = call.body
    policies, _ = wanted.policies(LEASE)
    duration = _duration(wanted.duration_s)
    if wanted.nodes > 1:
        if wanted.instance:
            raise InvalidInputError("instance", wanted.instance, "none, where there are several nodes")
        rows = gangs.acquire(
            deps(), project, pool, policies, nodes=wanted.nodes, holder=wanted.holder, duration=duration
        )
        return answer(views.gang(rows), 201)
    row = leases.acquire(
        deps(), project, pool, policies, holder=wanted.holder, instance=wanted.instance, duration=duration
    )
    return answer(views.lease(row), 201)


@endpoint(
    routes, "GET", "/v1/projects/{project}/leases/{lease_id}", VIEWER, answer=answers.Lease, errors=[LeaseLostError]
)
def get_lease(call: Call[None], project: str, lease_id: str) -> Response:
    """Show a lease that holds."""
    return answer(views.lease(leases.get(deps(), project, lease_id)))


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/leases/{lease_id}/heartbeat",
    USER,
    body=HeartbeatRequest,
    answer=answers.Lease,
    errors=[LeaseLostError],
    repeatable=True,
)
def heartbeat_lease(call: Call[HeartbeatRequest], project: str, lease_id: str) -> Response:
    """Extend a lease, counted from now."""
    duration = _duration(call.body.duration_s)
    return answer(views.lease(leases.heartbeat(deps(), project, lease_id, duration=duration)))


@endpoint(
    routes,
    "DELETE",
    "/v1/projects/{project}/leases/{lease_id}",
    USER,
    answer=answers.Lease,
    errors=[LeaseLostError, ConflictError],
    repeatable=True,
)
def release_lease(call: Call[None], project: str, lease_id: str) -> Response:
    """Give an instance back; its idle time starts now. Releasing twice is fine."""
    row = leases.release(deps(), project, lease_id, actor=call.actor)
    return answer(views.released(row, lease_id))


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)

"""Instances: planned, bought, listed, shown, changed, removed."""

from datetime import timedelta

from chalice.app import Blueprint, Response

from chalicelib.api import answers, views
from chalicelib.api.http import MANAGER, VIEWER, Call, answer, endpoint, listing
from chalicelib.api.parameters import FORCE, PAGE, text, whole
from chalicelib.api.schemas import AddRequest, ChangeRequest, PlanRequest
from chalicelib.domain.errors import AlreadyExistsError, BusyError, LostRaceError, NoOffersError
from chalicelib.domain.policies import POOL_ADD
from chalicelib.services import instances, pools
from chalicelib.store import listing as rows
from chalicelib.wiring import deps

routes = Blueprint(__name__)

IN_POOL = text("pool", "Refuse unless the instance is in this pool. With an id it also saves looking it up.")
ENDED_SINCE = whole(
    "ended_since_s",
    "After the live ones show those that ended in so many seconds.",
    default=0,
    least=0,
    most=7 * 24 * 3600,
)


@endpoint(routes, "POST", "/v1/projects/{project}/plan", VIEWER, body=PlanRequest, answer=answers.Plan, repeatable=True)
def plan(call: Call[PlanRequest], project: str) -> Response:
    """Say what a request would get: idle instances (for a run), then offers by price. Nothing is changed.

    For a run on several nodes also in which clusters they could come together, and why not in others. For one that
    buys nothing (`reuse`, `instance`) also what it would be refused with.
    """
    wanted = call.body
    policies, warnings = wanted.policies(wanted.defaults)
    found = instances.plan(
        deps(),
        project,
        wanted.pool,
        policies,
        max_offers=wanted.max_offers,
        for_run=wanted.for_run,
        nodes=wanted.nodes,
        image=wanted.image,
        reuse=wanted.reuse,
        instance=wanted.instance,
    )
    return answer(views.plan(found, warnings))


@endpoint(
    routes,
    "GET",
    "/v1/projects/{project}/pools/{pool}/instances",
    VIEWER,
    answer=list[answers.Instance],
    query=(*PAGE, ENDED_SINCE),
)
def list_instances(call: Call[None], project: str, pool: str) -> Response:
    """List a pool's live instances by id, and on request those that ended lately behind them."""
    lately = timedelta(seconds=call.query["ended_since_s"])
    now = deps().now()  # also what names the tables, where this is the first request of a process
    since = now - lately if lately else None
    limit, cursor = call.query["limit"], call.query["cursor"]
    texts, following = rows.page(project, pool, limit=limit, cursor=cursor, ended_since=since)
    if not texts:
        pools.get(deps(), project, pool)
    return listing(texts, following)


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/pools/{pool}/instances",
    MANAGER,
    body=AddRequest,
    status=202,
    answer=answers.Instance,
    errors=[AlreadyExistsError, NoOffersError],
)
def add_instance(call: Call[AddRequest], project: str, pool: str) -> Response:
    """Order an instance: it is `pending` at once and is bought in the background, from the cheapest offer on."""
    policies, _ = call.body.policies(POOL_ADD)
    row = instances.add(
        deps(),
        project,
        pool,
        policies,
        name=call.body.name,
        actor=call.actor,
        api_url=call.api_url,
        request_id=call.request_id,
    )
    return answer(views.instance(row), 202)


@endpoint(routes, "GET", "/v1/projects/{project}/instances/{name}", VIEWER, answer=answers.InstanceDetail)
def show_instance(call: Call[None], project: str, name: str) -> Response:
    """Show one instance, by name or id, with its attempts, history, facts and cost so far."""
    return answer(views.detail(instances.show(deps(), project, name)))


@endpoint(
    routes,
    "PATCH",
    "/v1/projects/{project}/instances/{name}",
    MANAGER,
    body=ChangeRequest,
    answer=answers.Instance,
    errors=[LostRaceError],
)
def change_instance(call: Call[ChangeRequest], project: str, name: str) -> Response:
    """Set how long an instance may idle, or keep new work away from it."""
    limit, cordoned = call.body.idle_limit, call.body.cordoned
    row = instances.change(deps(), project, name, idle_limit=limit, cordoned=cordoned, actor=call.actor)
    return answer(views.instance(row))


@endpoint(
    routes,
    "DELETE",
    "/v1/projects/{project}/instances/{name}",
    MANAGER,
    status=202,
    answer=answers.Instance,
    query=(FORCE, IN_POOL),
    errors=[BusyError, LostRaceError],
)
def remove_instance(call: Call[None], project: str, name: str) -> Response:
    """Begin the end of an instance. One that is in use is refused unless forced."""
    row = instances.remove(deps(), project, name, **call.query, actor=call.actor)
    return answer(views.instance(row), 202)

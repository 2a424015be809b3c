"""Projects and their pools."""

from chalice.app import Blueprint, Response

from chalicelib.api import answers, views
from chalicelib.api.http import ADMIN, MANAGER, VIEWER, Call, answer, endpoint, listing
from chalicelib.api.parameters import FORCE, PAGE
from chalicelib.api.schemas import DefaultPool, NewPool, NewProject
from chalicelib.domain.errors import AlreadyExistsError, ForbiddenError, PoolNotEmptyError
from chalicelib.services import pools
from chalicelib.services.tokens import EVERY_PROJECT
from chalicelib.wiring import deps

routes = Blueprint(__name__)


@endpoint(
    routes,
    "POST",
    "/v1/projects",
    ADMIN,
    body=NewProject,
    status=201,
    answer=answers.Project,
    errors=[AlreadyExistsError],
)
def create_project(call: Call[NewProject]) -> Response:
    """Make a project. Needs an admin of every project."""
    if call.token.project != EVERY_PROJECT:
        raise ForbiddenError("this needs an admin of every project")
    pools.create_project(deps(), call.body.name)
    return answer({"name": call.body.name, "default_pool": None}, 201)


@endpoint(routes, "GET", "/v1/projects/{project}/pools", VIEWER, answer=list[answers.Pool], query=PAGE)
def list_pools(call: Call[None], project: str) -> Response:
    """List the pools of a project, with what is available in each. All of them are on one page."""
    found = pools.list_pools(deps(), project)
    if not found:
        pools.require_project(deps(), project)
    return listing([views.text(views.pool(pool)) for pool in found], None)


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/pools",
    MANAGER,
    body=NewPool,
    status=201,
    answer=answers.Pool,
    errors=[AlreadyExistsError],
)
def create_pool(call: Call[NewPool], project: str) -> Response:
    """Make a pool. The first one of a project becomes its default."""
    return answer(views.pool(pools.create(deps(), project, call.body.name)), 201)


@endpoint(routes, "GET", "/v1/projects/{project}/pools/{pool}", VIEWER, answer=answers.Pool)
def get_pool(call: Call[None], project: str, pool: str) -> Response:
    """Show one pool."""
    return answer(views.pool(pools.show(deps(), project, pool)))


@endpoint(
    routes,
    "DELETE",
    "/v1/projects/{project}/pools/{pool}",
    MANAGER,
    answer=answers.DeletedPool,
    query=(FORCE,),
    errors=[PoolNotEmptyError],
)
def delete_pool(call: Call[None], project: str, pool: str) -> Response:
    """Delete a pool. With `force` its instances are removed first; it is gone (`deleted`) when the last of them is."""
    gone = pools.delete(deps(), project, pool, force=call.query["force"], actor=call.actor)
    return answer({"name": pool, "deleted": gone})


@endpoint(routes, "PUT", "/v1/projects/{project}/default-pool", MANAGER, body=DefaultPool, answer=answers.Pool)
def set_default_pool(call: Call[DefaultPool], project: str) -> Response:
    """Make a pool the one that is meant where none is named."""
    return answer(views.pool(pools.set_default(deps(), project, call.body.name)))

"""The backends of a project: added, listed, tested, removed."""

from datetime import datetime

from chalice.app import Blueprint, Response

from chalicelib.api import backend_wire as wire
from chalicelib.api import views
from chalicelib.api.backend_wire import NewBackend
from chalicelib.api.http import ADMIN, MANAGER, VIEWER, Call, answer, endpoint, listing
from chalicelib.api.parameters import PAGE
from chalicelib.domain.accounts import BackendRecord
from chalicelib.domain.errors import (
    AlreadyExistsError,
    BackendAuthError,
    BackendCheckFailedError,
    BackendInUseError,
    BackendThrottledError,
    ConflictError,
    LostRaceError,
    TransientError,
)
from chalicelib.services import backends, catalog, pools
from chalicelib.wiring import deps

routes = Blueprint(__name__)


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/backends",
    ADMIN,
    body=NewBackend,
    status=201,
    answer=wire.Backend,
    errors=[
        AlreadyExistsError,
        ConflictError,
        BackendCheckFailedError,
        BackendInUseError,
        BackendThrottledError,
        LostRaceError,
        TransientError,
    ],
)
def add_backend(call: Call[NewBackend], project: str) -> Response:
    """Configure a backend, or with `replace` give it other credentials. No answer shows the credentials again."""
    wanted = call.body
    record = backends.add(
        deps(), project, wanted.wanted, replacing=wanted.replace, checking=wanted.check, actor=call.actor
    )
    return answer(wire.backend(record), 201)


@endpoint(routes, "GET", "/v1/projects/{project}/backends", VIEWER, answer=list[wire.Backend], query=PAGE)
def list_backends(call: Call[None], project: str) -> Response:
    """List the backends of a project, the built-in ones first. All of them are on one page."""
    pools.require_project(deps(), project)
    found = backends.list_backends(deps(), project)
    return listing([views.text(wire.backend(record, _catalog_at(record))) for record in found], None)


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/backends/{backend}/test",
    MANAGER,
    answer=wire.CheckupResult,
    errors=[BackendAuthError, BackendThrottledError, TransientError],
    repeatable=True,
)
def test_backend(call: Call[None], project: str, backend: str) -> Response:
    """Make the checks of a backend now, and keep what they say. Takes up to 20 s."""
    return answer(wire.checkup(backends.test(deps(), project, backend)))


@endpoint(
    routes,
    "DELETE",
    "/v1/projects/{project}/backends/{backend}",
    ADMIN,
    answer=wire.RemovedBackend,
    errors=[BackendInUseError, ConflictError, LostRaceError],
)
def remove_backend(call: Call[None], project: str, backend: str) -> Response:
    """Remove a backend that no instance is on, and its credentials."""
    backends.remove(deps(), project, backend, actor=call.actor)
    return answer({"name": backend, "removed": True})


def _catalog_at(record: BackendRecord) -> datetime | None:
    """When the offers of an account were stored last. What is built in is asked live."""
    return deps().objects.modified(catalog.own_key(record.project, record.name)) if record.secret else None

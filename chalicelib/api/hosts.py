"""Servers that somebody owns: added, looked at, listed, refreshed; and the scripts that a client carries itself."""

from chalice.app import Blueprint, Response

from chalicelib.api import answers, views
from chalicelib.api import host_wire as wire
from chalicelib.api.host_wire import NewCheck, NewHost, StepAnswer
from chalicelib.api.http import MANAGER, VIEWER, Call, answer, endpoint, listing
from chalicelib.api.parameters import PAGE
from chalicelib.domain.errors import AlreadyExistsError, ConflictError, LostRaceError
from chalicelib.domain.host_records import HostRecord
from chalicelib.services import adoption, hosts, pools
from chalicelib.ssh.errors import KeyRefusedError
from chalicelib.wiring import deps

routes = Blueprint(__name__)


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/pools/{pool}/hosts",
    MANAGER,
    body=NewHost,
    status=202,
    answer=answers.Instance,
    errors=[AlreadyExistsError, ConflictError, KeyRefusedError, LostRaceError],
)
def add_host(call: Call[NewHost], project: str, pool: str) -> Response:
    """Adopt a server: its instance is `pending` at once. The same server again is answered by the instance it is."""
    wanted = call.body.record(api_url=call.api_url, actor=call.actor, name=call.body.name)
    added = hosts.add(deps(), project, pool, wanted, call.body.key, request_id=call.request_id)
    return answer(views.instance(added.instance), 202)


@endpoint(routes, "GET", "/v1/projects/{project}/hosts", VIEWER, answer=list[wire.Host], query=PAGE)
def list_hosts(call: Call[None], project: str) -> Response:
    """List the servers of a project, with those that have ended and are still to be cleaned. All are on one page."""
    pools.require_project(deps(), project)
    return listing([views.text(wire.host(each)) for each in hosts.listed(deps(), project)], None)


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/hosts/{name}/steps",
    MANAGER,
    body=StepAnswer,
    answer=wire.HostStep,
    errors=[ConflictError, LostRaceError],
    repeatable=True,
)
def step_host(call: Call[StepAnswer], project: str, name: str) -> Response:
    """Hand in what a step's script printed, and get the next one: for a client that reaches the host itself."""
    return answer(wire.step(_stepped(hosts.get(deps(), project, name).record, call.body)))


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/instances/{name}/refresh",
    MANAGER,
    status=202,
    answer=answers.Instance,
    errors=[ConflictError, LostRaceError],
    repeatable=True,
)
def refresh_host(call: Call[None], project: str, name: str) -> Response:
    """Have the facts of a server read again. What changed is shown by the instance as soon as its agent has told."""
    return answer(views.instance(hosts.refresh(deps(), project, name)), 202)


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/instances/{name}/forget",
    MANAGER,
    answer=answers.Instance,
    errors=[ConflictError, LostRaceError],
    repeatable=True,
)
def forget_host(call: Call[None], project: str, name: str) -> Response:
    """Wait no longer for a server that was removed while it was away to say that nothing is left on it."""
    return answer(views.instance(hosts.forget(deps(), project, name)))


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/host-checks",
    MANAGER,
    body=NewCheck,
    status=202,
    answer=wire.HostCheck,
    errors=[KeyRefusedError],
)
def check_host(call: Call[NewCheck], project: str) -> Response:
    """Look at a server as an adoption would, and change nothing on it. What was found is kept for an hour."""
    wanted = call.body.record(api_url=call.api_url, actor=call.actor)
    return answer(wire.check(hosts.begin_check(deps(), project, wanted, call.body.key)), 202)


@endpoint(routes, "GET", "/v1/projects/{project}/host-checks/{check_id}", VIEWER, answer=wire.HostCheck)
def show_check(call: Call[None], project: str, check_id: str) -> Response:
    """Show what a look at a server found so far."""
    return answer(wire.check(hosts.get_check(deps(), project, check_id)))


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/host-checks/{check_id}/steps",
    MANAGER,
    body=StepAnswer,
    answer=wire.HostStep,
    errors=[ConflictError, LostRaceError],
    repeatable=True,
)
def step_check(call: Call[StepAnswer], project: str, check_id: str) -> Response:
    """The same as for an adoption, of which only the first script is run."""
    return answer(wire.step(_stepped(hosts.get_check(deps(), project, check_id), call.body)))


def _stepped(record: HostRecord, said: StepAnswer) -> adoption.ClientStep:
    if not record.from_here:
        raise ConflictError(f"{record.destination} is adopted by the control plane, which carries the scripts itself")
    if said.of is None:
        return adoption.next_step(deps(), record, said.host_key)
    return adoption.answered(deps(), record, said.of, said.done(), said.host_key)

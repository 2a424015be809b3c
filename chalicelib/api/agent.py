"""What the program on a machine calls: fetch itself, register once, then sync."""

from chalice.app import Blueprint, Response

from chalicelib.api import agent_wire as wire
from chalicelib.api.http import AGENT, PUBLIC, Call, answer, endpoint
from chalicelib.domain.errors import ForbiddenError
from chalicelib.services import agents, bootstrap, tokens
from chalicelib.wiring import deps

routes = Blueprint(__name__)

MAX_SYNC: int = 2_000_000


@endpoint(routes, "GET", "/v1/agent/program", PUBLIC, answer=str)
def agent_program(call: Call[None]) -> Response:
    """Answer the agent: one Python file, with its hash in `X-Tidepool-SHA256`."""
    content, sha256 = bootstrap.program()
    headers: dict[str, str | list[str]] = {"Content-Type": "text/x-python; charset=utf-8", "X-Tidepool-SHA256": sha256}
    return Response(body=content.decode(), status_code=200, headers=headers)


@endpoint(
    routes, "POST", "/v1/agent/register", AGENT, body=wire.RegisterRequest, answer=wire.Registration, repeatable=True
)
def register_agent(call: Call[wire.RegisterRequest]) -> Response:
    """Exchange a bootstrap token for the agent's own, whose secret the agent proposes. Asking again is fine."""
    if not tokens.is_bootstrap(call.token):
        raise ForbiddenError("this needs a bootstrap token")
    registered = agents.register(deps(), call.token, call.body.proposed_token)
    return answer(wire.registration(registered))


@endpoint(
    routes,
    "POST",
    "/v1/agent/sync",
    AGENT,
    body=wire.SyncRequest,
    answer=wire.SyncAnswer,
    repeatable=True,
    max_body=MAX_SYNC,
)
def sync_agent(call: Call[wire.SyncRequest]) -> Response:
    """Take in what an agent says, and answer what its machine should be doing."""
    if tokens.is_bootstrap(call.token):
        raise ForbiddenError("a bootstrap token registers and does nothing else")
    return answer(wire.sync_answer(agents.sync(deps(), call.token, call.body.report())))

"""What can be asked without belonging anywhere: is it up, what does it understand, who am I."""

from chalice.app import Blueprint, Response

from chalicelib.api import answers, views
from chalicelib.api.http import ANY_TOKEN, PUBLIC, Call, answer, endpoint
from chalicelib.config import VERSION
from chalicelib.wiring import deps

routes = Blueprint(__name__)


@endpoint(routes, "GET", "/v1/health", PUBLIC, answer=answers.Health)
def health(call: Call[None]) -> Response:
    """Say that the API answers, and which version it is. No table is read."""
    now = views.moment(deps().now())
    return answer({"status": "ok", "stage": deps().settings.stage, "version": VERSION, "time": now})


@endpoint(routes, "GET", "/v1/me", ANY_TOKEN, answer=answers.Me)
def me(call: Call[None]) -> Response:
    """Say whose token this is."""
    return answer(views.me(call.token))

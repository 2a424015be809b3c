"""Tokens of a project: made, listed, revoked. A token's text is in the answer that made it and nowhere else."""

from chalice.app import Blueprint, Response

from chalicelib.api import answers, views
from chalicelib.api.http import ADMIN, Call, answer, endpoint, listing
from chalicelib.api.parameters import PAGE
from chalicelib.api.schemas import NewToken
from chalicelib.services import pools, tokens
from chalicelib.wiring import deps

routes = Blueprint(__name__)


@endpoint(
    routes,
    "POST",
    "/v1/projects/{project}/tokens",
    ADMIN,
    body=NewToken,
    status=201,
    answer=answers.IssuedToken,
    shown_once="token",
)
def create_token(call: Call[NewToken], project: str) -> Response:
    """Make a token. Its text is shown this once: a replay of the answer has null in its place."""
    if project != tokens.EVERY_PROJECT:
        pools.require_project(deps(), project)
    wanted = call.body
    token, text = tokens.issue(
        deps(), project=project, name=wanted.name, role=wanted.known_role, expires_in=wanted.lifetime
    )
    return answer({**views.token(token), "token": text}, 201)


@endpoint(routes, "GET", "/v1/projects/{project}/tokens", ADMIN, answer=list[answers.Token], query=PAGE)
def list_tokens(call: Call[None], project: str) -> Response:
    """List the tokens of people and programs, without their secrets."""
    found, following = tokens.page(deps(), project, **call.query)
    return listing([views.text(views.token(token)) for token in found], following)


@endpoint(routes, "DELETE", "/v1/projects/{project}/tokens/{token_id}", ADMIN, answer=answers.RevokedToken)
def revoke_token(call: Call[None], project: str, token_id: str) -> Response:
    """Revoke a token. API Gateway may keep its last answer about it for half a minute."""
    tokens.revoke(deps(), project, token_id)
    return answer({"token_id": token_id, "revoked": True})

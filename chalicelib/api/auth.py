"""The authorizer Lambda: who calls. What a caller may do is decided in the app, which knows the route.

Every answer allows every route, because API Gateway keeps it per token for `CACHED_S` and uses it for whatever route
comes next; roles and projects are enforced by `http.endpoint`. So a revoked token may pass for `CACHED_S` longer.
None, unknown, expired and malformed tokens are all 401 with API Gateway's own body, `{"message": "Unauthorized"}`.
A route or method that does not exist is its 403 `{"message": "Missing Authentication Token"}`, whatever the token.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from chalice.app import AuthRequest, AuthResponse, Blueprint

from chalicelib import log
from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.domain.model import Role, Token
from chalicelib.services import tokens
from chalicelib.wiring import deps

CACHED_S: Final = 30
"""Half a minute of revocation against one more Lambda call on every request of a command that makes several."""

routes = Blueprint(__name__)


class Unauthorized(Exception):  # noqa: N818 - API Gateway turns exactly this message into a 401, the name is free
    """The one failure of an authorizer that API Gateway answers with 401."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")


@routes.authorizer(ttl_seconds=CACHED_S)
def authorizer(request: AuthRequest) -> AuthResponse:
    """Look the bearer token up and pass on whose it is."""
    log.bind(function="authorizer")
    scheme, _, text = request.token.strip().partition(" ")
    try:
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("the scheme is not Bearer")
        token = tokens.verify(deps(), text.strip())
    except UnauthenticatedError:
        log.event("unauthorized")
        raise Unauthorized from None
    return AuthResponse(routes=["*"], principal_id=token.token_id, context=context_of(token))


def context_of(token: Token) -> dict[str, str]:
    """Write a token as the authorizer context that API Gateway hands to the app: texts only, and no secret."""
    return {
        "token_id": token.token_id,
        "name": token.name,
        "role": token.role.value,
        "project": token.project,
        "instance": token.instance,
        "created_at": token.created_at.isoformat(),
        "expires_at": token.expires_at.isoformat() if token.expires_at else "",
    }


def token_of(context: Mapping[str, Any]) -> Token:
    """Read the caller's token back from the authorizer context. Its hash was not passed on and is empty."""
    return Token(
        token_id=context["token_id"],
        secret_sha256="",
        role=Role(context["role"]),
        project=context["project"],
        name=context["name"],
        created_at=datetime.fromisoformat(context["created_at"]),
        expires_at=datetime.fromisoformat(context["expires_at"]) if context["expires_at"] else None,
        instance=context["instance"],
    )

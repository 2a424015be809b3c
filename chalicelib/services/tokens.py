"""Bearer tokens: issued once, stored as a hash, checked in constant time.

The text is `<prefix>.<token id>.<secret>`: `tp` for people and programs, `tpb` for the bootstrap of one machine, `tpa`
for an agent that registered with it. The prefix must fit the stored token, so that one kind never passes for another.
"""

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Final

from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.domain.model import Role, Token
from chalicelib.services.deps import Deps
from chalicelib.store import tokens as store

EVERY_PROJECT: Final = "*"
DEFAULT_LIFETIME: Final = timedelta(days=90)
MAX_LIFETIME: Final = timedelta(days=366)

BOOTSTRAP: Final = "bootstrap/"
"""What the name of a bootstrap token begins with; the id of the attempt follows."""

_TEXT: Final = re.compile(r"(tp[ab]?)\.([A-Za-z0-9_-]{1,80})\.([A-Za-z0-9_-]{32,128})")
_NO_SECRET: Final = "0" * 64


def issue(
    deps: Deps, *, project: str, name: str, role: Role, expires_in: timedelta = DEFAULT_LIFETIME
) -> tuple[Token, str]:
    """Make a token for a person or a program. Returns it and its text, which is not kept and cannot be shown again."""
    return _issue(deps, project=project, name=name, role=role, expires_at=deps.now() + expires_in)


def issue_bootstrap(deps: Deps, *, project: str, instance: str, attempt_id: str, expires_at: datetime) -> str:
    """Make the token that the machine of one attempt registers its agent with, and return its text.

    Asked again for the same attempt it makes another token and leaves the first one good: a launch that is repeated
    may find the machine that the first try made, and that one holds the first token.
    """
    name = BOOTSTRAP + attempt_id
    return _issue(deps, project=project, name=name, role=Role.AGENT, expires_at=expires_at, instance=instance)[1]


def verify(deps: Deps, text: str) -> Token:
    """Return the token that `text` is the bearer form of.

    Raises `UnauthenticatedError` when it is malformed, unknown, revoked, expired, or has another secret; the words do
    not tell which.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise _refused()
    prefix, token_id, secret = match.groups()
    token = store.get(token_id)
    good = hmac.compare_digest(hash_secret(secret), token.secret_sha256 if token else _NO_SECRET)
    if token is None or not good or prefix != prefix_of(token):
        raise _refused()
    if _expired(token, deps.now()):
        raise _refused()
    return token


def page(deps: Deps, project: str, *, limit: int, cursor: str | None) -> tuple[list[Token], str | None]:
    """List the tokens that people and programs hold in a project, by id. Agents' and expired ones are not shown."""
    found, following = store.by_project(project, limit, cursor)
    now = deps.now()
    return [token for token in found if not _expired(token, now)], following


def revoke(deps: Deps, project: str, token_id: str) -> None:
    """End a token. Raises `NotFoundError` when the project has none of that id.

    The authorizer's answers are kept for a short while, so a revoked token may still pass for that long.
    """
    store.revoke(project, token_id)


def hash_secret(secret: str) -> str:
    """SHA-256 in hex. The secrets have 256 random bits, so a slow hash would protect nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_bootstrap(token: Token) -> bool:
    """Tell a bootstrap token from the one of a registered agent."""
    return token.role is Role.AGENT and token.name.startswith(BOOTSTRAP)


def prefix_of(token: Token) -> str:
    """Name the kind of a token as its text begins with it."""
    if token.role is not Role.AGENT:
        return "tp"
    return "tpb" if is_bootstrap(token) else "tpa"


def _issue(
    deps: Deps, *, project: str, name: str, role: Role, expires_at: datetime, instance: str = ""
) -> tuple[Token, str]:
    secret = secrets.token_urlsafe(32)
    token = Token(
        token_id=secrets.token_hex(8),
        secret_sha256=hash_secret(secret),
        role=role,
        project=project,
        name=name,
        created_at=deps.now(),
        expires_at=expires_at,
        instance=instance,
    )
    store.put(token)
    return token, f"{prefix_of(token)}.{token.token_id}.{secret}"


def _expired(token: Token, now: datetime) -> bool:
    return token.expires_at is not None and token.expires_at <= now


def _refused() -> UnauthenticatedError:
    return UnauthenticatedError("the token is missing, malformed, unknown, revoked or expired")

"""Tokens, by id. Their secrets are never stored, only the hash."""

from typing import Any

from chalicelib.domain.errors import AlreadyExistsError, NotFoundError, UnauthenticatedError
from chalicelib.domain.model import Role, Token
from chalicelib.store import calls, cursors
from chalicelib.store.calls import Image
from chalicelib.store.columns import epoch
from chalicelib.store.models import TokenRow


def put(token: Token) -> None:
    """Store a token. Raises `AlreadyExistsError` when its id is taken by another one."""
    try:
        calls.put(_encode(token), TokenRow.token_id.does_not_exist() | (TokenRow.secret_sha256 == token.secret_sha256))
    except calls.ConditionFailedError as error:
        raise AlreadyExistsError(f"token {token.token_id!r} exists", token=token.token_id) from error


def get(token_id: str) -> Token | None:
    """Read a token, expired or not; None when it is unknown, revoked, or expired long ago."""
    item = calls.get(TokenRow, token_id, consistent=True)
    return None if item is None else _decode(item)


def by_project(project: str, limit: int, cursor: str | None = None) -> tuple[list[Token], str | None]:
    """Read a page of a project's tokens by id, without those of agents, and the next cursor (None: the last page)."""
    kind, after = cursors.read(cursor, "t")
    answer = calls.query(
        TokenRow,
        project,
        index_name=TokenRow.by_project.Meta.index_name,
        limit=min(limit, 100),
        exclusive_start_key={"listed_in": {"S": project}, "token_id": {"S": after}} if after else None,
    )
    keys = [{"token_id": item["token_id"]} for item in answer["Items"]]
    found = sorted((_decode(item) for item in calls.get_many(TokenRow, keys, consistent=True)), key=_by_id)
    last = answer.get("LastEvaluatedKey")
    return found, cursors.write(kind, last["token_id"]["S"]) if last else None


def revoke(project: str, token_id: str) -> None:
    """Delete a token of a project; from the next call on it is unknown. Raises `NotFoundError`."""
    try:
        calls.delete(TokenRow, token_id, condition=TokenRow.project == project)
    except calls.ConditionFailedError as error:
        raise NotFoundError(f"token {token_id!r} does not exist", token=token_id) from error


def use_bootstrap(token_id: str, proposed_sha256: str, *, agent: Token) -> Token:
    """Exchange a single-use token for the agent's own, all or nothing; return the agent's token as stored.

    `agent` is the token to store, its hash being `proposed_sha256`. Asking again with the same proposal (its answer was
    lost) returns the token of the first time. Raises `UnauthenticatedError` for an unknown token or another proposal.
    """
    if agent.secret_sha256 != proposed_sha256:
        raise ValueError("the agent's token carries the proposed hash")
    writes = calls.Transaction()
    used: list[Any] = [TokenRow.used_sha256.set(proposed_sha256), TokenRow.successor.set(agent.token_id)]
    unused = TokenRow.token_id.exists() & TokenRow.used_sha256.does_not_exist()
    writes.update(TokenRow, token_id, None, used, unused)
    writes.put(_encode(agent), TokenRow.token_id.does_not_exist())
    try:
        writes.commit()
    except calls.ConditionFailedError as error:
        earlier = _successor(token_id, proposed_sha256)
        if earlier is None:
            raise UnauthenticatedError("the bootstrap token is unknown or was used") from error
        return earlier
    return agent


def _successor(token_id: str, proposed_sha256: str) -> Token | None:
    item = calls.get(TokenRow, token_id, consistent=True)
    if item is None or item.get("used_sha256", {}).get("S") != proposed_sha256:
        return None
    return get(item["successor"]["S"])


def _by_id(token: Token) -> str:
    return token.token_id


def _encode(token: Token) -> TokenRow:
    return TokenRow(
        token.token_id,
        secret_sha256=token.secret_sha256,
        role=token.role.value,
        project=token.project,
        name=token.name,
        created_at=token.created_at,
        expires_at=token.expires_at,
        instance=token.instance or None,
        listed_in=None if token.role is Role.AGENT else token.project,
        ttl=epoch(token.expires_at) if token.expires_at else None,
    )


def _decode(item: Image) -> Token:
    row = TokenRow.from_raw_data(item)
    return Token(
        token_id=row.token_id,
        secret_sha256=row.secret_sha256,
        role=Role(row.role),
        project=row.project,
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        instance=row.instance or "",
    )

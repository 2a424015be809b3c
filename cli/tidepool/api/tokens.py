"""Tokens: who may do what."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tidepool.client import Client
    from tidepool.wire import Token


class Tokens:
    """What can be done with tokens; all of it needs the role `admin`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[Token]:
        """The project's tokens, without their secrets."""
        return [token for page in self._client.pages(self._client.path("tokens")) for token in page]

    def create(self, name: str, role: str, *, expires_in: str = "") -> Token:
        """Make a token. The answer's `token` is the only time that its secret is shown."""
        body = {"name": name, "role": role, **({"expires_in": expires_in} if expires_in else {})}
        answer: Token = self._client.call("POST", self._client.path("tokens"), body)
        return answer

    def revoke(self, token_id: str) -> None:
        """End a token at once."""
        self._client.call("DELETE", self._client.path("tokens", token_id))

"""Pools of a project."""

from __future__ import annotations

from tidepool.errors import ConflictError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tidepool.client import Client
    from tidepool.wire import Pool

FIRST_POOL = "default-pool"
"""What the API, too, calls a project's first pool when nobody chose a name."""


class Pools:
    """What can be done with pools."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[Pool]:
        """All pools of the project."""
        return [pool for page in self._client.pages(self._client.path("pools")) for pool in page]

    def get(self, name: str) -> Pool:
        """One pool; `NotFoundError` when there is none of that name."""
        answer: Pool = self._client.call("GET", self._client.path("pools", name))
        return answer

    def create(self, name: str) -> Pool:
        """Make a pool. The first of a project becomes its default."""
        answer: Pool = self._client.call("POST", self._client.path("pools"), {"name": name})
        return answer

    def delete(self, name: str, *, force: bool = False) -> bool:
        """Delete an empty pool. `force` removes its instances first; answers whether the pool is gone already."""
        query = {"force": True} if force else None
        return bool(self._client.call("DELETE", self._client.path("pools", name), query=query)["deleted"])

    def set_default(self, name: str) -> Pool:
        """Make a pool the one that is meant when none is named."""
        answer: Pool = self._client.call("PUT", self._client.path("default-pool"), {"name": name})
        return answer

    def resolve(self, name: str = "") -> str:
        """The pool that is meant: `name`, else the project's default, which is made on first use."""
        if name:
            return name
        try:
            return self.default()
        except NotFoundError:
            pass
        try:
            return self.create(FIRST_POOL)["name"]
        except ConflictError:  # somebody made it in between, or it lost its mark
            return FIRST_POOL

    def default(self) -> str:
        """The name of the default pool; `NotFoundError` when the project has none yet."""
        for page in self._client.pages(self._client.path("pools")):
            for pool in page:
                if pool["is_default"]:
                    return str(pool["name"])
        raise NotFoundError("the project has no default pool yet")

"""Instances: what a pool is made of."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tidepool.client import Client
    from tidepool.wire import Instance, InstanceDetail, Plan, PlanRequest, Policies


class Instances:
    """What can be done with instances. `name` may always be an instance id too."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def plan(self, request: PlanRequest) -> Plan:
        """What adding would choose from, cheapest first. Nothing is changed."""
        answer: Plan = self._client.call("POST", self._client.path("plan"), request)
        return answer

    def pages(self, pool: str, *, ended_since_s: int = 0) -> Iterator[list[Instance]]:
        """The instances of a pool, a page at a time; with `ended_since_s` also those that ended within that time."""
        query = {"ended_since_s": ended_since_s} if ended_since_s else None
        return self._client.pages(self._client.path("pools", pool, "instances"), query)

    def list(self, pool: str, *, ended_since_s: int = 0) -> list[Instance]:
        """The instances of a pool at once."""
        return [instance for page in self.pages(pool, ended_since_s=ended_since_s) for instance in page]

    def add(self, pool: str, policies: Policies, *, name: str = "") -> Instance:
        """Order an instance. It is `pending` at first; `get` shows how it goes on."""
        body: dict[str, Any] = {**policies, **({"name": name} if name else {})}
        answer: Instance = self._client.call("POST", self._client.path("pools", pool, "instances"), body)
        return answer

    def get(self, name: str) -> InstanceDetail:
        """One instance with its attempts, history, facts and cost so far."""
        answer: InstanceDetail = self._client.call("GET", self._client.path("instances", name))
        return answer

    def update(self, name: str, *, idle_duration: str = "", cordoned: bool | None = None) -> Instance:
        """Change how long it may idle (`"5m"`, `"off"`), or keep new work away from it."""
        body: dict[str, Any] = {}
        if idle_duration:
            body["idle_duration"] = idle_duration
        if cordoned is not None:
            body["cordoned"] = cordoned
        answer: Instance = self._client.call("PATCH", self._client.path("instances", name), body)
        return answer

    def remove(self, name: str, *, pool: str = "", force: bool = False) -> Instance:
        """Begin the end of an instance. A busy one raises `BusyError` unless forced."""
        query = {"force": True if force else None, "pool": pool or None}
        answer: Instance = self._client.call("DELETE", self._client.path("instances", name), query=query)
        return answer

"""Hosts: servers that somebody owns, which SSH reaches and a pool adopts."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tidepool.client import Client
    from tidepool.host_wire import Host, HostCheckup, HostRequest, HostStep, StepResult
    from tidepool.wire import Instance


class Hosts:
    """What can be done with hosts. `name` may always be an instance id too."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[Host]:
        """The project's hosts, also the ended ones on which something of ours may be left."""
        return [host for page in self._client.pages(self._client.path("hosts")) for host in page]

    def adopt(self, pool: str, wanted: HostRequest) -> Instance:
        """Begin the adoption of a host; the same host again is the same instance. It is `pending` at first."""
        chosen = self._client.pools.resolve(pool)
        answer: Instance = self._client.call("POST", self._client.path("pools", chosen, "hosts"), wanted)
        return answer

    def step(self, name: str, result: StepResult | None = None) -> HostStep:
        """Hand in what a carried script said, and get the next one. Without a result: ask which is next."""
        path = self._client.path("hosts", name, "steps")
        answer: HostStep = self._client.call("POST", path, result or {})
        return answer

    def check(self, wanted: HostRequest) -> HostCheckup:
        """Begin a look at a host that adopts nothing."""
        answer: HostCheckup = self._client.call("POST", self._client.path("host-checks"), wanted)
        return answer

    def checkup(self, check_id: str) -> HostCheckup:
        """A look at a host as it stands."""
        answer: HostCheckup = self._client.call("GET", self._client.path("host-checks", check_id))
        return answer

    def check_step(self, check_id: str, result: StepResult | None = None) -> HostStep:
        """The same for a look, which has one script."""
        path = self._client.path("host-checks", check_id, "steps")
        answer: HostStep = self._client.call("POST", path, result or {})
        return answer

    def forget(self, name: str) -> Instance:
        """Wait no longer for the clean-up of a host that was removed while it was away."""
        answer: Instance = self._client.call("POST", self._client.path("instances", name, "forget"), {})
        return answer

    def refresh(self, name: str) -> Instance:
        """Have the facts of an adopted host read again."""
        answer: Instance = self._client.call("POST", self._client.path("instances", name, "refresh"), {})
        return answer

"""Backends: the accounts at providers that a project rents machines with."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tidepool.client import Client
    from tidepool.wire import Backend, Checkup, NewBackend


class Backends:
    """What can be done with backends; adding and removing need the role `admin`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[Backend]:
        """The project's backends, the built-in ones first, without credentials."""
        return [backend for page in self._client.pages(self._client.path("backends")) for backend in page]

    def add(self, wanted: NewBackend) -> Backend:
        """Configure a backend. Unless `check` is off, nothing is stored while a check fails."""
        answer: Backend = self._client.call("POST", self._client.path("backends"), wanted)
        return answer

    def test(self, name: str) -> Checkup:
        """Make the checks of a backend now."""
        answer: Checkup = self._client.call("POST", self._client.path("backends", name, "test"), {})
        return answer

    def remove(self, name: str) -> None:
        """Remove a backend that no instance is on, and its credentials."""
        self._client.call("DELETE", self._client.path("backends", name))

"""What the verbs need from outside, as one value. `wiring` makes it for the Lambdas, tests make their own."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol

from chalicelib.backends.base import Backend
from chalicelib.config import Settings


class Objects(Protocol):
    """Archives and logs in object storage."""

    def present(self, key: str) -> bool: ...

    def put_url(self, key: str, *, sha256: str, size: int, expires: timedelta) -> tuple[str, dict[str, str]]:
        """Return a presigned PUT and the headers that must go with it."""

    def get_url(self, key: str, *, expires: timedelta) -> str: ...

    def append(self, prefix: str, offset: int, data: bytes) -> None:
        """Store one chunk of a byte stream under its offset. The same chunk again changes nothing."""

    def read(self, prefix: str, after: int, limit: int) -> bytes:
        """Read up to `limit` bytes of the stream from `after`, as far as it is stored without a gap."""


class Wake(Protocol):
    """A channel that makes an agent sync at once. A lost wake only costs time: the agent syncs by itself too."""

    def create(self, instance_id: str) -> None: ...

    def send(self, instance_id: str) -> None: ...

    def listen_url(self, instance_id: str, *, expires: timedelta) -> str: ...

    def delete(self, instance_id: str) -> None: ...


class Executions(Protocol):
    """Workflows. Starting one under a name that was used is fine: the first start counts."""

    def start(self, arn: str, name: str, payload: dict[str, Any]) -> None: ...

    def running(self, arn: str, name: str) -> bool: ...

    def succeed(self, callback: str, payload: dict[str, Any]) -> None:
        """Complete a waiting task. A callback that timed out or was completed before is fine."""


@dataclass(frozen=True, slots=True)
class Deps:
    """The outside. `now` returns an aware UTC moment.

    `backend(project, name)` raises `NotFoundError` for a name that the project has not configured;
    `backend_names(project)` are those that may be rented from.
    """

    settings: Settings
    now: Callable[[], datetime]
    rng: Random
    objects: Objects
    wake: Wake
    executions: Executions
    backend: Callable[[str, str], Backend]
    backend_names: Callable[[str], tuple[str, ...]]

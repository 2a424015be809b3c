"""What the verbs need from outside, as one value. `wiring` makes it for the Lambdas, tests make their own."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol

from chalicelib.backends.base import Account, Backend
from chalicelib.config import Settings
from chalicelib.domain.host_records import HostRecord


class Objects(Protocol):
    """Archives, logs and catalogs in object storage."""

    def present(self, key: str) -> bool: ...

    def put_url(self, key: str, *, sha256: str, size: int, expires: timedelta) -> tuple[str, dict[str, str]]:
        """Return a presigned PUT and the headers that must go with it."""

    def get_url(self, key: str, *, expires: timedelta) -> str: ...

    def append(self, prefix: str, offset: int, data: bytes, *, grows: bool = True) -> None:
        """Store one chunk of a byte stream under its offset. The same again changes nothing, a longer one replaces it,
        unless it is not one that `grows`: then the first stays."""

    def read(self, prefix: str, after: int, limit: int) -> bytes:
        """Read up to `limit` bytes of the stream from `after`, as far as it is stored without a gap."""

    def end(self, prefix: str, after: int) -> int:
        """Return how far the stream is stored without a gap, from `after` on."""

    def begins(self, prefix: str, after: int) -> int | None:
        """Return where the first chunk begins that is stored at `after` or behind it; None: there is none."""

    def get(self, key: str, *, unless: str = "") -> tuple[str, bytes | None] | None:
        """Return an object's etag and content; no content when the etag is still `unless`; None: nothing is there."""

    def put(self, key: str, data: bytes) -> None:
        """Store an object, in place of what is there."""

    def modified(self, key: str) -> datetime | None:
        """When the object was stored; None: nothing is there."""


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


class Secrets(Protocol):
    """Credentials at rest. Each name is used for one value, once."""

    def put(self, name: str, values: Mapping[str, str]) -> None:
        """Store. The same call again is fine."""

    def get(self, name: str) -> dict[str, str] | None: ...

    def delete(self, name: str) -> None:
        """Delete for good. An absent one is fine."""


class Drivers(Protocol):
    """What can be configured, and the making of a driver; no account is known here."""

    def built_in(self) -> tuple[str, ...]:
        """Name the backends that every project has by the settings; each is its own kind."""

    def kinds(self) -> tuple[str, ...]:
        """Name the kinds that a project can add."""

    def parse(
        self, kind: str, config: Mapping[str, Any], credentials: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return both in their normal form. Raises `InvalidInputError`, also for a kind that cannot be added."""

    def identity(self, kind: str, config: Mapping[str, Any], account: str) -> str:
        """Name the account of a configuration and of what its checks found; empty when neither tells.

        Machines of one account are not found with the credentials of another.
        """

    def make(self, account: Account) -> Backend: ...


class Finished(Protocol):
    """A command that ended on a host. `exit_code` is -1 where a signal ended it."""

    @property
    def stdout(self) -> str: ...

    @property
    def stderr(self) -> str: ...

    @property
    def exit_code(self) -> int: ...


class ShownKey(Protocol):
    """The key that a host showed: its fingerprint, and the line to pin."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def line(self) -> str: ...


class Shell(Protocol):
    """A host that was logged in to."""

    @property
    def host_key(self) -> ShownKey: ...

    @property
    def jump_key(self) -> ShownKey | None:
        """The key of the host on the way, where there is one."""

    def run(self, script: str, *, sudo: bool = False, limit_s: float) -> Finished:
        """Feed a script to a shell. Raises an `SshError`; the script may then have done its work."""


class Ssh(Protocol):
    """The way onto hosts."""

    def __call__(self, record: HostRecord, key: Mapping[str, str]) -> AbstractContextManager[Shell]:
        """Log in to a host with the private key `key["private_key"]`. Raises an `SshError`."""


class BackendNames(Protocol):
    """The backends of a project by name."""

    def __call__(self, project: str, *, closed: bool = False) -> tuple[str, ...]:
        """Name those that may be rented from; with `closed` also those that are being removed."""


@dataclass(frozen=True, slots=True)
class Deps:
    """The outside. `now` returns an aware UTC moment.

    `backend(project, name)` works for every configured name, closed ones too, and raises `NotFoundError` for others;
    what may be rented from is in `backend_names(project)`.
    """

    settings: Settings
    now: Callable[[], datetime]
    rng: Random
    objects: Objects
    wake: Wake
    executions: Executions
    backend: Callable[[str, str], Backend]
    backend_names: BackendNames
    drivers: Drivers
    secrets: Secrets
    ssh: Ssh

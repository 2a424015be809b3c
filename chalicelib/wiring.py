"""The composition root: what the Lambdas run with. Only `api` and `workflows` import it.

Everything behind it is made on first use: importing this module reads no environment, opens no connection and loads
no SDK, because `chalice package` imports it too, and because each function pays for what it imports at a cold start.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cache
from random import SystemRandom

from chalicelib import config
from chalicelib.aws.executions import StepFunctions
from chalicelib.aws.objects import Bucket
from chalicelib.aws.secrets import SecretsManager
from chalicelib.aws.wake import WakeQueues
from chalicelib.backends import registry
from chalicelib.backends.base import Backend
from chalicelib.domain.host_records import HostRecord
from chalicelib.services import backends
from chalicelib.services.deps import Deps, Shell
from chalicelib.store import tables

_drivers = backends.DriverCache()


@cache
def deps() -> Deps:
    """Return the process's dependencies; the first call reads the environment and names the tables."""
    settings = config.load()
    tables.configure(settings.stage)
    return Deps(
        settings=settings,
        now=_now,
        rng=SystemRandom(),
        objects=Bucket(settings.bucket, _now),
        wake=WakeQueues(settings.stage),
        executions=StepFunctions(),
        backend=_backend,
        backend_names=_backend_names,
        drivers=registry.Drivers(settings),
        secrets=SecretsManager(settings.stage),
        ssh=_ssh,
    )


def _backend_names(project: str, *, closed: bool = False) -> tuple[str, ...]:
    return backends.names(deps(), project, closed=closed)


def _backend(project: str, name: str) -> Backend:
    return _drivers.backend(deps(), project, name)


def _ssh(record: HostRecord, key: Mapping[str, str]) -> AbstractContextManager[Shell]:
    from chalicelib.ssh import opening

    return opening.session(record, key, deps().settings.host_networks)


def _now() -> datetime:
    return datetime.now(UTC)

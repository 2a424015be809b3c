"""The composition root: what the Lambdas run with. Only `api` and `workflows` import it.

Everything behind it is made on first use: importing this module reads no environment, opens no connection and loads
no SDK, because `chalice package` imports it too, and because each function pays for what it imports at a cold start.
"""

from datetime import UTC, datetime
from functools import cache
from random import SystemRandom

from chalicelib import config
from chalicelib.aws.executions import StepFunctions
from chalicelib.aws.objects import Bucket
from chalicelib.aws.wake import WakeQueues
from chalicelib.backends.base import Backend
from chalicelib.domain.errors import NotFoundError
from chalicelib.services.deps import Deps
from chalicelib.store import tables

LOCAL = "local"


@cache
def deps() -> Deps:
    """Return the process's dependencies; the first call reads the environment and names the tables."""
    settings = config.load()
    tables.configure(settings.stage)
    return Deps(
        settings=settings,
        now=lambda: datetime.now(UTC),
        rng=SystemRandom(),
        objects=Bucket(settings.bucket),
        wake=WakeQueues(settings.stage),
        executions=StepFunctions(),
        backend=_backend,
        backend_names=_backend_names,
    )


def _backend_names() -> tuple[str, ...]:
    return (LOCAL,) if deps().settings.local_cloud_url else ()


@cache
def _backend(name: str) -> Backend:
    if name not in _backend_names():
        raise NotFoundError(f"backend {name!r} is not configured")
    from chalicelib.backends.local import LocalBackend

    settings = deps().settings
    return LocalBackend(settings.local_cloud_url, settings.local_cloud_key)

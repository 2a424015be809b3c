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
from chalicelib.backends import registry
from chalicelib.backends.base import Account, Backend
from chalicelib.domain.errors import NotFoundError
from chalicelib.services.deps import Deps
from chalicelib.store import tables


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
        backend=cache(_backend),
        backend_names=_backend_names,
    )


def _backend_names(_project: str) -> tuple[str, ...]:
    return registry.built_in(deps().settings)


def _backend(project: str, name: str) -> Backend:
    settings = deps().settings
    if name not in registry.built_in(settings):
        raise NotFoundError(f"project {project!r} has no backend {name!r}")
    return registry.driver(settings, Account(project, name, kind=name))


def _now() -> datetime:
    return datetime.now(UTC)

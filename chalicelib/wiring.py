"""The composition root: what the Lambdas run with. Only `api` and `workflows` import it.

Everything behind it is made on first use: importing this module reads no environment, opens no connection and loads
no SDK, because `chalice package` imports it too, and because each function pays for what it imports at a cold start.
"""

from datetime import UTC, datetime
from functools import cache, partial
from random import SystemRandom

from chalicelib import config
from chalicelib.aws.executions import StepFunctions
from chalicelib.aws.objects import Bucket
from chalicelib.aws.wake import WakeQueues
from chalicelib.backends import registry
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
        backend=cache(partial(registry.backend, settings)),
        backend_names=partial(registry.configured, settings),
    )


def _now() -> datetime:
    return datetime.now(UTC)

"""The first project and the first token, made by the control plane's own code against the emulator."""

import os
from contextlib import suppress
from datetime import timedelta
from typing import Final

from infra.local.deploy import Emulator
from infra.local.emulator import REGION

PROJECT: Final = "main"
LIFETIME: Final = timedelta(days=366)
"""The longest that the control plane allows."""


def seed(emulator: Emulator, stage: str, known: str) -> str:
    """Make the project and return an admin token for every project: `known` as long as it is good, else a new one.

    The code under `chalicelib` finds its tables by the environment, so this process's is pointed at the emulator.
    """
    for name in [name for name in os.environ if name.startswith(("AWS_", "TIDEPOOL_"))]:
        del os.environ[name]
    os.environ |= {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_ACCESS_KEY_ID": emulator.key,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "TIDEPOOL_STAGE": stage,
    }
    from chalicelib.domain.errors import AlreadyExistsError, UnauthenticatedError
    from chalicelib.domain.model import Role
    from chalicelib.services import pools, tokens
    from chalicelib.wiring import deps

    with suppress(AlreadyExistsError):
        pools.create_project(deps(), PROJECT)
    try:
        tokens.verify(deps(), known)
    except UnauthenticatedError:
        return tokens.issue(deps(), project=tokens.EVERY_PROJECT, name="local", role=Role.ADMIN, expires_in=LIFETIME)[1]
    return known

"""The first project and the first token, made by the control plane's own code against the emulator.

TIDEPOOL_TOKEN=<one that may be good> python -m infra.local.seed     (prints a token that is good)
"""

import os
import sys
from typing import Final

from infra.local import inside
from infra.local.deploy import Emulator

PROJECT: Final = "main"


def seed(emulator: Emulator, stage: str, known: str) -> str:
    """Make the project and return an admin token for every project: `known` as long as it is good, else a new one.

    Raises `InsideError`.
    """
    return inside.run(emulator, stage, __name__, TIDEPOOL_TOKEN=known)


def main() -> None:
    """Do it, with the tables of the environment."""
    from chalicelib.domain.errors import UnauthenticatedError
    from chalicelib.domain.model import Role
    from chalicelib.services import tokens
    from chalicelib.wiring import deps
    from infra.token import grant

    text = os.environ["TIDEPOOL_TOKEN"]
    try:
        tokens.verify(deps(), text)
    except UnauthenticatedError:
        lifetime = tokens.MAX_LIFETIME
        _, text = grant(deps(), PROJECT, name="local", role=Role.ADMIN, lifetime=lifetime, every_project=True)
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()

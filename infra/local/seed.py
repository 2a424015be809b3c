"""The first project and the first token, made by the control plane's own code against the emulator.

    TIDEPOOL_TOKEN=<one that may be good> python -m infra.local.seed     (prints a token that is good)

A process of its own: the code finds its tables by the environment, once, as it does in a function.
"""

import os
import subprocess
import sys
from typing import Final

from infra.build import ROOT
from infra.local.deploy import Emulator
from infra.local.emulator import REGION

PROJECT: Final = "main"
TIMEOUT_S: Final = 30


class SeedError(Exception):
    """The tables could not be written. The message is what the process said."""


def seed(emulator: Emulator, stage: str, known: str) -> str:
    """Make the project and return an admin token for every project: `known` as long as it is good, else a new one.

    Raises `SeedError`.
    """
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_ACCESS_KEY_ID": emulator.key,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "TIDEPOOL_STAGE": stage,
        "TIDEPOOL_TOKEN": known,
    }
    command = [sys.executable, "-m", "infra.local.seed"]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        raise SeedError(f"the first project could not be made:\n{done.stderr}")
    return done.stdout.strip()


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

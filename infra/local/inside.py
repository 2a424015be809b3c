"""The control plane's own code, run once against the emulator with the rights of its account.

A process of its own for each call: the code finds its tables by the environment, once, as it does in a function.
"""

import os
import subprocess
import sys
from typing import Final

from infra.build import ROOT
from infra.local.deploy import Emulator
from infra.local.emulator import REGION

TIMEOUT_S: Final = 120
"""A second or two is usual; a computer that does much else at the same time takes many times that."""


class InsideError(Exception):
    """The code did not come to its end. The message is what it said."""


def run(emulator: Emulator, stage: str, module: str, **settings: str) -> str:
    """Run a module and return what it prints. Raises `InsideError`, after two minutes at the latest."""
    environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_ACCESS_KEY_ID": emulator.key,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "TIDEPOOL_STAGE": stage,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=environ | settings,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InsideError(f"{module} did not end within {TIMEOUT_S} s") from error
    if done.returncode:
        raise InsideError(f"{module} failed:\n{done.stderr.strip()}")
    return done.stdout.strip()

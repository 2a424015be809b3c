"""Commands of `infra` as an operator runs them: in a process of their own, with keys of the emulator's account."""

import os
import subprocess
import sys

from infra.build import ROOT
from infra.local.deploy import Emulator
from infra.local.emulator import REGION


def run(emulator: Emulator, module: str, *arguments: str, region: str = REGION) -> subprocess.CompletedProcess[str]:
    """Run a module to its end, which it must reach within two minutes."""
    environ = {"PATH": os.environ["PATH"], "HOME": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"} | {
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_ACCESS_KEY_ID": emulator.key,
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": region,
    }
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)

"""Installs a peer into an environment of its own, where the project's packages are not."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.processes import BenchError

INSTALL_S: Final = 600


def installed(home: Path, requirement: str, command: str) -> Path:
    """Return a command of what is installed below `home`; it is installed when it is not there yet.

    Raises `BenchError` where that cannot be done, for want of an index of packages for instance.
    """
    programs = home / "venv" / "bin"
    marker = home / f"{requirement}.ready"
    if marker.exists():
        return programs / command
    home.mkdir(parents=True, exist_ok=True)
    pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    for words in ([sys.executable, "-m", "venv", str(home / "venv")], [*pip, requirement]):
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired:
            raise BenchError(f"skipped: {requirement} was not installed within {INSTALL_S} s") from None
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise BenchError(f"skipped: {requirement} cannot be installed here: {reason[0]}")
    marker.touch()
    return programs / command

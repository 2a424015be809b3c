"""Other processes: whole commands to be timed in turn, and parts of the benchmark that run alone to measure cleanly."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
KEPT: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV")
"""What measured processes see of the environment: no settings, no credentials, no switch that turns byte code off."""

COMMAND_LIMIT_S: Final = 120.0
PART_LIMIT_S: Final = 600.0
STAGE: Final = "bench"
INSIDE: Final = {
    "PYTHONPATH": "cli",
    "TIDEPOOL_STAGE": STAGE,
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What the project's code finds when it runs inside a part: a stage, and keys that open nothing."""


class BenchError(Exception):
    """A benchmark cannot be run. The message says why."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run. `env` is added to what is kept of this process's environment."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT

    def environ(self) -> dict[str, str]:
        """The whole environment that it runs in."""
        return {name: os.environ[name] for name in KEPT if name in os.environ} | dict(self.env)


@dataclass(frozen=True, slots=True)
class Timing:
    """One run of a whole process, from the fork until it is reaped."""

    wall_s: float
    cpu_s: float
    peak_mib: float


BARE: Final = Command([sys.executable, "-c", "pass"])
"""What nothing in Python can be faster than."""


def interleaved(commands: Mapping[str, Command], *, rounds: int, warm: int = 1) -> dict[str, list[Timing]]:
    """Time each command `rounds` times, in turn, after `warm` rounds that do not count."""
    described = {
        name: {"argv": list(each.argv), "env": each.environ(), "cwd": str(each.cwd)} for name, each in commands.items()
    }
    given = {"commands": described, "rounds": rounds, "warm": warm, "limit_s": COMMAND_LIMIT_S}
    timings = _run(["-m", "bench.spawn"], stdin=json.dumps(given), env={})
    return {name: [Timing(**each) for each in timings[name]] for name in commands}


def ratios(timings: Mapping[str, Sequence[Timing]], name: str, base: str) -> list[float]:
    """The wall time of one command over that of another, round by round."""
    return [each.wall_s / other.wall_s for each, other in zip(timings[name], timings[base], strict=True)]


def part(module: str, *arguments: object, env: Mapping[str, str] | None = None) -> Any:
    """Run a module of this package in a process of its own and return what it answered (`bench.quiet`)."""
    return _run(["-m", module, *map(str, arguments)], stdin="", env={**INSIDE, **(env or {})})


def _run(arguments: list[str], *, stdin: str, env: Mapping[str, str]) -> Any:
    command = Command([sys.executable, *arguments], env)
    try:
        done = subprocess.run(
            command.argv,
            env=command.environ(),
            cwd=command.cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PART_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{' '.join(arguments)} did not end within {PART_LIMIT_S:.0f} s") from None
    if done.returncode:
        raise BenchError(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])

"""The folder of a machine: its user data, its commands, its environment."""

import json
import os
import sys
from pathlib import Path
from shlex import quote
from typing import Final

from infra.local.cloud import nvidia
from infra.local.cloud.catalog import MachineType
from infra.local.cloud.processes import MARKER

PASSED_ON: Final = ("LANG", "LC_ALL", "LOGNAME", "TZ", "USER")
"""What a machine sees of the environment of the server, besides the search path. Nothing that could be a secret."""

POWER_OFF: Final = """\
#!/bin/sh
# Ends this machine, as `systemctl poweroff` would.
cd {folder} && touch powered-off && kill -USR1 "$(cat supervisor.pid)"
"""


def prepare(
    folder: Path, machine_id: str, kind: MachineType, user_data: str, *, boot_delay_s: float, silent: bool
) -> None:
    """Lay out the folder of a new machine; `machine.json`, what the supervisor reads, comes last.

    `user-data` may carry a token, so the folder is its owner's alone.
    """
    commands = folder / "bin"
    for path in (folder, commands, folder / "tmp"):
        path.mkdir(mode=0o700)
    _write(folder / "user-data", user_data, 0o600)
    _write(commands / "tidepool-poweroff", POWER_OFF.format(folder=quote(str(folder))), 0o700)
    if kind.gpu is not None:
        _write(commands / "nvidia-smi", nvidia.script(kind), 0o700)
    # The interpreter that runs the server is one that works; the first `python3` of the search path may not.
    (commands / "python3").symlink_to(Path(sys.executable).resolve())
    plan = {
        "id": machine_id,
        "boot_delay_s": boot_delay_s,
        "silent": silent,
        "env": environment(folder, machine_id, dict(os.environ)),
    }
    _write(folder / "machine.json", json.dumps(plan), 0o600)


def is_ready(folder: Path) -> bool:
    """Whether `prepare` came to its end here."""
    return (folder / "machine.json").exists()


def environment(folder: Path, machine_id: str, outside: dict[str, str]) -> dict[str, str]:
    """What the user data of a machine sees: a fixed list, whatever the server was started with."""
    return {
        **{name: outside[name] for name in PASSED_ON if name in outside},
        "PATH": os.pathsep.join((str(folder / "bin"), outside.get("PATH", os.defpath))),
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "TIDEPOOL_HOME": str(folder / "tidepool"),
        "TIDEPOOL_POWEROFF": quote(str(folder / "bin" / "tidepool-poweroff")),
        MARKER: machine_id,
    }


def _write(path: Path, text: str, mode: int) -> None:
    path.touch(mode=mode)
    path.write_text(text)

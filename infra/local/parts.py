"""The background processes of an embedded control plane: how each is started, awaited and stopped."""

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from infra.build import ROOT
from infra.local import daemons
from infra.local.cloud import processes
from infra.local.deploy import Emulator
from infra.local.folder import PARTS, Folder

STAGE: Final = "local"
STACK: Final = f"tidepool-{STAGE}"
START_S: Final = 120.0
POLL_S: Final = 0.02
STOP_S: Final = {"pump": 60.0, "control-plane": 120.0, "cloud": 60.0}
"""How long each part may take to end. The pump delivers what is left, the emulator stores its state."""

POWER_OFF_S: Final = 2.0
KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "TMPDIR", "VIRTUAL_ENV")
"""What the background processes see of the environment."""

HEALTH: Final = "/_ministack/health"


class LocalError(Exception):
    """The control plane cannot be brought up, or not be erased. The message says why and what to do."""


def last_port(folder: Folder) -> int:
    """The port that machines and clients of this folder know, or 0."""
    address = folder.client().get("TIDEPOOL_URL", "")
    return urllib.parse.urlsplit(address).port or 0


def free_port(wanted: int) -> int:
    """Return a port that is free now. Raises `LocalError` when the one wanted is not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise LocalError(f"port {wanted} is in use: choose another, make up ARGS='--port N'") from error
        return int(probe.getsockname()[1])


def emulate(folder: Folder, emulator: Emulator, *limits: str) -> None:
    """Start the emulator where `emulator` says."""
    place = ("--port", str(emulator.port), "--state", str(folder.state))
    launch(folder, "control-plane", "infra.local.emulator", *place, *limits)


def launch(folder: Folder, part: str, module: str, *arguments: str, secrets: dict[str, str] | None = None) -> None:
    """Start a part. Its log begins anew, and the one before is kept beside it; it sees `KEPT` and `secrets` only."""
    log = folder.log(part)
    if log.exists():
        log.replace(log.with_suffix(".old"))
    environ = {name: os.environ[name] for name in KEPT if name in os.environ} | (secrets or {})
    daemons.start(folder.pid(part), [sys.executable, "-m", module, *arguments], cwd=ROOT, log=log, environ=environ)


def answers(folder: Folder, part: str, url: str) -> None:
    """Wait until a part answers anything at all. Raises `LocalError` when it ends, or does not within two minutes."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            if not daemons.running(folder.pid(part)):
                raise LocalError(f"{part} ended at once; see {folder.log(part)}") from None
            time.sleep(POLL_S)
        else:
            return
    raise LocalError(f"{part} does not answer after {START_S:.0f} s; see {folder.log(part)}")


def stop(folder: Folder, *, leave_machines: bool) -> list[str]:
    """Stop the parts in their order; return those that had to be killed."""
    killed = []
    for part in PARTS:
        if not daemons.stop(folder.pid(part), within_s=STOP_S[part]):
            killed.append(part)
        if part == "cloud" and not leave_machines:
            _power_off(folder)
    return killed


def _power_off(folder: Folder) -> None:
    """End the processes of every machine. The local cloud, which is not running, starts them again when it is."""
    known = folder.machines / "machines.json"
    machines = [each["id"] for each in json.loads(known.read_text()) if not each["gone"]] if known.exists() else []
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(processes.end, grace_s=POWER_OFF_S), machines))

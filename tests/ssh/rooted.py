"""A folder that stands for a host's root, and a stand-in for the agent, to install and uninstall on this machine."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chalicelib.ssh import scripts
from chalicelib.ssh.layout import Layout
from chalicelib.ssh.scripts import Ownership, Report
from tests.ssh.recordings import NOW

SHELLS = [[shell, "-s"] for shell in ("dash", "bash") if shutil.which(shell)]
TOKEN = "tpb.0123456789.secretsecret"
PATIENCE_S = 60
AGENT = b"""
import json, os, sys, time
home = os.environ["TIDEPOOL_HOME"]
with open(home + "/starts", "a") as file:
    token = os.environ.get("TIDEPOOL_BOOTSTRAP", "")
    file.write(json.dumps({"token": token, "url": os.environ["TIDEPOOL_URL"], "pid": os.getpid()}) + chr(10))
with open(home + "/agent.json", "w") as file:
    json.dump({"token_id": "t-1"}, file)
time.sleep(300)
"""


@dataclass
class Root:
    """A folder that stands for a host's root."""

    folder: Path
    path: str = ""

    @property
    def layout(self) -> Layout:
        return Layout(
            etc=f"{self.folder}/etc/tidepool",
            home=f"{self.folder}/var/lib/tidepool",
            unit=f"{self.folder}/etc/systemd/tidepool-agent.service",
            boot=f"{self.folder}/etc/local.d/tidepool-agent.start",
        )

    def install(self, control_plane: str = "cp-1", instance_id: str = "i-1", *, shell=SHELLS[0], **given) -> Report:
        return scripts.parse_install(self.run(self.script(control_plane, instance_id, **given), shell))

    def script(self, control_plane: str = "cp-1", instance_id: str = "i-1", **given) -> str:
        owner = Ownership(control_plane, f"https://{control_plane}.example", "main", instance_id, NOW)
        wanted = {"api_url": "https://api.example", "token": TOKEN, "python": sys.executable, "program": AGENT} | given
        return scripts.install(owner, layout=self.layout, **wanted)

    def uninstall(self, control_plane: str = "cp-1", instance_id: str = "i-1", *, shell=SHELLS[0]) -> Report:
        return scripts.parse_uninstall(self.run(scripts.uninstall(control_plane, instance_id, self.layout), shell))

    def run(self, script: str, shell=SHELLS[0]) -> str:
        done = subprocess.run(
            shell, input=script, capture_output=True, text=True, timeout=60, check=False, env=self.environ
        )
        assert TOKEN not in done.stdout + done.stderr
        return done.stdout

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.path}:{os.environ['PATH']}" if self.path else os.environ["PATH"]}

    def stub(self, name: str, text: str) -> None:
        """Put a program of that name before the system's."""
        folder = self.folder.parent / "stubs"
        folder.mkdir(exist_ok=True)
        program = folder / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        self.path = str(folder)

    def owner(self) -> dict:
        return json.loads(Path(self.layout.owner).read_text())

    def starts(self, count: int = 1) -> list[dict]:
        """What the agent wrote when it started, after at least `count` starts."""
        path = Path(self.layout.home, "starts")
        self.until(lambda: path.exists() and path.read_text().count("\n") >= count)
        return [json.loads(line) for line in path.read_text().splitlines()]

    @staticmethod
    def until(condition: Callable[[], object]) -> None:
        """Wait until something is so."""
        give_up_at = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up_at, f"not within {PATIENCE_S} s"
            time.sleep(0.02)

    def agents(self) -> list[str]:
        return [line for line in self.processes() if "tidepool_agent.py" in line]

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))

    def processes(self) -> list[str]:
        """Command lines of whatever mentions the folder or carries its mark."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                marked = f"TIDEPOOL_MARK={self.layout.home}".encode() in (process / "environ").read_bytes().split(b"\0")
                if int(process.name) != os.getpid() and (marked or str(self.folder) in line):
                    found.append(line)
        return found

"""The scripts of an adoption, carried to a lab's host by the system's ssh, as `--from-here` does."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from chalicelib.domain.adoption import CheckResult, Wanted, judge
from chalicelib.domain.findings import Status
from chalicelib.domain.gpu_requirements import GpuRequirement
from chalicelib.domain.hosts import HostProbe
from chalicelib.ssh import probe, scripts
from chalicelib.ssh.session import ROOT_SHELL, SHELL
from tests.hosts.host import Host
from tests.hosts.keys import Key
from tests.hosts.lab import Lab

AGENT = Path(__file__).parents[2] / "chalicelib/agent/tidepool_agent.py"
PYTHON = "/usr/bin/python3"
SINCE = datetime(2030, 1, 2, tzinfo=UTC)


def look(lab: Lab, host: Host, key: Key, url: str) -> HostProbe:
    """Probe a host as its first user."""
    done = lab.ssh(host, SHELL, key=key, text=probe.script(url))
    assert done.returncode == 0, done.stderr
    return probe.parse(done.stdout)


def check(lab: Lab, host: Host, key: Key, url: str, *, gpu: GpuRequirement | None = None) -> dict[str, CheckResult]:
    """Probe a host and judge it: what is not fine, by its code."""
    found = look(lab, host, key, url)
    wanted = Wanted(url, "plane-1", "i-1", gpu=gpu)
    return {each.code: each for each in judge(found, wanted, datetime.now(UTC)) if each.status is not Status.PASS}


def installation(
    url: str, token: str, *, plane: str = "plane-1", instance: str = "i-1", take_over: bool = False
) -> str:
    """The script by which a control plane makes a host its own."""
    ownership = scripts.Ownership(plane, url, "main", instance, SINCE)
    program = AGENT.read_bytes()
    return scripts.install(ownership, api_url=url, token=token, python=PYTHON, program=program, take_over=take_over)


def as_root(lab: Lab, host: Host, key: Key, script: str) -> subprocess.CompletedProcess[str]:
    """Feed a script to a root shell on a host."""
    return lab.ssh(host, ROOT_SHELL, key=key, text=script)

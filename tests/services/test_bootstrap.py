"""What a machine is given to start with."""

import re
import subprocess

import pytest

from chalicelib.services import bootstrap
from tests.builders import make_attempt, make_instance

AWS_LIMIT = 16 << 10
"""Bytes of user data that EC2 takes."""


@pytest.fixture
def script(world):
    return bootstrap.script(world.deps, make_instance(), make_attempt(), "https://api.test/it's", "aws")


def run(script, folder, tool="", **environ):
    """Execute it with a `python3` and a `systemctl` that only say how they were called."""
    tools = folder / "bin"
    tools.mkdir()
    for name in ("python3", "systemctl"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@"\nenv | grep ^TIDEPOOL_\n')
        (tools / name).chmod(0o755)
    return subprocess.run(
        ["sh"],
        input=script,
        env={"PATH": f"{tools}:/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_it_is_a_shell_script_that_every_provider_takes(script):
    assert script.startswith("#!/bin/sh\n")
    assert len(script.encode()) < AWS_LIMIT
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0


def test_where_somebody_supervises_the_machine_it_becomes_the_agent_and_touches_no_service_manager(script, tmp_path):
    said = run(script, tmp_path, TIDEPOOL_HOME=str(tmp_path / "home"))
    assert "systemctl" not in said
    assert f"python3 {tmp_path}/home/start.py" in said
    assert "TIDEPOOL_URL=https://api.test/it's" in said
    assert "TIDEPOOL_NOTICE=aws" in said
    assert re.search(r"TIDEPOOL_BOOTSTRAP=tpb\.", said)


def test_no_secret_is_written_to_disk(script, tmp_path):
    run(script, tmp_path, TIDEPOOL_HOME=str(tmp_path / "home"))
    written = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert written
    assert all("tpb." not in path.read_text() and path.stat().st_mode & 0o077 == 0 for path in written)


def test_the_unit_names_no_secret_restarts_the_agent_and_spares_jobs():
    assert "BOOTSTRAP" not in bootstrap.UNIT
    assert "Restart=on-failure" in bootstrap.UNIT
    assert "KillMode=process" in bootstrap.UNIT

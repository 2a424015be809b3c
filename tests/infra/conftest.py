"""An emulator of its own for these tests, started once."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from infra.build import ROOT
from infra.local.deploy import Emulator
from infra.local.emulator import root_key


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    state = tmp_path_factory.mktemp("emulator")
    port = free_port()
    command = [sys.executable, "-m", "infra.local.emulator", "--port", str(port), "--state", str(state)]
    # What must not reach a function: credentials of the person who runs the tests.
    environ = dict(os.environ) | {"AWS_PROFILE": "personal", "AWS_SECRET_ACCESS_KEY": "personal", "GITHUB_TOKEN": "x"}
    process = subprocess.Popen([*command, "--parent", str(os.getpid())], cwd=ROOT, env=environ)
    found = Emulator(port, root_key(state))
    deadline = time.monotonic() + 20
    while not answers(f"{found.url}/_ministack/health"):
        assert process.poll() is None, "the emulator ended"
        assert time.monotonic() < deadline, "the emulator does not answer"
        time.sleep(0.05)
    yield found
    process.terminate()
    process.wait(15)

"""Tables to write to: moto in this process for one thread, the emulator in a process of its own for many.

moto is not safe for threads (it copies whole tables in a transaction), so nothing that races runs on it.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.store import pools, tables
from tests.builders import NOW, make_pool
from tests.store import faults

START_LIMIT_S = 30
STAGES = count(1)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that open nothing, and no endpoint but the one a fixture sets."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest.fixture
def dynamodb(aws: None) -> Iterator[None]:
    """Empty tables on moto, with the project `acme` and its pool `main`."""
    with mock_aws():
        tables.configure("test")
        create_tables("test")
        pools.create_project("acme", NOW)
        pools.create(make_pool())
        yield
        faults.reset()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an emulator that serves many threads at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    state = tmp_path_factory.mktemp("emulator")
    command = [sys.executable, "-m", "infra.local.emulator", "--port", str(port), "--state", str(state), "--no-auth"]
    root = Path(__file__).parents[2]
    with open(state / "log", "wb") as log:
        process = subprocess.Popen([*command, "--parent", str(os.getpid())], cwd=root, stdout=log, stderr=log)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/_ministack/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()  # a graceful stop would first store the state that nobody wants
        process.wait(timeout=START_LIMIT_S)


@pytest.fixture
def emulated(aws: None, emulator: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Empty tables on the emulator, with the project `acme` and its pool `main`; the value is a plain client."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator)
    stage = f"race{next(STAGES)}"
    tables.configure(stage)
    client = create_tables(stage)
    pools.create_project("acme", NOW)
    pools.create(make_pool())
    return client


@cache
def client_of(endpoint: str) -> Any:
    """A plain client for one address (empty: moto). Building one takes longer than most of these tests."""
    return boto3.client("dynamodb", endpoint_url=endpoint or None)


def create_tables(stage: str) -> Any:
    """Make every table of a stage; return the client."""
    client = client_of(os.environ.get("AWS_ENDPOINT_URL", ""))
    for definition in tables.schema(stage):
        client.create_table(**{name: value for name, value in definition.items() if name != "TimeToLiveAttribute"})
    return client


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_LIMIT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return

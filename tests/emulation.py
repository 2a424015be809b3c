"""What stands in for AWS in tests: keys that open nothing, the tables of a stage, the emulator as a process."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib.store import tables
from infra.build import ROOT
from infra.local.deploy import Emulator
from infra.local.emulator import REGION, root_key
from tests.ports import free_port

START_LIMIT_S = 120
STOP_LIMIT_S = 120


def set_keys(patch: pytest.MonkeyPatch, endpoint: str = "") -> None:
    """Put keys that open nothing into the environment, and no endpoint but the one given (empty: moto's)."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "test")
    patch.setenv("AWS_DEFAULT_REGION", REGION)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        patch.delenv(name, raising=False)
    if endpoint:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)


@cache
def dynamodb_at(endpoint: str) -> Any:
    """A plain client for one address (empty: moto). Building one takes longer than most of the tests."""
    return boto3.client("dynamodb", endpoint_url=endpoint or None)


def create_tables(stage: str, client: Any) -> None:
    """Make every table of a stage."""
    for definition in tables.schema(stage):
        client.create_table(**{name: value for name, value in definition.items() if name != "TimeToLiveAttribute"})


@contextmanager
def running_emulator(
    state: Path, *options: str, environ: Mapping[str, str] | None = None, has_functions: bool
) -> Iterator[Emulator]:
    """Run an emulator with its state in a folder. `options` are those of its command, `environ` is its environment.

    One that has functions ends gracefully, and they with it; another one is killed, because it would first store the
    tables that nobody wants.
    """
    port = free_port()
    command = [sys.executable, "-m", "infra.local.emulator", "--port", str(port), "--state", str(state), *options]
    with open(state / "log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--parent", str(os.getpid())], cwd=ROOT, env=environ, stdout=log, stderr=log
        )
    try:
        found = Emulator(port, root_key(state))
        _wait_until_ready(f"{found.url}/_ministack/health", process)
        yield found
    finally:
        (process.terminate if has_functions else process.kill)()
        process.wait(STOP_LIMIT_S)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_LIMIT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, "the emulator ended"
            assert time.monotonic() < end, "the emulator does not answer"
            time.sleep(0.05)
        else:
            return

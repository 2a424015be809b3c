"""The AWS edges against moto in this process."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.aws import clients
from tests.emulation import set_keys

BUCKET = "tidepool-test"


@pytest.fixture(scope="package", autouse=True)
def own_clients() -> Iterator[None]:
    """Clients that nobody else has. The tests share them, as making one takes longer than most tests do."""
    forget_clients()
    yield
    forget_clients()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keys that open nothing, and a bucket."""
    set_keys(monkeypatch)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token")
    with mock_aws():
        client("s3").create_bucket(Bucket=BUCKET)
        yield


@cache
def client(service: str) -> Any:
    """A plain client of moto."""
    return boto3.client(service)


def forget_clients() -> None:
    """Let the next use make new clients, as another process would."""
    clients.client.cache_clear()
    clients._session.cache_clear()

"""The AWS edges against moto in this process."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from chalicelib.aws import clients
from tests.emulation import set_keys

BUCKET = "tidepool-test"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keys that open nothing, a bucket, and clients of their own."""
    set_keys(monkeypatch)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token")
    forget_clients()
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield
    forget_clients()


def forget_clients() -> None:
    """Let the next use make new clients, as another process would."""
    clients.client.cache_clear()
    clients._session.cache_clear()

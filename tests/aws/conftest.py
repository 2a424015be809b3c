"""The AWS edges against moto in this process."""

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from chalicelib.aws import clients

BUCKET = "tidepool-test"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keys that open nothing, a bucket, and clients of their own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    forget_clients()
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield
    forget_clients()


def forget_clients() -> None:
    """Let the next use make new clients, as another process would."""
    clients.client.cache_clear()
    clients._session.cache_clear()

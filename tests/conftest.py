"""Tables of a test stage on moto, made anew for each test."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.store import tables


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty tables, in this process."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        tables.configure("test")
        client: Any = boto3.client("dynamodb")
        for definition in tables.schema("test"):
            client.create_table(**{key: value for key, value in definition.items() if key != "TimeToLiveAttribute"})
        yield

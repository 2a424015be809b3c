"""Tables on the emulator: its streams and transactions are right, and it is quicker than moto."""

from collections.abc import Iterator
from itertools import count

import pytest

from chalicelib.store import tables
from tests.store.conftest import aws, create_tables, emulator  # noqa: F401 - fixtures

STAGES = count(1)


@pytest.fixture
def dynamodb(aws: None, emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Empty tables; the value is their stage."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator)
    stage = f"sim{next(STAGES)}"
    tables.configure(stage)
    create_tables(stage)
    yield stage

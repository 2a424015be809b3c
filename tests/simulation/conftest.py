"""Tables on the emulator: its streams and transactions are right, and it is quicker than moto."""

import pytest


@pytest.fixture
def dynamodb(emulated: str) -> str:
    """Empty tables; the value is their stage."""
    return emulated

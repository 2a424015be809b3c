"""The contract on the driver of AWS, against a fake EC2 over HTTP; and what only EC2 does."""

from collections.abc import Iterator

import pytest

from chalicelib.backends.aws.driver import AwsBackend
from tests.backends.aws_account import AwsRehearsal, driver
from tests.backends.contract import CLASSES, BackendContract
from tests.fakes.aws.process import AwsProcess


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsProcess]:
    fake = AwsProcess().start()
    yield fake
    fake.stop()


HASTY_LIMIT_S = 2.0


@pytest.fixture(scope="module")
def patient(aws: AwsProcess) -> AwsBackend:
    """One driver for many tests: making the clients of two regions takes seconds."""
    return driver(aws)


@pytest.fixture(scope="module")
def impatient(aws: AwsProcess) -> AwsBackend:
    return driver(aws, limit_s=HASTY_LIMIT_S)


@pytest.fixture(scope="module")
def stranger(aws: AwsProcess) -> AwsBackend:
    return driver(aws, key_id="AKIAWRONGWRONGWRONG0")


class TestAws(BackendContract):
    kinds = tuple(kind for kind in CLASSES if kind != "balance")
    hasty_limit_s = HASTY_LIMIT_S
    unknown_ref = "us-east-1/i-0123456789abcdef0"

    @pytest.fixture
    def backend(self, patient):
        return patient

    @pytest.fixture
    def hasty(self, impatient):
        return impatient

    @pytest.fixture
    def locked_out(self, stranger):
        return stranger

    @pytest.fixture
    def rehearsal(self, aws):
        return AwsRehearsal(aws)

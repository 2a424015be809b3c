"""Credentials in Secrets Manager."""

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from chalicelib.aws.clients import client
from chalicelib.aws.secrets import SecretsManager
from chalicelib.domain.errors import UnavailableError

pytestmark = pytest.mark.usefixtures("aws")

NAME = "backends/acme/mine/1"


@pytest.fixture
def secrets():
    return SecretsManager("test")


def test_what_is_read_is_what_was_stored(secrets):
    assert secrets.get(NAME) is None
    secrets.put(NAME, {"key": "ä"})
    assert secrets.get(NAME) == {"key": "ä"}
    names = [each["Name"] for each in boto3.client("secretsmanager").list_secrets()["SecretList"]]
    assert names == ["tidepool-test/backends/acme/mine/1"]


def test_storing_the_same_again_is_fine(secrets):
    for _ in range(2):
        secrets.put(NAME, {"key": "1"})
    assert secrets.get(NAME) == {"key": "1"}


def test_what_is_deleted_is_gone_at_once_and_deleting_again_is_fine(secrets):
    secrets.put(NAME, {"key": "1"})
    for _ in range(2):
        secrets.delete(NAME)
    assert secrets.get(NAME) is None
    with pytest.raises(ClientError, match="ResourceNotFound"):
        boto3.client("secretsmanager").describe_secret(SecretId="tidepool-test/" + NAME)


def test_what_an_operator_has_marked_for_deletion_is_gone_for_us(secrets):
    secrets.put(NAME, {"key": "1"})
    boto3.client("secretsmanager").delete_secret(SecretId="tidepool-test/" + NAME, RecoveryWindowInDays=7)
    assert secrets.get(NAME) is None


def test_a_secret_that_cannot_be_read_is_not_taken_for_an_absent_one(secrets):
    with Stubber(client("secretsmanager")) as stub:
        stub.add_client_error("get_secret_value", "AccessDeniedException")
        with pytest.raises(UnavailableError, match="AccessDenied"):
            secrets.get(NAME)


def test_a_refused_write_is_raised_as_it_is(secrets):
    with Stubber(client("secretsmanager")) as stub:
        stub.add_client_error("create_secret", "LimitExceededException")
        stub.add_client_error("delete_secret", "AccessDeniedException")
        with pytest.raises(ClientError, match="LimitExceeded"):
            secrets.put(NAME, {"key": "1"})
        with pytest.raises(ClientError, match="AccessDenied"):
            secrets.delete(NAME)

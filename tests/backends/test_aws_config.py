"""What an AWS account may be configured with, and what it is told otherwise."""

import pytest

from chalicelib.backends.aws import config
from chalicelib.domain.errors import InvalidInputError

ROLE = "arn:aws:iam::123456789012:role/tidepool-machines"
KEYS = {"access_key_id": "AKIA0123456789ABCDEF", "secret_access_key": "s" * 40}


def test_a_role_alone_is_enough_and_the_rest_has_defaults():
    assert config.parse({"role_arn": ROLE}, {}) == (
        {"role_arn": ROLE, "regions": ["us-east-1"], "disk_gb": 100},
        {},
    )


def test_keys_alone_are_enough():
    assert config.parse({}, KEYS) == ({"regions": ["us-east-1"], "disk_gb": 100}, KEYS)


def test_the_account_of_a_role_is_in_its_name_and_that_of_keys_is_whatever_aws_says():
    by_role, _ = config.parse({"role_arn": ROLE}, {})
    by_keys, _ = config.parse({}, KEYS)
    assert config.identity(by_role, "") == config.identity(by_keys, "123456789012") == "123456789012"
    assert config.identity(by_keys, "210987654321") != config.identity(by_role, "")
    assert config.identity(by_keys, "") == ""


def test_everything_that_can_be_said():
    said = {
        "role_arn": ROLE,
        "external_id": "a-secret-of-two",
        "regions": ["eu-central-1", "us-gov-west-1", "eu-central-1"],
        "subnets": {"eu-central-1": "subnet-0bbbbbbb, subnet-0aaaaaaa"},
        "image": {"eu-central-1": "ami-0123456789abcdef0"},
        "disk_gb": "500",
    }
    parsed, _ = config.parse(said, {})
    assert parsed == {
        **said,
        "regions": ["eu-central-1", "us-gov-west-1"],
        "subnets": {"eu-central-1": ["subnet-0aaaaaaa", "subnet-0bbbbbbb"]},
        "disk_gb": 500,
    }
    assert config.parse(parsed, {}) == (parsed, {}), "what was made uniform stays as it is"


def test_regions_may_be_a_text_with_commas():
    assert config.parse({"role_arn": ROLE, "regions": "us-east-1, eu-west-1"}, {})[0]["regions"] == [
        "us-east-1",
        "eu-west-1",
    ]


@pytest.mark.parametrize(
    ("given", "credentials", "field"),
    [
        ({}, {}, "config.role_arn"),
        ({"role_arn": ROLE}, KEYS, "config.role_arn"),
        ({"role_arn": "arn:aws:iam::123456789012:role/admin"}, {}, "config.role_arn"),
        ({"role_arn": "arn:aws:iam::123456789012:role/path/tidepool-x"}, {}, "config.role_arn"),
        ({"role_arn": ROLE, "external_id": "x"}, {}, "config.external_id"),
        ({"external_id": "abc"}, KEYS, "config.external_id"),
        ({"role_arn": ROLE, "region": "us-east-1"}, {}, "config.region"),
        ({"role_arn": ROLE, "regions": ["Frankfurt"]}, {}, "config.regions"),
        ({"role_arn": ROLE, "regions": [7]}, {}, "config.regions"),
        ({"role_arn": ROLE, "regions": {"us-east-1": True}}, {}, "config.regions"),
        ({"role_arn": ROLE, "subnets": ["subnet-0aaaaaaa"]}, {}, "config.subnets"),
        ({"role_arn": ROLE, "subnets": {"eu-west-1": ["subnet-0aaaaaaa"]}}, {}, "config.subnets"),
        ({"role_arn": ROLE, "subnets": {"us-east-1": ["vpc-0aaaaaaa"]}}, {}, "config.subnets.us-east-1"),
        ({"role_arn": ROLE, "subnets": {"us-east-1": []}}, {}, "config.subnets.us-east-1"),
        ({"role_arn": ROLE, "image": {"us-east-1": "ubuntu"}}, {}, "config.image.us-east-1"),
        ({"role_arn": ROLE, "disk_gb": 7}, {}, "config.disk_gb"),
        ({"role_arn": ROLE, "disk_gb": True}, {}, "config.disk_gb"),
        ({"role_arn": ROLE, "disk_gb": "100 GB"}, {}, "config.disk_gb"),
        ({}, {"access_key_id": KEYS["access_key_id"]}, "credentials.secret_access_key"),
        ({}, {**KEYS, "access_key_id": "ASIA0123456789ABCDEF"}, "credentials.access_key_id"),
        ({}, {**KEYS, "session_token": "x"}, "credentials.session_token"),
    ],
)
def test_what_is_wrong_is_named(given, credentials, field):
    with pytest.raises(InvalidInputError) as caught:
        config.parse(given, credentials)
    assert caught.value.field == field


def test_a_wrong_secret_is_not_repeated():
    with pytest.raises(InvalidInputError) as caught:
        config.parse({}, {**KEYS, "secret_access_key": "hunter2"})
    assert "hunter2" not in str(caught.value.context) + str(caught.value)

"""What an Azure account may be configured with."""

import pytest

from chalicelib.backends.azure.config import DISK_GB, identity, parse
from chalicelib.domain.errors import InvalidInputError
from tests.fakes.azure.server import CLIENT, CONFIG, SECRET, SUBSCRIPTION, TENANT

CREDENTIALS = {"client_secret": SECRET}
SUBNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/n/subnets/mine"


def test_what_is_given_is_normalised_and_the_rest_has_defaults():
    given = {**CONFIG, "regions": "West US 3, westus2,westus3", "subscription_id": f" {SUBSCRIPTION.upper()} "}
    config, credentials = parse(given, {"client_secret": f"{SECRET}\n"})
    assert config == {
        "subscription_id": SUBSCRIPTION,
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "resource_group": "tidepool-machines",
        "regions": ["westus3", "westus2"],
        "subnets": {},
        "images": {},
        "disk_gb": DISK_GB,
    }
    assert credentials == {"client_secret": SECRET}


def test_what_is_normal_stays_as_it_is():
    given = {
        **CONFIG,
        "subnets": {"westus3": SUBNET},
        "images": {"westus2": "a:b:c:latest", "eastus": "/CommunityGalleries/x/Images/y/Versions/1.0.0"},
        "disk_gb": 256,
    }
    once = parse(given, CREDENTIALS)
    assert parse(*once) == once


def test_an_account_is_its_resource_group_however_it_is_written():
    config, _ = parse(CONFIG, CREDENTIALS)
    same, _ = parse({**CONFIG, "resource_group": "Tidepool-Machines", "regions": ["eastus"]}, CREDENTIALS)
    other, _ = parse({**CONFIG, "resource_group": "others"}, CREDENTIALS)
    assert identity(same, "") == identity(config, "") != identity(other, "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subscription_id", "my subscription"),
        ("subscription_id", None),
        ("tenant_id", "contoso.com"),
        ("client_id", 7),
        ("resource_group", "ends-with-a-dot."),
        ("resource_group", ""),
        ("regions", []),
        ("regions", "west-us"),
        ("regions", [3]),
        ("regions", {"westus3": 1}),
        ("subnets", "here"),
        ("subnets.westus3", "my-subnet"),
        ("subnets.moon", SUBNET),
        ("images.westus3", "ubuntu"),
        ("disk_gb", 30),
        ("disk_gb", 9999),
        ("disk_gb", True),
        ("disk_gb", "many"),
        ("endpoint_url", "http://127.0.0.1:1"),
    ],
)
def test_what_is_wrong_is_named(field, value):
    name, _, region = field.partition(".")
    with pytest.raises(InvalidInputError) as caught:
        parse({**CONFIG, name: {region: value} if region else value}, CREDENTIALS)
    assert caught.value.field == f"config.{field}"


@pytest.mark.parametrize("given", [{}, {"client_secret": " "}, {"client_secret": 1}, {"client_secret": None}])
def test_a_missing_secret_is_named(given):
    with pytest.raises(InvalidInputError) as caught:
        parse(CONFIG, given)
    assert caught.value.field == "credentials.client_secret"


def test_an_unknown_credential_is_refused_without_its_value():
    with pytest.raises(InvalidInputError) as caught:
        parse(CONFIG, {"client_secret": SECRET, "certificate": "-----BEGIN"})
    assert caught.value.field == "credentials.certificate"
    assert "BEGIN" not in str(caught.value)

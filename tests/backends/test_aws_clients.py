"""Clients cost memory: the models of AWS's services are shared by all accounts, and a region costs when it is used."""

from chalicelib.backends.aws.driver import AwsBackend
from chalicelib.backends.base import Account

KEYS = {"access_key_id": "AKIA", "secret_access_key": "secret"}
REGIONS = ["us-east-1", "eu-central-1"]


def account(name):
    return AwsBackend(Account("main", name, "aws", {"regions": REGIONS, "disk_gb": 100}, KEYS))


def test_accounts_share_the_models_of_services():
    models = {id(account(name)._clients._session().get_component("data_loader")) for name in ("one", "two")}
    assert len(models) == 1


def test_a_region_that_is_not_used_has_no_client():
    backend = account("one")
    assert backend._clients._made == {}
    client = backend._clients.of("ec2", "eu-central-1")
    assert backend._clients.of("ec2", "eu-central-1") is client
    assert [region for _, region, _ in backend._clients._made] == ["eu-central-1"]

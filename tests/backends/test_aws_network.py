"""What a backend that says `cluster` promises: the machines that it rents in one region reach each other."""

from collections.abc import Iterator, Sequence
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.backends.aws.network import Network
from chalicelib.domain.errors import InvalidRequestError

REGION = "us-east-1"
OWNER = "tidepool-test"


class Clients:
    """Clients of the fake, as the driver's own have them."""

    def of(self, service: str, region: str) -> Any:
        return boto3.client(service, region_name=region)


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)


def group_of(chosen: dict[str, Sequence[str]] | None = None) -> str:
    """The security group that a machine of a new process is put in."""
    return Network(Clients(), chosen or {}).place(REGION, "", owner=OWNER, attempt_id="i-1-1").group


def sources(ec2: Any, group: str) -> list[tuple[str, str]]:
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    rules = found["IpPermissions"]
    assert not any(rule["IpRanges"] or rule["Ipv6Ranges"] for rule in rules)
    return [(rule["IpProtocol"], pair["GroupId"]) for rule in rules for pair in rule["UserIdGroupPairs"]]


def test_machines_of_one_region_may_call_each_other_and_nobody_else_may_call_them(ec2):
    group = group_of()
    assert sources(ec2, group) == [("-1", group)]


def test_a_group_whose_maker_died_before_it_was_open_is_opened_by_the_next(ec2):
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    made = ec2.create_security_group(GroupName=OWNER, Description="half made", VpcId=vpc["VpcId"])["GroupId"]
    assert [group_of(), group_of()] == [made, made]
    assert sources(ec2, made) == [("-1", made)]


def test_subnets_of_several_networks_in_one_region_are_refused_with_their_names(ec2):
    subnets, vpcs = [], []
    for block in ("10.1.0.0/16", "10.2.0.0/16"):
        vpcs.append(ec2.create_vpc(CidrBlock=block)["Vpc"]["VpcId"])
        subnets.append(ec2.create_subnet(VpcId=vpcs[-1], CidrBlock=block)["Subnet"]["SubnetId"])
    assert group_of({REGION: subnets[:1]})
    with pytest.raises(InvalidRequestError, match="several networks") as refused:
        group_of({REGION: subnets})
    assert all(vpc in refused.value.detail for vpc in vpcs)

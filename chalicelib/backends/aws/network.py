"""Where machines are put: the subnets of an account and one security group in each of their networks.

The default network of a region is used unless the account names subnets. The group lets nothing in but what its own
machines send each other, which nodes of one run do; else machines only call out. It is made once for each network and
owner, is shared by all machines, and costs nothing. All subnets of a region are of one network, because machines of one
region count as a cluster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Any

from chalicelib.backends.aws.clients import Clients, raised
from chalicelib.backends.aws.errors import code
from chalicelib.backends.aws.machines import OWNER_TAG
from chalicelib.backends.aws.request import Place
from chalicelib.domain.errors import InvalidRequestError, TransientError


@dataclass(frozen=True, slots=True)
class Subnet:
    """One subnet that machines may be put in."""

    subnet_id: str
    zone: str
    vpc: str


class Network:
    """The network of one account. `chosen` has the subnets of regions whose default network is not to be used."""

    def __init__(self, clients: Clients, chosen: Mapping[str, Sequence[str]]) -> None:
        self._clients = clients
        self._chosen = chosen
        self._guard = Lock()
        self._subnets: dict[str, tuple[Subnet, ...]] = {}
        self._groups: dict[tuple[str, str, str], str] = {}

    def place(self, region: str, zone: str, *, owner: str, attempt_id: str) -> Place:
        """Choose where a machine goes, the same for the same attempt. Makes the security group when there is none.

        Without a `zone` EC2 chooses among the subnets of the default network, as it knows best where there is
        capacity; among subnets that were chosen nobody else can. Raises `InvalidRequestError` when no subnet fits.
        """
        fitting = [subnet for subnet in self.subnets(region) if zone in ("", subnet.zone)]
        if not fitting:
            raise InvalidRequestError(f"aws: no subnet for machines in {zone or region}")
        subnet = fitting[int(sha256(attempt_id.encode()).hexdigest(), 16) % len(fitting)]
        is_open = not zone and region not in self._chosen
        return Place("" if is_open else subnet.subnet_id, self._group(region, subnet.vpc, owner))

    def subnets(self, region: str) -> tuple[Subnet, ...]:
        """The subnets of a region that machines may be put in, by id; none where there is no default network."""
        with self._guard:
            known = self._subnets.get(region)
        if known is None:
            known = self._described(region)
        if known:  # what is missing may be added at any moment
            with self._guard:
                self._subnets[region] = known
        return known

    def find_group(self, region: str, vpc: str, owner: str) -> Mapping[str, Any] | None:
        """The security group of an owner in one network, as EC2 describes it."""
        wanted = [{"Name": "group-name", "Values": [owner]}, {"Name": "vpc-id", "Values": [vpc]}]
        with raised():
            groups = self._clients.of("ec2", region).describe_security_groups(Filters=wanted)["SecurityGroups"]
        return next(iter(groups), None)

    def forget(self, region: str) -> None:
        """Look up a region anew: something of it is not there any more."""
        with self._guard:
            self._subnets.pop(region, None)
            self._groups = {key: group for key, group in self._groups.items() if key[0] != region}

    def _described(self, region: str) -> tuple[Subnet, ...]:
        chosen = self._chosen.get(region)
        wanted: dict[str, Any] = (
            {"SubnetIds": list(chosen)} if chosen else {"Filters": [{"Name": "default-for-az", "Values": ["true"]}]}
        )
        with raised():
            rows = self._clients.of("ec2", region).describe_subnets(**wanted)["Subnets"]
            found = [Subnet(row["SubnetId"], row["AvailabilityZone"], row["VpcId"]) for row in rows]
        networks = sorted({subnet.vpc for subnet in found})
        if len(networks) > 1:
            known = ", ".join(networks)
            raise InvalidRequestError(
                f"aws: the subnets of {region} are of several networks ({known}); name those of one"
            )
        return tuple(sorted(found, key=lambda subnet: subnet.subnet_id))

    def _group(self, region: str, vpc: str, owner: str) -> str:
        key = (region, vpc, owner)
        with self._guard:
            known = self._groups.get(key)
        if known is None:
            found = self.find_group(region, vpc, owner)
            known = found["GroupId"] if found else self._make_group(region, vpc, owner)
            self._open(region, known, found["IpPermissions"] if found else ())
            with self._guard:
                self._groups[key] = known
        return known

    def _open(self, region: str, group: str, rules: Sequence[Mapping[str, Any]]) -> None:
        """Let the machines of a group reach each other, unless its rules do. Who made it may have died before that."""
        from botocore.exceptions import ClientError

        inner = [rule for rule in rules if rule["IpProtocol"] == "-1"]
        if any(pair["GroupId"] == group for rule in inner for pair in rule["UserIdGroupPairs"]):
            return
        rule = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
        with raised():
            try:
                self._clients.of("ec2", region).authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
            except ClientError as error:
                if code(error) != "InvalidPermission.Duplicate":
                    raise

    def _make_group(self, region: str, vpc: str, owner: str) -> str:
        """Make the group, or find that another worker was quicker.

        A group whose answer was lost is found by its name the next time: a name is unique in its network.
        """
        from botocore.exceptions import ClientError

        tags = [{"Key": OWNER_TAG, "Value": owner}]
        with raised():
            try:
                made = self._clients.of("ec2", region).create_security_group(
                    GroupName=owner,
                    Description="Machines of tidepool: they reach each other, nothing else comes in",
                    VpcId=vpc,
                    TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
                )
                return str(made["GroupId"])
            except ClientError as error:
                if code(error) != "InvalidGroup.Duplicate":
                    raise
        found = self.find_group(region, vpc, owner)
        if found is None:
            raise TransientError(f"aws: the security group {owner} was just made and cannot be seen yet")
        return str(found["GroupId"])

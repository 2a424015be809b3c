"""Where machines are put: a virtual network, subnet and security group for each region, made once and kept.

The security group has no rule of its own, which keeps everything out that does not come from the same network.
"""

from collections.abc import Mapping
from typing import Any, Final

API_VERSION: Final = "2024-05-01"
ADDRESSES: Final = "10.64.0.0/16"
SUBNET: Final = "machines"


def group_id(config: Mapping[str, Any]) -> str:
    """The resource id of the account's resource group."""
    return f"/subscriptions/{config['subscription_id']}/resourceGroups/{config['resource_group']}"


def security_group_id(config: Mapping[str, Any], region: str) -> str:
    """The resource id of a region's security group."""
    return f"{group_id(config)}/providers/Microsoft.Network/networkSecurityGroups/tidepool-{region}"


def network_id(config: Mapping[str, Any], region: str) -> str:
    """The resource id of a region's virtual network."""
    return f"{group_id(config)}/providers/Microsoft.Network/virtualNetworks/tidepool-{region}"


def subnet_id(config: Mapping[str, Any], region: str) -> str:
    """The resource id of the subnet that machines of a region are put into, unless the account names one."""
    return f"{network_id(config, region)}/subnets/{SUBNET}"


def parts(config: Mapping[str, Any], region: str, tags: Mapping[str, str]) -> tuple[tuple[str, dict[str, Any]], ...]:
    """What a region needs, in the order it must be made: the resource id and the body of the PUT of each."""
    group = {"location": region, "tags": dict(tags), "properties": {"securityRules": []}}
    subnet = {
        "name": SUBNET,
        "properties": {
            "addressPrefix": ADDRESSES,
            "networkSecurityGroup": {"id": security_group_id(config, region)},
        },
    }
    space = {"addressSpace": {"addressPrefixes": [ADDRESSES]}, "subnets": [subnet]}
    return (
        (security_group_id(config, region), group),
        (network_id(config, region), {"location": region, "tags": dict(tags), "properties": space}),
    )

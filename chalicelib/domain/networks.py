"""Networks of hosts: which of a host's addresses its neighbours reach it by, and which hosts are neighbours.

One rule above all: nothing is chosen by accident. What a container engine, a hypervisor or an overlay made on the host
is taken only when its network is named.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from typing import Final

from chalicelib.domain.errors import InvalidInputError, TidepoolError
from chalicelib.domain.hosts import Address

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

NETWORK_FORM: Final = "a network such as 10.0.0.0/24 or fd00:1::/64 (a host's address with its prefix is fine)"

MADE_HERE: Final = re.compile(
    r"lo[0-9]*$|docker|br-|veth|virbr|vnet|vmnet|vboxnet|lxcbr|lxdbr|podman|cni|flannel|cali|cilium|lxc|weave|kube|nodelocal"
    r"|tailscale|wg|zt|utun|tun|tap|ppp|nebula|dummy|ip6tnl|sit|gre|vxlan|geneve|tunl"
)
"""How the names of interfaces begin that lead to nowhere but this host, or into an overlay."""

CARRIER_GRADE: Final = ip_network("100.64.0.0/10")
"""RFC 6598. Overlays such as Tailscale hand out addresses of it; some providers do as well."""

SEPARATOR: Final = "|"
"""Between a site and its network in a key. No CIDR has it, and no name of a region does."""


class NoAddressInNetworkError(TidepoolError):
    """The host has no address that its neighbours could use. `context["addresses"]` lists those it has."""

    code, status, exit_code = "no-address-in-network", 422, 2


def parse_network(text: str, field: str = "network") -> Network:
    """Read a CIDR. Host bits are fine (`10.0.0.5/24` is `10.0.0.0/24`), and a bare address is a network of one."""
    try:
        network = ip_interface(text.strip()).network
    except ValueError:
        raise InvalidInputError(field, text, NETWORK_FORM) from None
    if network.prefixlen == 0 or network.is_loopback or network.is_multicast:
        raise InvalidInputError(field, text, f"{NETWORK_FORM}, not one that is everything, loopback or multicast")
    return network


def internal_address(
    addresses: Sequence[Address], default_interfaces: Sequence[str], network: Network | None = None
) -> Interface:
    """Choose the address that other hosts of the same network reach this one by.

    With `network`, one inside it, on whatever interface. Without, one that leads somewhere: not of an interface that
    was made on this host, no overlay, not link-local, not carrier-grade. Among several: on the interface of the default
    route first, private before public, IPv4 before IPv6, then by interface and by value: the order of the list may
    change with each start.

    Raises `NoAddressInNetworkError`, with everything the host has.
    """
    usable = [each for each in addresses if _is_usable(each, network)]
    if not usable:
        raise _no_address(addresses, network)

    def rank(each: Address) -> tuple[bool, bool, int, str, int]:
        ip = each.value.ip
        return (each.interface not in default_interfaces, not ip.is_private, ip.version, each.interface, int(ip))

    return min(usable, key=rank).value


def private_address(told: object) -> str:
    """Choose from what an agent says of its addresses (a list of texts, its best guess first) the one for neighbours.

    Private before public, IPv4 before IPv6; "" when there is none that could be one.
    """
    usable = []
    for text in told if isinstance(told, list) else []:
        try:
            ip = ip_address(text)
        except ValueError:
            continue
        if not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast):
            usable.append(ip)
    return str(min(usable, key=lambda ip: (not ip.is_private, ip.version), default=""))


def address_in(told: object, network: str, known: str) -> str:
    """Choose from what an agent says of its addresses the one in a network: the known one if it is still there.

    What cannot be read says nothing: then it is the known one too.
    """
    texts = [text for text in told if isinstance(text, str)] if isinstance(told, list) else []
    if known in texts or not network:
        return known
    for text in texts:
        try:
            if ip_address(text) in ip_network(network):
                return text
        except ValueError:
            continue
    return known


def network_key(site: str, interface: Interface, network: Network | None = None) -> str:
    """Name the network of a host, such as `remote|10.0.0.0/24`. Nodes of one job come from one key only.

    The network is the one that was named, else the one the address's own prefix says. Two sites may both use
    10.0.0.0/24 and are still two networks, so the site (an instance's region) is part of the key. A bare host prefix
    (/32, /128: what clouds and overlays configure) says nothing of neighbours, so without a named network such a host
    is a network of its own.
    """
    return f"{site}{SEPARATOR}{(network or interface.network).compressed}"


def _is_usable(address: Address, network: Network | None) -> bool:
    ip = address.value.ip
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified:
        return False
    if network is not None:
        return ip in network
    return not (MADE_HERE.match(address.interface) or ip.is_link_local or (ip.version == 4 and ip in CARRIER_GRADE))


def _no_address(addresses: Sequence[Address], network: Network | None) -> NoAddressInNetworkError:
    has = [f"{each.value.compressed} ({each.interface})" for each in addresses]
    listed = ", ".join(has) or "none"
    if network is not None:
        return NoAddressInNetworkError(f"the host has no address inside {network}; it has {listed}", addresses=has)
    words = "the host has no address that other hosts could reach it by; name its network with --network. It has "
    return NoAddressInNetworkError(words + listed, addresses=has)

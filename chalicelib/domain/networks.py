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

OF_THIS_HOST: Final = re.compile(
    r"docker[0-9]|br-[0-9a-f]{12}$|veth|virbr|vnet|vmnet|vboxnet|lxcbr|lxdbr|podman|cni|cali|lxc|nodelocal|dummy"
)
"""How those of them begin that lead to containers and guests of this very host. Every host has the same addresses there
(172.17.0.1 is docker0's everywhere), so they are not taken even when their network is named."""

MOST_TOLD: Final = 64
"""Addresses of one host that are looked at. A host of a Kubernetes cluster has some dozens."""

VIA: Final = " via "
"""Between a network and the way to it in a key. No CIDR has blanks."""


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

    With `network`, one inside it, on whatever interface but those of `OF_THIS_HOST`. Without, one that leads somewhere:
    not of an interface that was made on this host, no overlay, not link-local, not carrier-grade. Among several: on the
    interface of the default route first, private before public, IPv4 before IPv6, then by interface and by value: the
    order of the list may change with each start.

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


def network_key(network: Network, via: str = "") -> str:
    """Name the network of hosts, such as `10.0.0.0/24` or `10.0.0.0/24 via bastion-a:22`.

    Hosts of one region and of one such key reach each other, and nodes of one job come from one only. Two sites may
    both use 10.0.0.0/24 and are still two networks, so the way in (`HostRecord.via`) is part of the key.
    """
    return f"{network.compressed}{VIA}{via}" if via else network.compressed


def network_of(key: str) -> Network:
    """Return the network that a key names."""
    return ip_network(key.partition(VIA)[0])


def told_addresses(told: object) -> tuple[str, ...]:
    """Return the addresses among what an agent says of them (a list of texts), in its order, at most `MOST_TOLD`."""
    found: list[str] = []
    for text in told[:MOST_TOLD] if isinstance(told, list) else []:
        try:
            found.append(str(ip_address(str(text))))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


def _is_usable(address: Address, network: Network | None) -> bool:
    ip = address.value.ip
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified:
        return False
    if network is not None:
        return ip in network and not OF_THIS_HOST.match(address.interface)
    return not (MADE_HERE.match(address.interface) or ip.is_link_local or (ip.version == 4 and ip in CARRIER_GRADE))


def _no_address(addresses: Sequence[Address], network: Network | None) -> NoAddressInNetworkError:
    has = [f"{each.value.compressed} ({each.interface})" for each in addresses]
    listed = ", ".join(has) or "none"
    if network is not None:
        inside = [each.interface for each in addresses if each.value.ip in network]
        words = (
            f" that other hosts could reach: {', '.join(inside)} leads to guests of this host alone" if inside else ""
        )
        return NoAddressInNetworkError(
            f"the host has no address inside {network}{words}; it has {listed}", addresses=has
        )
    words = "the host has no address that other hosts could reach it by; name its network with --network. It has "
    return NoAddressInNetworkError(words + listed, addresses=has)

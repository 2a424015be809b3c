"""Where we may connect to. The function that adopts hosts stands inside the VPC and must be no door into it.

A name is resolved once; every address it has must be allowed, and the connection goes to one of the very addresses
that were checked, so that a name that answers differently a moment later gains nothing.
"""

import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from chalicelib.domain.errors import InvalidInputError
from chalicelib.ssh.errors import TargetNeverError, TargetRefusedError, UnreachableError

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Lookup = Callable[..., Sequence[Any]]
"""`socket.getaddrinfo`, or what stands for it."""

NEVER: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(cidr), why)
    for cidr, why in (
        ("0.0.0.0/8", "unspecified"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local, where metadata services are"),
        ("168.63.129.16/32", "the platform address of Azure"),
        ("100.100.100.200/32", "the metadata service of Alibaba Cloud"),
        ("192.0.0.192/32", "the metadata service of Oracle Cloud"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, or broadcast"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fe80::/10", "link-local"),
        ("fd00:ec2::/32", "where AWS has its metadata service"),
        ("fd20:ce::254/128", "the metadata service of Google Cloud"),
        ("ff00::/8", "multicast"),
    )
)
"""Refused whatever the allow-list says."""

TRANSLATED: Final = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")))
"""An IPv4 address stands in the last 32 bits: NAT64 of all (RFC 6052) and of a site (RFC 8215), SIIT (RFC 2765)."""

OWN_NAMES: Final = (
    "localhost", "ip6-localhost", "ip6-loopback", "metadata", "metadata.google.internal", "instance-data",
)  # fmt: skip
"""Names that mean, wherever they are resolved, the machine itself or the metadata service of its cloud."""


FEW: Final = 3
"""Networks that a refusal names."""


def parse_allowed(cidrs: Iterable[str], field: str = "ssh_targets") -> tuple[Network, ...]:
    """Read an allow-list of CIDRs. Empty admits nothing."""
    networks = []
    for text in cidrs:
        try:
            networks.append(ip_network(text.strip()))
        except ValueError:
            raise InvalidInputError(field, text, "a network without host bits, such as 10.0.0.0/8") from None
    return tuple(networks)


def resolve(host: str, port: int, allowed: Sequence[Network], *, lookup: Lookup = socket.getaddrinfo) -> tuple[Ip, ...]:
    """Turn a host into the addresses to try, in the resolver's order.

    Raises `TargetRefusedError` where any of them may not be connected to, and `UnreachableError` (cause `dns`) where
    there is none.
    """
    addresses = _addresses(host, port, lookup)
    for address in addresses:
        if error := refusal(host, address, allowed):
            raise error
    return addresses


def refuse_behind(host: str) -> None:
    """Refuse a host behind a jump host that can be told from here to be none: the jump host's own loopback or metadata.

    Names are resolved over there, so what one leads to is not known; a number in any spelling is. Raises
    `TargetNeverError`.
    """
    plain = host.casefold().rstrip(".")
    if plain in OWN_NAMES or plain.endswith(".localhost"):
        raise TargetNeverError(f"{host}: such a name is never connected to", host=host)
    address = _literal(host)
    for network, why in NEVER if address else ():
        if address and _inner(address) in network:
            words = f"{host}: such an address ({why}) is never connected to, through a jump host neither"
            raise TargetNeverError(words, host=host, address=str(address))


def refusal(host: str, address: Ip, allowed: Sequence[Network]) -> TargetRefusedError | None:
    """Say why an address of a host may not be connected to. IPv4 inside of IPv6 counts as the IPv4 it is."""
    inner, named = _inner(address), f"{host} is {address}" if str(address) != host else host
    for network, why in NEVER:
        if inner in network:
            words = f"{named}: such an address ({why}) is never connected to"
            return TargetNeverError(words, host=host, address=str(address))
    if any(inner in network for network in allowed):
        return None
    words = f"{named}: the address is outside of what the control plane may connect to ({_few_words(allowed)})"
    return TargetRefusedError(words, host=host, address=str(address))


def _few_words(allowed: Sequence[Network]) -> str:
    """The allowed networks for a sentence. Public ones are one: they are some hundred pieces of all addresses."""
    inner = [str(network) for network in allowed if not network.is_global]
    words = ["public addresses"] if len(inner) < len(allowed) else []
    words += inner[:FEW] + ([f"{len(inner) - FEW} more"] if len(inner) > FEW else [])
    return f"{', '.join(words)} only" if words else "nothing"


def _literal(host: str) -> Ip | None:
    """The address that a text is, None for a name. `127.1`, `0x7f000001`, `017700000001` are some to inet_aton(3)."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host.rstrip(".")))
    except (OSError, UnicodeError):
        return None


def _addresses(host: str, port: int, lookup: Lookup) -> tuple[Ip, ...]:
    try:
        return (ip_address(host.removeprefix("[").removesuffix("]")),)
    except ValueError:
        pass  # a name, or a spelling such as 127.1 that only the resolver reads; both are checked below
    try:
        found = lookup(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise UnreachableError(f"{host} does not resolve: {words}", host=host, cause="dns") from error
    addresses = tuple(dict.fromkeys(ip_address(each[4][0].partition("%")[0]) for each in found))
    if not addresses:
        raise UnreachableError(f"{host} has no address", host=host, cause="dns")
    return addresses


def _inner(address: Ip) -> Ip:
    """The IPv4 address that an IPv6 one stands for: mapped, compatible, 6to4, Teredo or NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour or address
    if any(address in each for each in TRANSLATED) or (int(address) >> 32 == 0 and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.teredo[1] if address.teredo else address

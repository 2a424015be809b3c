"""From what is stored of a host to a session on it: the key read, the trust decided, the target allowed."""

import socket
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from chalicelib.domain.host_records import Destination, HostRecord
from chalicelib.ssh.host_keys import keys_for, keys_for_jump, parse_host_keys
from chalicelib.ssh.keys import PrivateKey, read_private_key
from chalicelib.ssh.login import Target, Trust
from chalicelib.ssh.session import Jump, Session, connect
from chalicelib.ssh.targets import Ip, Network, parse_allowed

PUBLIC: Final = "public"
"""In the list of allowed networks: every address that is globally reachable, and so by anybody."""

NOT_GLOBAL: Final = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip
"""Source: IANA IPv4 Special-Purpose Address Registry. Of IPv6 only 2000::/3 is handed out as global unicast."""


def session(record: HostRecord, key: Mapping[str, str], allowed: Sequence[str]) -> Session:
    """Connect to a host and log in with `key["private_key"]`, which `key["passphrase"]` opens. Raises an `SshError`."""
    private = read_private_key(key["private_key"], key.get("passphrase", ""))
    networks = without(allowed_networks(tuple(allowed)), _addresses_of(urlsplit(record.api_url).hostname or ""))
    jump = _jump(record, private) if record.jump else None
    return connect(_target(record.destination), private, trust=trust_of(record), allowed=networks, jump=jump)


def trust_of(record: HostRecord) -> Trust:
    """What the host may show: what it showed before, else what was given, else whatever it shows now."""
    where = record.destination
    if record.pinned:
        return Trust(parse_host_keys(record.pinned, where.host, where.port), is_pinned=True)
    return Trust(keys_for(record.host_key, where, record.jump))


@cache
def allowed_networks(words: tuple[str, ...]) -> tuple[Network, ...]:
    """Read `TIDEPOOL_HOST_NETWORKS`: CIDRs, and `public`. Raises `InvalidInputError`."""
    named = parse_allowed((word for word in words if word != PUBLIC), "TIDEPOOL_HOST_NETWORKS")
    return (*named, *_public()) if PUBLIC in words else named


def without(networks: Sequence[Network], addresses: Iterable[Ip]) -> tuple[Network, ...]:
    """Take single addresses out of networks."""
    left: list[Network] = list(networks)
    for address in addresses:
        taken = ip_network(address)
        left = [
            part
            for network in left
            for part in (network.address_exclude(taken) if address in network else (network,))  # type: ignore[arg-type]
        ]
    return tuple(left)


def _addresses_of(host: str) -> tuple[Ip, ...]:
    """Where the control plane itself answers: it is no host to be adopted, whatever is allowed."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(ip_address(str(each[4][0]).partition("%")[0]) for each in found))


def _public() -> tuple[Network, ...]:
    left: list[IPv4Network] = [IPv4Network("0.0.0.0/0")]
    for text in NOT_GLOBAL:
        taken = IPv4Network(text)
        left = [
            part
            for network in left
            for part in (network.address_exclude(taken) if taken.subnet_of(network) else (network,))
        ]
    return (*left, *(network for network in IPv6Network("2000::/3").address_exclude(IPv6Network("2001:db8::/32"))))


def _jump(record: HostRecord, private: PrivateKey) -> Jump:
    """A host on the way is trusted as the one behind it: by what it showed before, what was given, or what it shows."""
    where = record.jump
    assert where is not None
    if record.jump_pinned:
        trust = Trust(parse_host_keys(record.jump_pinned, where.host, where.port), is_pinned=True)
    else:
        trust = Trust(keys_for_jump(record.host_key, where))
    return Jump(_target(where), private, trust)


def _target(where: Destination) -> Target:
    return Target(where.host, where.user, where.port)

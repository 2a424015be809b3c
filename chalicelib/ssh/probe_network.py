"""The part of a probe about addresses: from `ip -o addr`, from `ifconfig`, or from the files of /proc."""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_interface
from typing import Final

from chalicelib.domain.hosts import Address
from chalicelib.ssh.errors import ScriptOutputError
from chalicelib.ssh.reading import Lines

IP_LINE: Final = re.compile(r"\d+:\s+([^\s@]+)(?:@\S+)?\s+inet6?\s+([0-9a-fA-F:.]+)(?:\s+peer\s+\S+?)?(/\d+)?\s(.*)")
"""`2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0\\  valid_lft …`, ip(8); also busybox's."""

UNUSABLE: Final = ("tentative", "dadfailed", "deprecated", "temporary")
"""IPv6 addresses that are not ours yet, never will be, are about to go, or are changed every day for privacy's sake
(RFC 8981): beside one of these there is always one that stays, and that is what neighbours are told."""

UNUSABLE_FLAGS: Final = 0x01 | 0x08 | 0x20 | 0x40
"""The same in `if_inet6`: IFA_F_TEMPORARY, DADFAILED, DEPRECATED and TENTATIVE of linux/if_addr.h."""

MOST_ROUTES: Final = 1000
MOST_ADDRESSES: Final = 256
"""What is looked at of the files of /proc: each address is held against each route."""

IFCONFIG_HEAD: Final = re.compile(r"([^\s:]+(?::\d+)?):?\s")
IFCONFIG_IPV4: Final = re.compile(r"\s+inet (?:addr:)?([\d.]+)\s.*?(?:netmask |Mask:)([\d.]+|0x[0-9a-f]{8})")
IFCONFIG_IPV6: Final = re.compile(r"\s+inet6 (?:addr: ?)?([0-9a-fA-F:]+)(?:%\S+)?(?:\s+prefixlen |/)(\d+)")
"""Both spellings: `inet 10.0.0.5  netmask 255.255.255.0` (net-tools 2) and `inet addr:10.0.0.5  … Mask:…` (busybox)."""


def addresses_of(lines: Lines) -> tuple[Address, ...]:
    """List the addresses of every interface in the order the host told them, each once.

    Raises `ScriptOutputError` with a line that is none of `ip -o addr`.
    """
    if lines.every("ip"):
        found = _of_ip(lines)
    elif lines.every("ifconfig"):
        found = _of_ifconfig(lines)
    else:
        found = _of_proc(lines)
    return tuple(dict.fromkeys(found))


def _of_ip(lines: Lines) -> Iterator[Address]:
    for line in lines.every("ip"):
        match = IP_LINE.fullmatch(f"{line.rstrip()} ")
        if match is None:
            if re.match(r"\d+:\s+\S+\s+(?!inet)", line):
                continue  # another family, such as the links that busybox lists
            raise ScriptOutputError(f"no line of ip -o addr: {line[:200]!r}", line=line[:200])
        interface, address, prefix, rest = match.groups()
        if not any(flag in rest.partition("\\")[0].split() for flag in UNUSABLE):
            yield Address(interface, ip_interface(address + (prefix or "")))


def _of_ifconfig(lines: Lines) -> Iterator[Address]:
    interface = ""
    for line in lines.every("ifconfig"):
        head = IFCONFIG_HEAD.match(line)
        if head and not line[0].isspace():
            interface = head[1]
        if ipv4 := IFCONFIG_IPV4.match(line):
            mask = str(IPv4Address(int(ipv4[2], 16))) if ipv4[2].startswith("0x") else ipv4[2]
            yield Address(interface, ip_interface(f"{ipv4[1]}/{mask}"))
        if ipv6 := IFCONFIG_IPV6.match(line):
            yield Address(interface, ip_interface(f"{ipv6[1]}/{ipv6[2]}"))


def _of_proc(lines: Lines) -> Iterator[Address]:
    """`fib_trie` knows the host's IPv4 addresses, `route` the networks of the interfaces, `if_inet6` both of IPv6.

    Source: proc(5), and net/ipv4/fib_trie.c: an own address is a leaf `|-- 10.0.0.5` followed by `/32 host LOCAL`.
    Numbers in `route` are in the byte order of the machine: little-endian on everything that the agent runs on.
    """
    routes = [line.split() for line in lines.every("route")[:MOST_ROUTES]]
    networks = [
        (words[0], IPv4Network((_little(words[1]), bin(int(words[7], 16)).count("1")), strict=False))
        for words in routes
        if len(words) >= 8 and re.fullmatch(r"[0-9A-F]{8}", words[1]) and words[1] != "00000000"
    ]
    for own in list(dict.fromkeys(_own_leaves(lines)))[:MOST_ADDRESSES]:
        for interface, network in networks:
            if own in network:
                yield Address(interface, ip_interface((own, network.prefixlen)))
    for line in lines.every("if_inet6"):
        words = line.split()
        is_read = len(words) == 6 and re.fullmatch(r"[0-9a-f]{32}", words[0])
        if is_read and not int(words[4], 16) & UNUSABLE_FLAGS:
            yield Address(words[5], ip_interface((IPv6Address(int(words[0], 16)), int(words[2], 16))))


def _own_leaves(lines: Lines) -> Iterator[IPv4Address]:
    leaf = ""
    for line in lines.every("fib"):
        named = re.search(r"\|-- ([\d.]+)", line)
        leaf = named[1] if named else leaf
        if "/32 host LOCAL" in line and not leaf.startswith("127."):
            yield IPv4Address(leaf)


def _little(hexadecimal: str) -> int:
    return int.from_bytes(bytes.fromhex(hexadecimal), "little")

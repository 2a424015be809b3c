"""The VPC function is no door: what is refused, whatever it is called and however it is written."""

import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.errors import InvalidInputError
from chalicelib.ssh.errors import TargetNeverError, TargetRefusedError, UnreachableError
from chalicelib.ssh.opening import allowed_networks, without
from chalicelib.ssh.targets import NEVER, parse_allowed, refusal, refuse_behind, resolve

EVERYWHERE = parse_allowed(["0.0.0.0/0", "::/0"])
HOME = parse_allowed(["10.0.0.0/8", "fd00:1::/32"])


def resolver(*addresses: str):
    def lookup(_host: str, port: int, **_: object) -> list[tuple]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    return lookup


FORBIDDEN = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.170.2", "168.63.129.16",
    "100.100.100.200", "192.0.0.192", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "ff02::1",
    "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe",
    "::127.0.0.1", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "2002:7f00:1::",
    "64:ff9b:1::a9fe:a9fe", "::ffff:0:169.254.169.254", "fe80::1%eth0",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_some_addresses_are_refused_whatever_is_allowed(address):
    with pytest.raises(TargetNeverError, match="never"):
        resolve(address, 22, EVERYWHERE)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_name_that_leads_there_is_refused_too(address):
    with pytest.raises(TargetRefusedError) as caught:
        resolve("innocent.example", 22, EVERYWHERE, lookup=resolver(address))
    assert caught.value.context["host"] == "innocent.example"


def test_one_bad_address_among_good_ones_is_enough():
    with pytest.raises(TargetRefusedError, match=r"169\.254\.169\.254"):
        resolve("mixed.example", 22, EVERYWHERE, lookup=resolver("10.0.0.7", "169.254.169.254"))


@pytest.mark.parametrize("spelling", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost"])
def test_odd_spellings_are_refused_as_what_the_resolver_makes_of_them(spelling):
    with pytest.raises((TargetRefusedError, UnreachableError)):
        resolve(spelling, 22, EVERYWHERE)


def test_only_allowed_networks_are_connected_to():
    assert resolve("10.0.0.7", 22, HOME) == (ip_address("10.0.0.7"),)
    assert resolve("[fd00:1::7]", 22, HOME) == (ip_address("fd00:1::7"),)
    assert resolve("::ffff:10.0.0.7", 22, HOME) == (ip_address("::ffff:10.0.0.7"),)
    for address in ("11.0.0.7", "fd00:2::7", "::ffff:11.0.0.7"):
        with pytest.raises(TargetRefusedError, match="outside"):
            resolve(address, 22, HOME)
    with pytest.raises(TargetRefusedError, match=r"connect to \(nothing\)"):
        resolve("10.0.0.7", 22, ())


def test_a_refusal_names_what_is_allowed_in_a_few_words():
    """What is public is some hundred networks, and without one address of the control plane's more."""
    allowed = without(allowed_networks(("public", "10.0.0.0/16")), [ip_address("34.1.2.3"), ip_address("10.0.0.1")])
    with pytest.raises(
        TargetRefusedError, match=r"connect to \(public addresses, 10\.0\.\S+, .* 13 more only\)$"
    ) as caught:
        resolve("192.168.0.1", 22, allowed)
    assert (caught.value.code, len(caught.value.detail) < 200) == ("target-refused", True)
    with pytest.raises(TargetRefusedError, match=r"\(public addresses only\)$"):
        resolve("192.168.0.1", 22, allowed_networks(("public",)))


def test_the_addresses_that_were_checked_are_the_answer():
    asked = []

    def lookup(host: str, port: int, **_: object) -> list[tuple]:
        asked.append(host)
        return resolver("10.0.0.7", "10.0.0.7", "10.0.0.8")(host, port)

    assert resolve("box.example", 22, HOME, lookup=lookup) == (ip_address("10.0.0.7"), ip_address("10.0.0.8"))
    assert asked == ["box.example"]


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 300, "x..y"])
def test_a_name_that_does_not_resolve_is_unreachable(host):
    def lookup(*_: object, **__: object) -> list[tuple]:
        host.encode("idna")
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(UnreachableError) as caught:
        resolve(host, 22, EVERYWHERE, lookup=lookup)
    assert (caught.value.context["cause"], caught.value.retryable) == ("dns", True)


@given(st.ip_addresses(v=4))
def test_ipv4_inside_of_ipv6_is_judged_as_the_ipv4_it_is(address):
    plain = bool(refusal("h", address, EVERYWHERE))
    assert bool(refusal("h", ip_address(f"::ffff:{address}"), EVERYWHERE)) == plain
    assert bool(refusal("h", ip_address(f"64:ff9b::{address}"), EVERYWHERE)) == plain


@given(st.sampled_from(NEVER), st.data())
def test_no_allow_list_opens_what_is_closed(entry, data):
    network, _ = entry
    offset = data.draw(st.integers(0, network.num_addresses - 1))
    assert refusal("h", network[offset], (network,))


@pytest.mark.parametrize("cidr", ["", "10.0.0.5/8", "10.0.0.0/33", "everything"])
def test_an_allow_list_with_a_slip_is_refused(cidr):
    with pytest.raises(InvalidInputError) as caught:
        parse_allowed(["10.0.0.0/8", cidr])
    assert caught.value.field == "ssh_targets"


ODD = ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "017700000001", "0xa9.254.169.254", "169.254.43518", "0"]


@pytest.mark.parametrize("host", [*FORBIDDEN, *ODD, "[::1]", "127.0.0.1.", "localhost", "a.LOCALHOST.", "metadata"])
def test_a_jump_host_is_no_way_to_its_own_loopback_or_metadata(host):
    with pytest.raises(TargetRefusedError, match="never"):
        refuse_behind(host)


@pytest.mark.parametrize("host", ["10.0.0.7", "192.168.1.1", "fd00:1::7", "gpu-node-1", "box.example", "10.7"])
def test_what_a_jump_host_reaches_otherwise_is_its_own_affair(host):
    refuse_behind(host)

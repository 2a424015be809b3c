"""Which address of a host is taken, and that none is by accident."""

from ipaddress import ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.hosts import Address
from chalicelib.domain.networks import (
    MOST_TOLD,
    OF_THIS_HOST,
    NoAddressInNetworkError,
    internal_address,
    network_key,
    network_of,
    parse_network,
    private_address,
    told_addresses,
)

ACCIDENTS = (
    ("lo", "127.0.0.1/8"),
    ("docker0", "172.17.0.1/16"),
    ("br-1a2b3c4d5e6f", "172.18.0.1/16"),
    ("veth12ab", "169.254.1.1/16"),
    ("virbr0", "192.168.122.1/24"),
    ("cni0", "10.244.0.1/24"),
    ("flannel.1", "10.244.0.0/32"),
    ("cali123", "192.168.1.1/32"),
    ("tailscale0", "100.101.102.103/32"),
    ("wg0", "10.8.0.2/24"),
    ("zt5u4y3x2w", "10.147.17.5/24"),
    ("utun3", "10.9.0.2/24"),
    ("eth9", "169.254.3.4/16"),
    ("eth8", "100.64.0.9/10"),
    ("eth7", "fe80::1/64"),
)


def addresses(*pairs: tuple[str, str]) -> list[Address]:
    return [Address(interface, ip_interface(value)) for interface, value in pairs]


def test_docker0_first_in_the_list_is_not_chosen():
    has = addresses(("docker0", "172.17.0.1/16"), ("eth0", "10.0.0.7/24"))
    assert str(internal_address(has, ["eth0"])) == "10.0.0.7/24"


@pytest.mark.parametrize("accident", ACCIDENTS, ids=lambda each: each[0])
def test_what_leads_nowhere_is_never_chosen_without_being_named(accident):
    with pytest.raises(NoAddressInNetworkError) as caught:
        internal_address(addresses(accident), [accident[0]])
    assert accident[0] in caught.value.detail
    assert caught.value.context["addresses"] == [f"{ip_interface(accident[1])} ({accident[0]})"]


GUESTS = [each for each in ACCIDENTS if OF_THIS_HOST.match(each[0])]


@pytest.mark.parametrize("accident", GUESTS, ids=lambda each: each[0])
def test_what_leads_to_guests_of_the_host_alone_is_not_even_chosen_when_it_is_named(accident):
    """`docker0` has the same address on every host."""
    has = addresses(accident, ("eth0", "10.0.0.7/24"))
    with pytest.raises(NoAddressInNetworkError, match=f"{accident[0]} leads to guests of this host alone"):
        internal_address(has, ["eth0"], parse_network(accident[1]))


@pytest.mark.parametrize(
    "accident",
    [each for each in ACCIDENTS if each[0] != "lo" and each not in GUESTS] + [("br-ex", "10.8.0.2/24")],
    ids=lambda each: each[0],
)
def test_what_is_named_is_chosen(accident):
    has = addresses(accident, ("eth0", "10.0.0.7/24"))
    named = parse_network(accident[1])
    assert internal_address(has, ["eth0"], named) == ip_interface(accident[1])


@pytest.mark.parametrize(
    "interface", ["bond0", "br0", "eno1", "enp0s31f6", "ens5", "eth0", "ib0", "p1p1", "team0", "vlan5"]
)
def test_interfaces_that_lead_somewhere_are_taken(interface):
    assert str(internal_address(addresses((interface, "10.0.0.7/24")), [])) == "10.0.0.7/24"


def test_the_interface_of_the_default_route_comes_first():
    has = addresses(("eth0", "10.0.0.7/24"), ("eth1", "192.168.5.7/24"))
    assert str(internal_address(has, ["eth1"])) == "192.168.5.7/24"


def test_a_private_address_comes_before_a_public_one_and_ipv4_before_ipv6():
    has = addresses(("eth0", "52.1.2.3/20"), ("eth0", "fd00::7/64"), ("eth0", "10.0.0.7/24"))
    assert str(internal_address(has, ["eth0"])) == "10.0.0.7/24"
    assert str(internal_address(has[:2], ["eth0"])) == "fd00::7/64"
    assert str(internal_address(has[:1], ["eth0"])) == "52.1.2.3/20"


@given(
    st.permutations(
        [("eth0", "10.0.0.7/24"), ("eth0", "10.0.0.9/24"), ("eth1", "10.1.0.7/24"), ("docker0", "172.17.0.1/16")]
    )
)
def test_the_choice_does_not_depend_on_the_order_of_the_list(pairs):
    assert str(internal_address(addresses(*pairs), [])) == "10.0.0.7/24"


def test_none_inside_lists_what_the_host_has():
    has = addresses(("eth0", "10.0.0.7/24"), ("docker0", "172.17.0.1/16"))
    with pytest.raises(NoAddressInNetworkError, match=r"inside 10\.9\.0\.0/24") as caught:
        internal_address(has, ["eth0"], parse_network("10.9.0.0/24"))
    assert caught.value.context["addresses"] == ["10.0.0.7/24 (eth0)", "172.17.0.1/16 (docker0)"]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/24", "10.0.0.0/24"),
        ("10.0.0.5/24", "10.0.0.0/24"),
        ("10.0.0.5", "10.0.0.5/32"),
        ("100.64.0.0/10", "100.64.0.0/10"),
        (" fd00:1::5/64 ", "fd00:1::/64"),
        ("10.0.0.5/255.255.255.0", "10.0.0.0/24"),
    ],
)
def test_a_network_may_be_written_with_host_bits(text, network):
    assert str(parse_network(text)) == network


@pytest.mark.parametrize(
    "text", ["", "abc", "10.0.0.0/33", "10.0.0/24", "0.0.0.0/0", "::/0", "127.0.0.0/8", "224.0.0.0/4"]
)
def test_what_is_no_network_is_refused_with_the_form_that_would_be_right(text):
    with pytest.raises(InvalidInputError) as caught:
        parse_network(text)
    assert caught.value.field == "network"
    assert "10.0.0.0/24" in caught.value.expected


def test_equal_networks_behind_two_ways_have_two_keys():
    lan = parse_network("10.0.0.5/24")
    assert network_key(lan) == "10.0.0.0/24"
    assert network_key(lan, "bastion-a:22") == "10.0.0.0/24 via bastion-a:22"
    assert {network_of(network_key(lan, way)) for way in ("", "bastion-a:22", "a:22,b:22")} == {lan}


def test_what_an_agent_tells_of_its_addresses_is_read_with_care():
    assert told_addresses(["10.0.0.7", "nonsense", 5, None, "fd00::7", "10.0.0.7"]) == ("10.0.0.7", "fd00::7")
    assert told_addresses("10.0.0.7") == ()
    assert len(told_addresses([f"10.0.0.{number}" for number in range(200)])) == MOST_TOLD


@pytest.mark.parametrize(
    ("told", "chosen"),
    [
        (["1.0.0.1", "10.0.0.7"], "10.0.0.7"),
        (["fd00::7", "192.168.1.4"], "192.168.1.4"),
        (["1.1.1.1"], "1.1.1.1"),
        (["127.0.0.1", "169.254.1.1", "nonsense", "::1"], ""),
        (None, ""),
    ],
)
def test_the_private_address_among_those_that_an_agent_tells_is_the_one_for_neighbours(told, chosen):
    assert private_address(told) == chosen

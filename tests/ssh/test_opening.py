"""Where the control plane may connect to, by what its operator lists."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.host_records import Destination, HostRecord
from chalicelib.ssh.errors import HostKeyChangedError
from chalicelib.ssh.keys import read_private_key
from chalicelib.ssh.opening import allowed_networks, session, without
from tests.builders import NOW
from tests.ssh.server import USER, private_key


def admits(words: str, address: str) -> bool:
    return any(ip_address(address) in network for network in allowed_networks(tuple(words.split())))


@pytest.mark.parametrize("address", ["54.73.155.119", "1.1.1.1", "2606:4700::1111", "192.0.1.1", "223.255.255.255"])
def test_public_is_what_everybody_can_reach(address):
    assert admits("public", address)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.7", "172.16.3.4", "192.168.1.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0",
     "fd00::1", "fe80::1", "::1", "2001:db8::1"],
)  # fmt: skip
def test_nothing_else_is_public(address):
    assert not admits("public", address)


def test_networks_are_listed_and_none_is_none():
    assert admits("10.0.0.0/24", "10.0.0.7")
    assert not admits("10.0.0.0/24", "54.73.155.119")
    assert admits("public 10.0.0.0/24", "10.0.0.7")
    assert allowed_networks(()) == ()


def test_a_slip_is_said_with_the_settings_name():
    with pytest.raises(InvalidInputError) as caught:
        allowed_networks(("10.0.0.7/24",))
    assert caught.value.field == "TIDEPOOL_HOST_NETWORKS"


def test_the_control_planes_own_address_is_taken_out():
    left = without(allowed_networks(("10.0.0.0/24", "fd00::/64")), [ip_address("10.0.0.7"), ip_address("1.1.1.1")])
    assert not any(ip_address("10.0.0.7") in network for network in left)
    assert any(ip_address("10.0.0.8") in network for network in left)
    assert any(ip_address("fd00::1") in network for network in left)


def test_a_jump_host_that_was_seen_before_is_held_to_what_it_showed_then(server, own_server):
    inner, door = (Destination("127.0.0.1", USER, each.port) for each in (server, own_server))
    record = HostRecord("main", "i-1", "lab", "", inner, "http://192.0.2.1", NOW, jump=door)
    opening = {"private_key": private_key("ed25519")}
    for each in (server, own_server):
        each.allow(read_private_key(opening["private_key"]).public)
    with session(record, opening, ["127.0.0.0/8"]) as made:
        seen = replace(record, pinned=made.host_key.line, jump_pinned=made.jump_key.line)
    session(seen, opening, ["127.0.0.0/8"]).close()
    other = replace(seen, jump_pinned=made.host_key.line)
    with pytest.raises(HostKeyChangedError) as caught:
        session(other, opening, ["127.0.0.0/8"])
    assert caught.value.context["hop"] == f"[127.0.0.1]:{own_server.port}"

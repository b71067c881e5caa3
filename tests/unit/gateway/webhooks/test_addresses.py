"""Webhooks reach public addresses and what the settings allow, whatever an address is dressed up as."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.gateway.webhooks.addresses import AddressRefused, ReachableAddresses

PUBLIC = ReachableAddresses()

REFUSED = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),  # noqa: S104
    *("100.64.0.1", "100.127.255.255", "224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "198.18.0.1"),
    *("192.0.0.8", "192.0.2.1", "192.88.99.1", "203.0.113.7"),
    *("::1", "::", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2002:7f00:1::", "2001:0:1::1", "3fff::1", "5f00::1"),
    *("birds.example", "", "127.1", "0x7f000001", "2130706433", "::ffff:127.0.0.1 "),
]


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not PUBLIC.allows(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_what_is_public_is_allowed(address: str) -> None:
    assert PUBLIC.allows(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_address_is_judged_as_itself(address: IPv4Address) -> None:
    allowed = PUBLIC.allows(str(address))
    assert PUBLIC.allows(f"::ffff:{address}") is allowed
    assert PUBLIC.allows(str(IPv6Address(int(IPv6Address("64:ff9b::")) + int(address)))) is allowed


@given(st.ip_addresses(network="10.20.0.0/16"))
def test_allowed_networks_are_allowed_and_nothing_beside_them(address: IPv4Address) -> None:
    some = ReachableAddresses([ip_network("10.20.0.0/16")])
    assert some.allows(str(address))
    assert some.allows(f"::ffff:{address}")
    assert not some.allows(str(address + 2**16))


def test_no_socket_is_made_for_what_is_refused() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))
    with pytest.raises(AddressRefused):
        PUBLIC.make_socket(info)
    ReachableAddresses([ip_network("127.0.0.0/8")]).make_socket(info).close()

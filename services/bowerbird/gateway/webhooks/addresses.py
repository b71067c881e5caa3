"""Which addresses a tenant's URL may lead the gateway to: public ones, and networks that the settings allow.

The gateway stands where a stranger does not: beside the stages, the database, the cloud's metadata service. A name in a
URL says nothing about where it leads, and may lead elsewhere a moment after it was looked at; so the address is looked
at when its socket is made, after every resolution and for every address that is tried (OWASP, Server-Side Request
Forgery Prevention; CWE-918, CWE-367). `make_socket` is that place: nothing is connected that did not come through it.

An IPv6 address may carry an IPv4 address that somebody on the way unwraps (RFC 4291 section 2.5.5, RFC 6052): then that
one is looked at as well. Tunnels (6to4, Teredo) lead nowhere that a receiver of today is, and are refused whole.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REFUSED: tuple[Network, ...] = (
    # `is_global` of some Pythons (before 3.11.10) says yes to the first three.
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments
    IPv6Network("64:ff9b:1::/48"),  # NAT64 for local use: RFC 8215
    IPv6Network("2001::/23"),  # IETF protocol assignments; Teredo is the first /32 of it
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("::/96"),  # "IPv4-compatible", deprecated
    IPv6Network("fec0::/10"),  # site-local, deprecated
    IPv6Network("3fff::/20"),  # documentation: RFC 9637
    IPv6Network("5f00::/16"),  # segment routing: RFC 9602
)
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_BITS = 0xFFFF_FFFF


class AddressRefused(OSError):
    """The address is not one that a webhook may be sent to; says the same of every address."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "an address that webhooks are not sent to")


class ReachableAddresses:
    """Public addresses, and those of `allowed`."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def allows(self, address: str) -> bool:
        """Whether webhooks may be sent to this address; False for what is no address."""
        try:
            stated = ip_address(address)
        except ValueError:
            return False
        return all(self._allows(each) for each in _meant(stated))

    def make_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for the address in `info` (as of getaddrinfo), which is connected next; raises AddressRefused."""
        family, kind, protocol, _, address = info
        if not self.allows(address[0]):
            raise AddressRefused
        return socket.socket(family=family, type=kind, proto=protocol)

    def _allows(self, address: Address) -> bool:
        if any(address in network for network in self._allowed):
            return True
        return address.is_global and not address.is_multicast and not any(address in network for network in _REFUSED)


def _meant(stated: Address) -> Iterator[Address]:
    """Where a packet to this address may end."""
    if isinstance(stated, IPv4Address):
        yield stated
    elif stated.ipv4_mapped is not None:
        yield stated.ipv4_mapped  # the operating system speaks IPv4 with it
    else:
        yield stated
        if stated in _NAT64:
            yield IPv4Address(int(stated) & _IPV4_BITS)

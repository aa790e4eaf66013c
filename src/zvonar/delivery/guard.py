"""May we send there? Decided at the socket, on the very address that is about to be dialled.

An address that a client names may resolve to anything, and to something else a moment later. So names are not
judged at all: `SocketGuard` makes the sockets, and makes none for an address that is not public.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import AddrInfoType
from yarl import URL

from zvonar.core.errors import Refused

IPNetwork = IPv4Network | IPv6Network


class AddressRefused(Refused, OSError):
    """Deliveries go to public http(s) addresses only; ZVONAR_ALLOW_NETWORKS opens others."""


# The IANA's special-purpose registry, and more that is public in name only.
_CLOSED_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 is the machine itself
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers' NAT; some clouds' metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform service
        "169.254.0.0/16",  # link-local: the clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
    )
)
# In IPv6 only this is given out; loopback, mapped, NAT64, unique-local, link-local, multicast lie outside.
_GLOBAL_6 = IPv6Network("2000::/3")
_CLOSED_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
    )
)


def networks(names: Sequence[str]) -> tuple[IPNetwork, ...]:
    """`127.0.0.0/8`, `fd00::/8`, … as networks; ValueError where one is none."""
    return tuple(ip_network(name.strip()) for name in names)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether anybody on the internet may be there, and nobody inside. What is not known to be public is not."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in closed for closed in _CLOSED_4)
    return address.is_global and address in _GLOBAL_6 and not any(address in closed for closed in _CLOSED_6)


class SocketGuard:
    """A socket factory for aiohttp's connector that makes sockets to public or allowed addresses only."""

    def __init__(self, allowed: Sequence[IPNetwork] = ()) -> None:
        self._allowed = tuple(allowed)

    def permits(self, host: str) -> bool:
        """Whether this numeric address may be dialled."""
        try:
            address = ip_address(host)
        except ValueError:  # a name: whoever connects would resolve it again
            return False
        # An IPv4 address in IPv6 clothes is not in an IPv4 network, so opening one does not open the other.
        return any(address in network for network in self._allowed) or is_public(address)

    def __call__(self, dialled: AddrInfoType) -> socket.socket:
        """A socket for this address, or AddressRefused."""
        family, kind, protocol, _, address = dialled
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.permits(str(address[0])):
            raise AddressRefused()
        return socket.socket(family=family, type=kind, proto=protocol)


def checked(address: str) -> URL:
    """The address as a URL to post to, or AddressRefused: http(s) with a host, and nobody's credentials."""
    try:
        url = URL(address)
        if url.scheme in ("http", "https") and url.host and url.user is None and url.password is None:
            return url
    except ValueError:  # a broken port or IPv6 address
        pass
    raise AddressRefused()

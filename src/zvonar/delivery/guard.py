"""May we send there? Decided at the socket, on the very address that is about to be dialled.

An address that a client names may resolve to anything, and to something else a moment later. So names are not
judged at all: `SocketGuard` makes the sockets, and makes none for an address that is not public, nor for a port at
which something else than the web usually listens. In networks that the operator opens, every port is open.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import AddrInfoType
from yarl import URL

from zvonar.core.errors import Refused

IPNetwork = IPv4Network | IPv6Network


class AddressRefused(Refused, OSError):
    """Deliveries go to public http(s) addresses and usual ports only; ZVONAR_ALLOW_NETWORKS opens others."""


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

# Web servers listen at 80, 443, and wherever an unprivileged user may; there, though, also services that would take
# what we send for commands of theirs. What browsers refuse is among them (WHATWG Fetch, "bad port").
_WEB_PORTS = (80, 443)
_UNPRIVILEGED = 1024
_CLOSED_PORTS = frozenset(
    (
        *(1433, 1521, 3306, 5432, 5984, 6379, 6380, 9042, 11211, 27017, 27018, 27019, 28017),  # databases
        *(2181, 4369, 5672, 8300, 8301, 8302, 8500, 9092, 25672, 61616),  # queues and registries
        *(2375, 2376, 2377, 2379, 2380, 6443, 10250, 10255, 10256),  # containers
        *(9200, 9300, 8086, 50070),  # search and metrics
        *(1719, 1720, 1723, 5060, 5061, 5038, 8088, 8089),  # telephony
        *(2049, 3389, 3659, 4045, 4190, 10080, *range(5900, 5911), *range(6000, 6064)),  # files and screens
        *(6566, *range(6665, 6670), 6679, 6697),  # printers and chats
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


def is_web_port(port: int) -> bool:
    """Whether the web is what one expects at this port of a public address."""
    return port in _WEB_PORTS or (_UNPRIVILEGED <= port <= 65535 and port not in _CLOSED_PORTS)


class SocketGuard:
    """A socket factory for aiohttp's connector that makes sockets to public or allowed addresses only."""

    def __init__(self, allowed: Sequence[IPNetwork] = ()) -> None:
        self._allowed = tuple(allowed)

    def permits(self, host: str, port: int) -> bool:
        """Whether this numeric address may be dialled at this port."""
        try:
            address = ip_address(host)
        except ValueError:  # a name: whoever connects would resolve it again
            return False
        # An IPv4 address in IPv6 clothes is not in an IPv4 network, so opening one does not open the other.
        return any(address in network for network in self._allowed) or (
            is_public(address) and is_web_port(port)
        )

    def __call__(self, dialled: AddrInfoType) -> socket.socket:
        """A socket for this address, or AddressRefused."""
        family, kind, protocol, _, address = dialled
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.permits(
            str(address[0]), int(address[1])
        ):
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

"""Where a node lets its users go: out to the Internet, and to nothing of its own unless a rule says so."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

import attrs
import trio

from pharos.wire.errors import LinkRefusedError
from pharos.wire.reality.addresses import Address
from pharos.wire.units import SECONDS
from pharos.wire.world import this_world

ATTEMPT_TIMEOUT: Final = 5 * SECONDS
"""For one address of several: TCP's second and third try come after 1 s and 3 s."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC: Final = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "2001::/23", "3fff::/20", "5f00::/16"),
    )
)
"""Special by the registries of RFC 6890, which the standard library knows in parts, and each version in others."""

IpAddress: TypeAlias = IPv4Address | IPv6Address
IpNetwork: TypeAlias = IPv4Network | IPv6Network


def is_own(address: IpAddress) -> bool:
    """Whether it is an address of this machine, now: only to such a one a socket can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with this_world().udp_socket(family) as sock:
            sock.bind((str(address), 0))
    except OSError:
        return False
    return True


@attrs.frozen(kw_only=True)
class Routes:
    """Decides by address, never by name: a name is whatever its owner says at the moment."""

    allowed: tuple[IpNetwork, ...] = ()
    """Networks that may be reached though they are not of the Internet, or are this machine's own."""
    closed: tuple[IpNetwork, ...] = ()
    """Networks that may not be reached, allowed or not."""
    internet: bool = True
    """Whether the rest may be."""

    def permit(self, address: IpAddress) -> bool:
        """Whether a user may reach it."""
        both = {address, _embedded(address)}
        if _among(both, self.closed):
            return False
        if _among(both, self.allowed):
            return True
        return self.internet and all(_is_public(one) and not is_own(one) for one in both)


def _among(addresses: Iterable[IpAddress], networks: tuple[IpNetwork, ...]) -> bool:
    return any(one.version == network.version and one in network for one in addresses for network in networks)


def _embedded(address: IpAddress) -> IpAddress:
    """Return the IPv4 address to which an IPv6 address leads in the end, or the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return IPv4Address(address.packed[-4:])
    return address


def _is_public(address: IpAddress) -> bool:
    if isinstance(address, IPv6Address) and (address.ipv4_mapped is not None or address.is_site_local):
        # A mapped address is judged by what it stands for.
        return address.ipv4_mapped is not None
    special = any(address.version == network.version and address in network for network in _NOT_PUBLIC)
    return address.is_global and not address.is_multicast and not special


async def resolve(target: Address, routes: Routes, *, kind: socket.SocketKind) -> list[IpAddress]:
    """Return the addresses of a target that may be reached, in the resolver's order.

    The caller connects to these and asks nobody again, so that a name cannot mean something else the second time.

    Raises: OSError — there is no such name; LinkRefusedError — none of its addresses may be reached.
    """
    # As octets: a text would first be read by the rules of IDNA, and what breaks them raises another error.
    found = await trio.socket.getaddrinfo(target.host.encode("ascii"), target.port, type=kind)
    # A zone means an interface of ours; such an address is link-local, and its zone plays no part.
    addresses = dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found)
    permitted = [address for address in addresses if routes.permit(address)]
    if not permitted:
        raise LinkRefusedError("a user asked for an address that this node does not let anybody reach")
    return permitted


async def connect(target: Address, routes: Routes) -> trio.SocketStream:
    """Open a TCP connection to one of the target's addresses. The caller owns the time-out for all of it.

    Raises: OSError — none of them answers; LinkRefusedError — none of them may be reached.
    """
    failure: OSError = ConnectionRefusedError()
    for address in await resolve(target, routes, kind=socket.SOCK_STREAM):
        with trio.move_on_after(ATTEMPT_TIMEOUT):
            try:
                return await trio.open_tcp_stream(str(address), target.port)
            except OSError as error:
                failure = error
                continue
        failure = TimeoutError()
    raise failure

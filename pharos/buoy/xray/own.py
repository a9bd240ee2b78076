"""This machine's own public addresses: what listens there is not for the users of a proxy."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from pharos.wire.awg.netlink import AddressSeen, RequestDone, ask_addresses, parse_messages
from pharos.wire.units import KIB, SECONDS

ANSWER_TIMEOUT: Final = 5 * SECONDS
_READ_BYTES: Final = 64 * KIB


def own_addresses() -> tuple[str, ...]:
    """Return them as networks of one address each, sorted; blocks for less than a millisecond.

    Raises: OSError — Linux does not say.
    """
    found: set[str] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(ANSWER_TIMEOUT)
        sock.send(ask_addresses())
        while True:
            for message in parse_messages(sock.recv(_READ_BYTES)):
                if isinstance(message, RequestDone):
                    return tuple(sorted(found))
                if isinstance(message, AddressSeen) and message.present:
                    address = ipaddress.ip_address(message.address)
                    if address.is_global:
                        found.add(str(ipaddress.ip_network(address)))

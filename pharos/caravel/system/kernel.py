"""What is asked of the kernel itself for system-wide mode: addresses, routes, rules and switches."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pharos.caravel.errors import SystemModeError
from pharos.caravel.system.plan import VERSIONS, IpInterface
from pharos.caravel.system.routes import Route, Rule
from pharos.caravel.system.rtnetlink import (
    DefaultRoute,
    Done,
    Link,
    add_address,
    add_route,
    add_rule,
    ask_links,
    ask_routes,
    message_types,
    parse_messages,
    remove_route,
    remove_rule,
    set_up,
)
from pharos.wire.units import KIB

SWITCHES: Final = Path("/proc/sys/net")
IPV6: Final = Path("/proc/net/if_inet6")
DEFAULT_PATH_MTU: Final = 1500
"""Ethernet's, where there is no way out to ask."""
_ROOM_BYTES: Final = 64 * KIB
_LOOPBACK: Final = 1


def spoken_versions() -> tuple[int, ...]:
    """Return the versions of IP that this kernel speaks."""
    return VERSIONS if IPV6.exists() else (4,)


def set_up_device(name: str, index: int, addresses: Iterable[IpInterface], versions: Iterable[int]) -> None:
    """Give our TUN its addresses and turn it on. It takes them along when it ends.

    Raises: SystemModeError.
    """
    if 6 in versions:
        # It has the addresses that it is given, and none by itself, from which it would look for routers.
        _write(SWITCHES / f"ipv6/conf/{name}/disable_ipv6", "0")
        _write(SWITCHES / f"ipv6/conf/{name}/addr_gen_mode", "1")
        _write(SWITCHES / f"ipv6/conf/{name}/accept_ra", "0")
    for address in addresses:
        if address.version in versions:
            _tell(add_address(index, address), f"the address {address.ip}", errno.EEXIST)
    _tell(set_up(index), f"the interface {name}")


def add_routing(routes: Iterable[Route], rules: Iterable[Rule]) -> None:
    """Add what is not there. Nothing looks into the table before it is whole.

    Raises: SystemModeError.
    """
    for route in routes:
        _tell(add_route(route), f"the route to {route.network}", errno.EEXIST)
    for rule in rules:
        _tell(add_rule(rule), f"the rule {rule.priority}", errno.EEXIST)


def remove_routing(routes: Iterable[Route], rules: Iterable[Rule]) -> None:
    """Remove what is there of it; a route into a TUN has ended with that.

    Raises: SystemModeError.
    """
    for rule in rules:
        _tell(remove_rule(rule), f"the rule {rule.priority}", errno.ENOENT, errno.EAFNOSUPPORT)
    for route in routes:
        _tell(remove_route(route), f"the route to {route.network}", errno.ESRCH, errno.ENODEV, errno.EAFNOSUPPORT)


def default_routes() -> list[DefaultRoute]:
    """Return the machine's own ways out, the best of each version of IP first."""
    found = [
        route
        for version in spoken_versions()
        for route in _ask(ask_routes(version))
        if isinstance(route, DefaultRoute) and route.version == version and route.device != _LOOPBACK
    ]
    return sorted(found, key=lambda route: (route.version, route.metric))


def path_mtu() -> int:
    """Return what every way out of this machine takes, as far as its own interfaces know."""
    ways = {route.device for route in default_routes()}
    mtus = [link.mtu for link in _ask(ask_links()) if isinstance(link, Link) and link.index in ways]
    return min(mtus, default=DEFAULT_PATH_MTU)


def open_news(protocol: int, groups: int) -> socket.socket:
    """Return a socket of netlink that can be read when something has changed; the caller closes it.

    Raises: OSError.
    """
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    try:
        sock.bind((0, groups))
        sock.settimeout(0.0)
    except BaseException:
        sock.close()
        raise
    return sock


def read_news(sock: socket.socket) -> set[int] | None:
    """Return the types of all messages that are there; None: there was more than room, and nobody knows."""
    kinds: set[int] | None = set()
    while True:
        try:
            data = sock.recv(_ROOM_BYTES)
        except BlockingIOError:
            return kinds
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            kinds = None
        else:
            kinds = None if kinds is None else kinds | message_types(data)


def read_switch(path: Path) -> str | None:
    """Return what stands there; None: this kernel has no such switch."""
    try:
        return path.read_text().strip()
    except OSError:
        return None


def write_switch(path: Path, value: str) -> None:
    """Raises: SystemModeError."""
    try:
        path.write_text(value)
    except OSError as error:
        raise SystemModeError(f"{path} cannot be set to {value}: {error.strerror}") from error


def _write(path: Path, value: str) -> None:
    if read_switch(path) not in (None, value):
        write_switch(path, value)


def _tell(request: bytes, what: str, *fine: int) -> None:
    """Raises: SystemModeError."""
    for message in _ask(request):
        if isinstance(message, Done) and message.error and message.error not in fine:
            raise SystemModeError(f"{what} cannot be set: {os.strerror(message.error)}")


def _ask(request: bytes) -> list[Any]:
    """Return the whole answer to a request; the kernel answers at once."""
    found: list[Any] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        sock.send(request)
        while not any(isinstance(message, Done) for message in found):
            found += parse_messages(sock.recv(_ROOM_BYTES))
    return found

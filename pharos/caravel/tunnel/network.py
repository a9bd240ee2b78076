"""Which network this machine is in, as seen by who dials out of it; and when that changes, or the machine has slept."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from pharos.caravel.tunnel.parts import Protect
from pharos.wire.units import KIB, MILLISECONDS, SECONDS
from pharos.wire.world import slept, this_world

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 1 * SECONDS
"""At the clocks, for nobody tells of a sleep; and around, where nobody tells of changes either."""
SETTLE: Final = 200 * MILLISECONDS
"""A change comes as many: the link, its addresses, its routes."""
SLEPT: Final = 5 * SECONDS
"""A shorter sleep no NAT and no session has noticed."""
NOWHERE: Final = ("192.0.2.1", "2001:db8::1")
"""Addresses of documentation (RFC 5737, RFC 3849): a route to them is the default route, and nothing is sent there."""
_PORT: Final = 443
# linux/rtnetlink.h: links, addresses and routes of both families.
_GROUPS: Final = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_UNASKED: Final = "00:00:00:00:00:00"
_ROUTES4, _ROUTES6, _NEIGHBOURS = Path("/proc/net/route"), Path("/proc/net/ipv6_route"), Path("/proc/net/arp")


@attrs.frozen(kw_only=True)
class Vantage:
    """From where this machine dials out."""

    addresses: tuple[str, ...]
    """Its own, towards each of the places that can be reached."""
    gateway: str = ""
    """Interface and address of the gateway, where that can be seen."""
    hardware: str = ""
    """The gateway's own, which tells two networks apart that have the same addresses; empty until it was asked for."""

    @property
    def is_online(self) -> bool:
        """Whether there is any way out."""
        return bool(self.addresses)

    @property
    def key(self) -> str:
        """What a memory of networks goes by; without a gateway to be seen, the address alone."""
        return f"{self.gateway} {self.hardware}" if self.gateway else " ".join(self.addresses)

    def is_like(self, other: Vantage) -> bool:
        """Whether what was sent from there can go on from here."""
        hardware = {self.hardware, other.hardware} - {""}
        return set(self.addresses) == set(other.addresses) and self.gateway == other.gateway and len(hardware) < 2


def look_around(hosts: Sequence[str] = (), protect: Protect | None = None) -> Vantage:
    """Return the vantage towards numeric hosts, or towards the Internet. Nothing is sent."""
    found = [own for host in dict.fromkeys((*hosts, *NOWHERE)) if (own := _own_address(host, protect))]
    gateway, hardware = _gateway()
    return Vantage(addresses=tuple(dict.fromkeys(found)), gateway=gateway, hardware=hardware)


def _own_address(host: str, protect: Protect | None) -> str | None:
    try:
        family = socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6
        with this_world().udp_socket(family) as sock:
            if protect is not None:
                protect(sock)
            # Of UDP this only asks for the route.
            sock.connect((host, _PORT))
            return str(sock.getsockname()[0])
    except (OSError, ValueError):
        return None


def _gateway() -> tuple[str, str]:
    """Return what Linux says of the default route of IPv4, else of IPv6, and of who is there; nothing elsewhere."""
    try:
        for line in _ROUTES4.read_text().splitlines()[1:]:
            interface, destination, gateway, *_, mask = line.split()[:8]
            if destination == mask == "00000000":
                address = str(ipaddress.IPv4Address(struct.pack("=L", int(gateway, 16))))
                return f"{interface} {address}", _hardware_address(address)
        for line in _ROUTES6.read_text().splitlines():
            destination, length, _, _, gateway, *_, interface = line.split()
            if int(length, 16) == 0 and interface != "lo" and int(gateway, 16):
                return f"{interface} {gateway}", ""
    except (OSError, ValueError):
        pass
    return "", ""


def _hardware_address(address: str) -> str:
    for line in _NEIGHBOURS.read_text().splitlines()[1:]:
        words = line.split()
        if words[0] == address and words[3] != _UNASKED:
            return words[3]
    return ""


@asynccontextmanager
async def open_network_watch(
    look: Callable[[], Vantage], told: Callable[[str], None], *, clock: Callable[[], float] = slept
) -> AsyncIterator[None]:
    """Call ``told`` with a reason whenever the vantage is another one, or the machine woke, while the block lasts."""
    async with trio.open_nursery() as nursery:
        watch = _Watch(look, told, clock)
        nursery.start_soon(watch.run_clock)
        await nursery.start(watch.run_news)
        yield
        nursery.cancel_scope.cancel()


class _Watch:
    def __init__(self, look: Callable[[], Vantage], told: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._look = look
        self._told = told
        self._clock = clock
        self._before = look()
        self._slept = clock()
        self._is_told = False

    async def run_clock(self) -> None:
        """Look at the clocks every now and then; and around, where nobody tells of changes."""
        while True:
            await trio.sleep(LOOK_EVERY)
            now = self._clock()
            woke, self._slept = now - self._slept > SLEPT, now
            if woke:
                self._before = self._look()
                self._told("this machine has slept")
            elif not self._is_told:
                self._compare()

    async def run_news(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow what Linux tells of its network; elsewhere there is the clock alone."""
        try:
            sock = this_world().network_news(_GROUPS)
        except (OSError, AttributeError) as error:
            log.debug("changes of the network are looked for, and not told: %s", error)
            task_status.started()
            return
        with sock:
            self._is_told = True
            task_status.started()
            while True:
                await trio.lowlevel.wait_readable(sock)
                _drain(sock)
                self._compare()
                # What is still under way when the first look is taken.
                await trio.sleep(SETTLE)
                _drain(sock)
                self._compare()

    def _compare(self) -> None:
        now = self._look()
        before, self._before = self._before, now
        if not now.is_like(before):
            self._told("this machine is in another network" if now.is_online else "this machine has no network")


def _drain(sock: socket.socket) -> None:
    """Take what there is: a look around says more than each message."""
    while True:
        try:
            sock.recv(64 * KIB)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise

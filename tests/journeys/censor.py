"""A censor, who writes down what passes and knocks at whatever he suspects; and what there is beyond his border.

What he lets through is `Lab.forbid`'s matter. Beyond stand a page, and the site that a node's REALITY stands before.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from pharos.wire.reality.records import HEADER, ContentType
from tests.journeys.scene import POLL_INTERVAL, Scene
from tests.support.reality import NAME
from tests.system.bare import PAGE_ADDRESS
from tests.system.lab.commands import run_ip, run_nft
from tests.system.lab.network import Lab
from tests.system.lab.topology import INTERNET, cable
from tests.system.machinehost import MachineHost
from tests.wire.reality.fronts import receive_exactly
from tests.wire.reality.nodes import PAGE, Site, site_context
from tests.wire.reality.probing import GARBLED, ODDITIES, Seen, probe_over

DESK: Final = "buoyb"
"""The host from which he knocks: nothing of the fleet stands there."""
ABROAD: Final = "clientb"
"""Where page and site are."""
HTTP, TLS, TUNNEL = 80, 443, 443
PATIENCE: Final = 1.0
"""Seconds for one try to get the page."""
UDP: Final = ("meta l4proto udp",)
ALL_BUT_TLS: Final = ("meta l4proto != tcp", f"tcp dport != {TLS}")
"""For `Lab.forbid`."""
STRANGE: Final = {
    "an initiation of WireGuard": b"\1\0\0\0" + os.urandom(144),
    "a QUIC of no known version": b"\xca\xba\xba\xba\xba\x08" + os.urandom(1194),
    "nothing": b"",
    "chance": os.urandom(500),
}
"""Datagrams of one who has no keys."""
_ETH_ALL: Final = 3
_SNAP: Final = 1 << 16
_TCP, _UDP = 6, 17


# -- beyond the border


@asynccontextmanager
async def open_abroad(scene: Scene, node: str) -> AsyncIterator[Site]:
    """Have page and site while the block lasts; a node leads to the page, and its REALITY stands before the site."""
    space, address = scene.lab.namespace(ABROAD), scene.lab.host(ABROAD).address4
    # A node carries its devices to nothing special (RFC 6890), as the lab's other addresses are.
    await run_ip([f"addr add {PAGE_ADDRESS}/32 dev lo"], space.name)
    await run_ip([f"route add {PAGE_ADDRESS} via {address}"], scene.lab.namespace(node).name)
    site = Site(site_context(scene.folder))
    async with trio.open_nursery() as nursery:
        for serve, where, port in ((_greet, PAGE_ADDRESS, HTTP), (site.serve, address, TLS)):
            nursery.start_soon(trio.serve_listeners, serve, [await space.listen(where, port)])
        await scene.helm("nodes", "target", node, f"{address}:{TLS}", NAME)
        await scene.wait_reality(node)
        yield site
        nursery.cancel_scope.cancel()


async def _greet(stream: trio.SocketStream) -> None:
    async with stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(stream.socket.getpeername()[0].encode())


async def wait_page(device: MachineHost, *, through: str) -> float:
    """Wait until a device gets the page, to which it comes as a node at this address; return the seconds that took."""
    begun = time.monotonic()
    space = device.fleet.lab.namespace(device.host)
    while True:
        with contextlib.suppress(OSError, trio.BrokenResourceError), trio.move_on_after(PATIENCE):
            async with await space.connect(PAGE_ADDRESS, HTTP) as stream:
                if (seen_as := (await stream.receive_some()).decode()) != "":
                    assert seen_as == through
                    return time.monotonic() - begun
        await trio.sleep(POLL_INTERVAL)


async def wait_protocol(device: MachineHost, protocol: str) -> None:
    """Wait until a device is up by a protocol; the caller owns the timeout."""
    while True:
        if (await device.wait_phase("up"))["protocol"] == protocol:
            return
        await trio.sleep(POLL_INTERVAL)


async def move(device: MachineHost) -> None:
    """Take a device to another network, where it has another address."""
    own = device.fleet.lab.host(device.host)
    await device.run("ip", "addr", "del", f"{own.address4}/{own.network4.prefixlen}", "dev", "eth0")
    await device.run("ip", "addr", "add", f"{own.network4[own.number + 40]}/{own.network4.prefixlen}", "dev", "eth0")


# -- what he writes down


@attrs.define
class Tape:
    """What a device has sent to one address."""

    datagrams: list[bytes] = attrs.field(factory=list)
    _streams: dict[int, dict[int, bytes]] = attrs.field(factory=dict)

    @property
    def hellos(self) -> list[bytes]:
        """Return the record with which each connection begins that is TLS."""
        streams = (b"".join(pieces.values()) for pieces in self._streams.values())
        return [data[: HEADER + _length(data)] for data in streams if data[:1] == bytes([ContentType.HANDSHAKE])]

    def take(self, protocol: int, body: bytes) -> None:
        """Take down a packet of TCP or UDP; the line keeps the order, and what comes twice is the same."""
        if protocol == _UDP:
            self.datagrams.append(body[8:])
        elif protocol == _TCP and (data := body[(body[12] >> 4) * 4 :]):
            stream = self._streams.setdefault(int.from_bytes(body[:2], "big"), {})
            stream.setdefault(int.from_bytes(body[4:8], "big"), data)


def _length(record: bytes) -> int:
    return int.from_bytes(record[3:HEADER], "big")


@asynccontextmanager
async def recording(lab: Lab, host: str, *, to: str) -> AsyncIterator[Tape]:
    """Write down what a host sends to an address of IPv4 while the block lasts."""
    tape, way = Tape(), bytes.fromhex(lab.host(host).mac.replace(":", "")) + b"\x08\0"
    raw = await lab.namespace(INTERNET).socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_ALL))

    async def listen() -> None:
        while True:
            frame = await raw.recv(_SNAP)
            packet = frame[14 : 14 + int.from_bytes(frame[16:18], "big")]
            if frame[6:14] == way and packet[16:20] == socket.inet_aton(to):
                tape.take(packet[9], packet[(packet[0] & 15) * 4 :])

    with raw:
        await raw.bind((cable(host), _ETH_ALL))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            yield tape
            nursery.cancel_scope.cancel()


# -- how he knocks


async def look(scene: Scene, host: str, hello: bytes) -> list[object]:
    """Go to a host in all the ways he knows, one of them by a hello that he has written down; return what he sees."""
    address = scene.lab.host(host).address4
    knocks = [(oddity,) for oddity in ODDITIES.values()] + [(hello, GARBLED)]
    return [await _visit(scene, address), *[await _knock(scene, address, *pieces) for pieces in knocks]]


async def _visit(scene: Scene, address: str) -> tuple[bytes | None, bytes]:
    """Be a browser that wants the site; return the certificate that is shown, and the page."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    transport = await scene.lab.namespace(DESK).connect(address, TLS)
    async with trio.SSLStream(transport, context, server_hostname=NAME, https_compatible=True) as tls:
        await tls.send_all(b"GET / HTTP/1.1\r\n\r\n")
        page = await receive_exactly(tls, len(PAGE))
        return tls.getpeercert(binary_form=True), page


async def _knock(scene: Scene, address: str, *pieces: bytes) -> Seen:
    """Send what he likes, each piece when the one before has an answer."""
    return await probe_over(await scene.lab.namespace(DESK).connect(address, TLS), *pieces, expect=1)


async def whisper(scene: Scene, address: str, datagrams: Iterable[bytes]) -> None:
    """Send datagrams to where tunnels end."""
    with await scene.lab.namespace(DESK).socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for datagram in datagrams:
            await sock.sendto(datagram, (address, TUNNEL))


async def answers(scene: Scene, address: str) -> int:
    """Return how many packets came to his desk from where tunnels end, or with word of it, since he asked first."""
    space = scene.lab.namespace(DESK).name
    if "answers" not in await scene.lab.run(DESK, "nft", "list", "tables"):
        kinds = f"udp sport {TUNNEL}", "icmp type { destination-unreachable, time-exceeded }"
        rules = "; ".join(f"ip saddr {address} {kind} counter name answers" for kind in kinds)
        chain = f"chain seen {{ type filter hook input priority 0; {rules}; }}"
        await run_nft(space, f"table inet answers {{ counter answers {{ }}; {chain}; }}\n")
    said = await scene.lab.run(DESK, "nft", "-j", "list", "counters", "table", "inet", "answers")
    (count,) = [entry["counter"]["packets"] for entry in json.loads(said)["nftables"] if "counter" in entry]
    return int(count)

"""An AmneziaWG tunnel to one node, inside this program: no root, no TUN interface."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import trio

from pharos.caravel.errors import NoAnswerError, NoSuchNodeError
from pharos.caravel.profiles.store import DeviceSecrets
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.events import PeerStatus
from pharos.wire.awg.ping import PingReport, ping
from pharos.wire.awg.tunnel import ClientTunnel, open_client_tunnel
from pharos.wire.profile import AmneziaWgAccess, Profile, ProfileNode
from pharos.wire.seal.blind import Pairing, derive_psk
from pharos.wire.tasks import open_background
from pharos.wire.units import SECONDS

# An initiation is repeated every five seconds: each generation has three chances on a line that loses packets.
LOOK_EVERY: Final = 7.5 * SECONDS
SILENT_LOOKS: Final = 2


class Tunnel:
    """A running tunnel to one node; ``open_node_tunnel`` makes it."""

    def __init__(self, node: ProfileNode, profile: Profile, inner: ClientTunnel) -> None:
        self.node = node
        self._profile = profile
        self._inner = inner

    async def wait_up(self, timeout: float) -> PeerStatus:
        """Wait until the node has answered a handshake.

        Raises: NoAnswerError — it did not within ``timeout`` seconds.
        """
        with trio.move_on_after(timeout):
            return await self._inner.wait_handshake()
        raise NoAnswerError(f"node {self.node.name} did not answer within {timeout:g} s")

    async def ping(self, count: int) -> PingReport:
        """Send ICMP echoes to the node's own address inside the tunnel; takes up to two seconds more than needed."""
        destination = ipaddress.ip_address(self.node.addresses[0])
        source = next(
            interface.ip
            for interface in map(ipaddress.ip_interface, self._profile.addresses)
            if interface.version == destination.version
        )
        return await ping(self._inner, source=source, destination=destination, count=count)

    def status(self) -> PeerStatus:
        """Return the node as the engine sees it."""
        return self._inner.status()


@asynccontextmanager
async def open_node_tunnel(profile: Profile, node: ProfileNode, secrets: DeviceSecrets) -> AsyncIterator[Tunnel]:
    """Run a tunnel to ``node`` while the block lasts; the first handshake begins at once.

    Raises: NoSuchNodeError — the node offers no AmneziaWG. NoAnswerError — its name does not resolve.
    """
    if not node.access:
        raise NoSuchNodeError(f"node {node.name} offers no protocol that this version speaks; upgrade caravel")
    access = node.access[0]
    endpoint = await _resolve(access)
    peers = [
        PeerConfig(
            public_key=access.public_key,
            preshared_key=derive_psk(pairing_of(profile, node, secrets, generation), secrets.derive),
            allowed_ips=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")),
            endpoint=endpoint,
        )
        for generation in (node.generation, node.generation + 1)
        if generation < 2**32
    ]
    async with (
        open_client_tunnel(
            private_key=secrets.awg.private_bytes(), peer=peers[0], parameters=access.parameters
        ) as inner,
        open_background(functools.partial(seek_generation, inner, peers)),
    ):
        yield Tunnel(node, profile, inner)


def pairing_of(profile: Profile, node: ProfileNode, secrets: DeviceSecrets, generation: int) -> Pairing:
    """Return what this device and a node derive their secrets of."""
    return Pairing(
        fleet=profile.fleet,
        device=profile.device_id,
        node=node.id,
        generation=generation,
        device_derive=secrets.derive.public,
        node_derive=node.derive_key,
        device_awg=secrets.awg.public,
        node_awg=node.access[0].public_key,
    )


async def seek_generation(
    inner: ClientTunnel, peers: Sequence[PeerConfig], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Try the other generation of the preshared key whenever the node has been silent for too long (security.md §2d).

    ``peers`` are the node with this generation's key and with the next one's, which the node takes into use once this
    device has acknowledged it, whether or not we hear of that.
    """
    task_status.started()
    tried, silent = 0, 0
    before = inner.status()
    while True:
        await trio.sleep(LOOK_EVERY)
        now = inner.status()
        answered = now.received_bytes > before.received_bytes
        idle = now.session_age is not None and now.sent_bytes == before.sent_bytes
        silent = 0 if answered or idle else silent + 1
        before = now
        if silent >= SILENT_LOOKS:
            silent, tried = 0, (tried + 1) % len(peers)
            inner.set_peer(peers[tried])
            inner.initiate_handshake()


async def _resolve(access: AmneziaWgAccess) -> Address:
    try:
        found = await trio.socket.getaddrinfo(access.host, access.port, type=trio.socket.SOCK_DGRAM)
    except OSError as error:
        raise NoAnswerError(f"{access.host} does not resolve: {error}") from error
    host, port = found[0][4][:2]
    return str(host), int(port)

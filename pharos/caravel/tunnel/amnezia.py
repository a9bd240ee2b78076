"""An AmneziaWG tunnel to one node, inside this program: no root, no TUN interface."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    pairing = Pairing(
        fleet=profile.fleet,
        device=profile.device_id,
        node=node.id,
        generation=node.generation,
        device_derive=secrets.derive.public,
        node_derive=node.derive_key,
        device_awg=secrets.awg.public,
        node_awg=access.public_key,
    )
    peer = PeerConfig(
        public_key=access.public_key,
        preshared_key=derive_psk(pairing, secrets.derive),
        allowed_ips=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")),
        endpoint=await _resolve(access),
    )
    async with open_client_tunnel(
        private_key=secrets.awg.private_bytes(), peer=peer, parameters=access.parameters
    ) as inner:
        yield Tunnel(node, profile, inner)


async def _resolve(access: AmneziaWgAccess) -> Address:
    try:
        found = await trio.socket.getaddrinfo(access.host, access.port, type=trio.socket.SOCK_DGRAM)
    except OSError as error:
        raise NoAnswerError(f"{access.host} does not resolve: {error}") from error
    host, port = found[0][4][:2]
    return str(host), int(port)

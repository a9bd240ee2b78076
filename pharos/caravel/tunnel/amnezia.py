"""AmneziaWG to one node, inside this program: from a profile or a configuration to a leg that lasts as its block."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pharos.caravel.errors import NoSuchNodeError
from pharos.caravel.profiles.store import DeviceSecrets
from pharos.caravel.tunnel.amnezialeg import AmneziaLeg, open_amnezia_leg
from pharos.caravel.tunnel.amneziaplan import AmneziaPlan, EchoRoute, WayIn
from pharos.caravel.tunnel.parts import Inner
from pharos.wire.awg.events import PeerStatus
from pharos.wire.awg.memory import MemoryEnd, memory_link
from pharos.wire.awg.ping import PAYLOAD, PingReport
from pharos.wire.profile import Profile, ProfileNode
from pharos.wire.seal.blind import Pairing, derive_psk
from pharos.wire.units import SECONDS


class NodeTunnel:
    """A running tunnel to one node, and to no other; ``open_node_tunnel`` makes it."""

    def __init__(self, node: ProfileNode, leg: AmneziaLeg, link: MemoryEnd) -> None:
        self.node = node
        self.link = link
        """Where this program's own IP packets go in and come out."""
        self._leg = leg

    async def wait_up(self, timeout: float) -> PeerStatus:
        """Wait until the node has answered a handshake.

        Raises: NoAnswerError — it did not within ``timeout`` seconds.
        """
        await self._leg.wait_up(timeout)
        return self._leg.status()

    async def ping(self, count: int, *, payload: int = PAYLOAD, patience: float = 2 * SECONDS) -> PingReport:
        """Send ICMP echoes to the node's own address inside the tunnel; takes up to ``patience`` s more than needed."""
        return await self._leg.ping(count, payload=payload, patience=patience)

    def status(self) -> PeerStatus:
        """Return the node as the engine sees it."""
        return self._leg.status()


@asynccontextmanager
async def open_node_tunnel(profile: Profile, node: ProfileNode, secrets: DeviceSecrets) -> AsyncIterator[NodeTunnel]:
    """Run a tunnel to ``node`` while the block lasts; the first handshake begins at once.

    Raises: NoSuchNodeError — the node offers no AmneziaWG. NoAnswerError — its name does not resolve.
    """
    plan = plan_of_node(profile, node, secrets)
    near, far = memory_link()
    try:
        async with open_amnezia_leg(plan, Inner(far=far, streams=None)) as leg:
            await leg.carry()
            yield NodeTunnel(node, leg, near)
    finally:
        near.close()


def plan_of_node(profile: Profile, node: ProfileNode, secrets: DeviceSecrets) -> AmneziaPlan:
    """Return how this device reaches a node, whose ways in were examined, by AmneziaWG.

    Raises: NoSuchNodeError — the node offers no AmneziaWG.
    """
    if not node.amneziawg:
        if node.reality:
            raise NoSuchNodeError(
                f"node {node.name} is open to this device by REALITY alone; use: caravel proxy --node {node.name}"
            )
        raise NoSuchNodeError(f"node {node.name} offers no protocol that this version speaks; upgrade caravel")
    return AmneziaPlan(
        name=f"node {node.name}",
        private_key=secrets.awg.private_bytes(),
        # The key that is pinned and checked, whatever the other entries of the list say.
        public_key=node.awg_key,
        ways=tuple(
            WayIn(host=way.host, port=way.port, parameters=way.parameters, preshared_key=preshared_key)
            for generation in (node.generation, node.generation + 1)
            if generation < 2**32
            for preshared_key in [derive_psk(pairing_of(profile, node, secrets, generation), secrets.derive)]
            for way in node.amneziawg
        ),
        echo=_echo_route(profile.addresses, node.addresses),
    )


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
        node_awg=node.awg_key,
    )


def _echo_route(own: Sequence[str], nodes: Sequence[str]) -> EchoRoute | None:
    """Return between which addresses a node is asked inside the tunnel; None where no two are of one family."""
    for destination in map(ipaddress.ip_address, nodes):
        for source in map(ipaddress.ip_interface, own):
            if source.version == destination.version:
                return EchoRoute(source=source.ip, destination=destination)
    return None

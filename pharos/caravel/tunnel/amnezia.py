"""An AmneziaWG tunnel to one node, inside this program: no root, no TUN interface."""

from __future__ import annotations

import functools
import ipaddress
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NoReturn, Protocol

import attrs
import trio

from pharos.caravel.errors import NoAnswerError, NoSuchNodeError
from pharos.caravel.profiles.store import DeviceSecrets
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.events import PeerStatus
from pharos.wire.awg.memory import memory_link
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.awg.ping import PingReport, ping
from pharos.wire.awg.tunnel import ClientTunnel, open_tunnel
from pharos.wire.awg.udp import ANY_IPV4, ANY_IPV6
from pharos.wire.profile import AmneziaWgAccess, Profile, ProfileNode
from pharos.wire.seal.blind import Pairing, derive_psk
from pharos.wire.tasks import open_background
from pharos.wire.units import SECONDS

# An initiation is repeated every five seconds: each try has three chances on a line that loses packets.
LOOK_EVERY: Final = 7.5 * SECONDS
SILENT_LOOKS: Final = 2
# Before anything was heard each way gets one initiation and the round trip of the worst line that we promise to work on
# (security.md §3: 2 s), so that a device with an old profile is not long in finding where its node went.
FIRST_LOOK: Final = 2.5 * SECONDS


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
    if not node.amneziawg:
        if node.reality:
            raise NoSuchNodeError(
                f"node {node.name} is open to this device by REALITY alone; use: caravel proxy --node {node.name}"
            )
        raise NoSuchNodeError(f"node {node.name} offers no protocol that this version speaks; upgrade caravel")
    places = await _places(node.amneziawg)
    tries = [
        Try(
            parameters=parameters,
            peer=PeerConfig(
                # The key that is pinned and checked, whatever the other entries of the list say.
                public_key=node.awg_key,
                preshared_key=derive_psk(pairing_of(profile, node, secrets, generation), secrets.derive),
                allowed_ips=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")),
                endpoint=endpoint,
            ),
        )
        for generation in (node.generation, node.generation + 1)
        if generation < 2**32
        for endpoint, parameters in places
    ]
    async with (
        _open_engine(secrets.awg.private_bytes(), tries[0]) as (engine, inner),
        open_background(functools.partial(seek, engine, tries)),
    ):
        yield Tunnel(node, profile, inner)


@attrs.frozen(kw_only=True)
class Try:
    """One way to reach a node: where and how it listens, and with which of the secrets."""

    parameters: ObfuscationParameters
    peer: PeerConfig


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


class Engine(Protocol):
    """What `seek` moves: a tunnel with one peer."""

    def set_parameters(self, parameters: ObfuscationParameters) -> None: ...
    def set_peer(self, config: PeerConfig) -> None: ...
    def remove_peer(self, public_key: bytes) -> None: ...
    def initiate_handshake(self, public_key: bytes) -> None: ...
    def status(self, public_key: bytes) -> PeerStatus: ...


async def seek(
    engine: Engine, tries: Sequence[Try], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Try the next of ``tries`` whenever the node has been silent for too long, and stay with what it answers.

    All are the same node, by the same key. They differ in port and parameters, for those of a profile may have been
    re-issued since; and in the generation of the preshared key, for the node takes the next one into use once this
    device has acknowledged it, whether or not we hear of that (security.md §2d).
    """
    task_status.started()
    key = tries[0].peer.public_key
    tried, silent, first_round = 0, 0, True
    before = engine.status(key)
    while True:
        await trio.sleep(FIRST_LOOK if first_round else LOOK_EVERY)
        now = engine.status(key)
        answered = now.received_bytes > before.received_bytes
        idle = now.session_age is not None and now.sent_bytes == before.sent_bytes
        silent = 0 if answered or idle else silent + 1
        before = now
        if silent >= (1 if first_round else SILENT_LOOKS) and len(tries) > 1:
            silent, tried = 0, (tried + 1) % len(tries)
            first_round = first_round and tried != 0
            engine.set_parameters(tries[tried].parameters)
            # As a new peer it is dialled now. The one before may just have begun a handshake, and would wait 5 s.
            engine.remove_peer(key)
            engine.set_peer(tries[tried].peer)
            engine.initiate_handshake(key)
            before = engine.status(key)
        elif answered:
            first_round = False


@asynccontextmanager
async def _open_engine(private_key: bytes, first: Try) -> AsyncIterator[tuple[Engine, ClientTunnel]]:
    """Run a tunnel to one peer, whose parameters can be changed; the first handshake begins at once."""
    assert first.peer.endpoint is not None, "it was resolved"
    device = Device(private_key=private_key, random=os.urandom, wall_clock=time.time_ns, parameters=first.parameters)
    now = trio.current_time()
    device.set_peer(first.peer, now)
    device.initiate_handshake(first.peer.public_key, now)
    near, far = memory_link()
    host = ANY_IPV6 if ":" in first.peer.endpoint[0] else ANY_IPV4
    try:
        async with open_tunnel(device, far, host=host) as engine:
            yield engine, ClientTunnel(engine, first.peer.public_key, near)
    finally:
        near.close()


async def _places(access: Sequence[AmneziaWgAccess]) -> list[tuple[Address, ObfuscationParameters]]:
    """Return where and how to try, in the order of the list; each name is resolved once.

    Raises: NoAnswerError — no name resolves.
    """
    hosts: dict[str, str] = {}
    failures: dict[str, OSError] = {}
    for host in dict.fromkeys(way.host for way in access):
        try:
            found = await trio.socket.getaddrinfo(host, None, type=trio.socket.SOCK_DGRAM)
            hosts[host] = str(found[0][4][0])
        except OSError as error:
            failures[host] = error
    if not hosts:
        host, failure = next(iter(failures.items()))
        raise NoAnswerError(f"{host} does not resolve: {failure}") from failure
    # One socket speaks one family.
    is_six = ":" in next(iter(hosts.values()))
    return [
        ((hosts[way.host], way.port), way.parameters)
        for way in access
        if way.host in hosts and (":" in hosts[way.host]) == is_six
    ]

"""A device reaches a node by whichever way of its profile leads there, and never another machine."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import attrs
import pytest
import trio

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.profiles.store import DeviceSecrets
from pharos.caravel.tunnel import seeking
from pharos.caravel.tunnel.amnezia import open_node_tunnel, pairing_of
from pharos.demo.processes import free_port
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.tunnel import open_tunnel
from pharos.wire.ids import DeviceId, FleetId, NodeId
from pharos.wire.noise.keys import KeyPair
from pharos.wire.profile import AmneziaWgAccess, Profile, ProfileNode
from pharos.wire.seal.blind import derive_psk
from tests.support.strategies import parameters_of

LOOPBACK = "127.0.0.1"
INNER = "10.86.0.1"
AWG, DERIVE = KeyPair.generate(), KeyPair.generate()


@attrs.frozen
class Scene:
    """A device, and a node as its profile has it."""

    node: ProfileNode
    secrets: DeviceSecrets

    @property
    def profile(self) -> Profile:
        return Profile(
            fleet=FleetId("0123456789abcdef"),
            device_id=DeviceId("d"),
            addresses=("10.86.0.2/32",),
            nodes=(self.node,),
            relays=(),
        )


def scene(*access: AmneziaWgAccess, generation: int = 1) -> Scene:
    pairs = {name: KeyPair.generate() for name in ("sealing", "derive", "noise", "awg")}
    node = ProfileNode(
        id=NodeId("n"),
        name="amsterdam",
        tags=(),
        derive_key=DERIVE.public,
        generation=generation,
        addresses=(INNER,),
        access=access,
    )
    return Scene(node, DeviceSecrets(tls=b"", **pairs))


def way(port: int, *, seed: int = 1, host: str = LOOPBACK, key: bytes = AWG.public) -> AmneziaWgAccess:
    return AmneziaWgAccess(host=host, port=port, public_key=key, parameters=parameters_of(seed))


@asynccontextmanager
async def serving(port: int, device: Scene, *, seed: int = 1, generation: int = 1) -> AsyncIterator[None]:
    """The node, that serves these parameters there, and the device by this generation."""
    engine = Device(
        private_key=AWG.private_bytes(),
        random=os.urandom,
        wall_clock=time.time_ns,
        parameters=parameters_of(seed),
    )
    pairing = pairing_of(device.profile, device.node, device.secrets, generation)
    peer = PeerConfig(
        public_key=device.secrets.awg.public,
        preshared_key=derive_psk(pairing, device.secrets.derive),
        allowed_ips=(ip_network("10.86.0.2/32"),),
    )
    engine.set_peer(peer, trio.current_time())
    async with open_tunnel(engine, EchoEnd([ip_address(INNER)]), host=LOOPBACK, port=port):
        yield


async def echoes(device: Scene) -> int:
    async with open_node_tunnel(device.profile, device.node, device.secrets) as tunnel:
        await tunnel.wait_up(20)
        return (await tunnel.ping(1)).received


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeking, "FIRST_LOOK", 0.4)
    monkeypatch.setattr(seeking, "LOOK_EVERY", 0.4)


@pytest.mark.usefixtures("impatient")
async def test_ways_are_tried_in_turn_with_their_own_parameters() -> None:
    closed, spare = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    device = scene(way(closed), way(spare), way(spare, seed=2))
    async with serving(spare, device, seed=2):
        assert await echoes(device) == 1


@pytest.mark.usefixtures("impatient")
async def test_next_generation_is_tried_when_no_way_leads_there_by_this_one() -> None:
    port, closed = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    device = scene(way(closed), way(port))
    async with serving(port, device, generation=2):
        assert await echoes(device) == 1


@pytest.mark.usefixtures("impatient")
async def test_way_with_a_key_of_its_own_is_dialled_by_the_key_that_was_checked() -> None:
    """Pins, deny list and fleet lock look at the first key; another one must not get in behind it."""
    closed, port = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    device = scene(way(closed), way(port, key=KeyPair.generate().public))
    async with serving(port, device):
        assert await echoes(device) == 1


async def test_name_that_does_not_resolve_costs_the_other_ways_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port(socket.SOCK_DGRAM)
    resolve = trio.socket.getaddrinfo

    async def getaddrinfo(host: str, *args: object, **kwargs: object) -> object:
        if host == "gone.example":
            raise socket.gaierror("unknown")
        return await resolve(host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(trio.socket, "getaddrinfo", getaddrinfo)
    device = scene(way(port, host="gone.example"), way(port))
    async with serving(port, device):
        assert await echoes(device) == 1
    with pytest.raises(NoAnswerError, match=r"gone\.example does not resolve"):
        await echoes(scene(way(port, host="gone.example")))

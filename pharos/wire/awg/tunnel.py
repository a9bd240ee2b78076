"""Tunnels for those who run them: a device with its socket and its pump, opened and closed as one."""

import functools
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import NoReturn

import attrs
import trio

from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import DEFAULT_MTU, Device
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.events import PeerStatus
from pharos.wire.awg.inner import InnerEnd
from pharos.wire.awg.memory import MemoryEnd, memory_link
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.pool import LOOK_EVERY, Silence, Way, endpoints
from pharos.wire.awg.pump import EventHandler, Pump
from pharos.wire.awg.udp import ANY_IPV4, ANY_IPV6, UdpPort, bind_udp, local_address
from pharos.wire.errors import ParameterError
from pharos.wire.tasks import open_background
from pharos.wire.tcpdial import Protect
from pharos.wire.world import random_bytes, wall_ns


class Tunnel:
    """A running device; ``open_tunnel`` makes it."""

    def __init__(self, device: Device, pump: Pump, addresses: Sequence[Address], shared: Collection[int]) -> None:
        self.address = addresses[0]
        """Where it listens; the port is the real one."""
        self.further_addresses = tuple(addresses[1:])
        """Its further ports, in the order they were asked for."""
        self._device = device
        self._pump = pump
        self._shared = shared

    @property
    def public_key(self) -> bytes:
        return self._device.public_key

    def set_parameters(self, parameters: ObfuscationParameters) -> None:
        """Frame everything otherwise from now on, but on ports with parameters of their own."""
        self._device.set_parameters(parameters)
        for face in self._shared:
            self._device.set_face(face, parameters)

    def set_peer(self, config: PeerConfig) -> None:
        """Add a peer or change it; see ``Device.set_peer``.

        Raises: ParameterError
        """
        self._device.set_peer(config, trio.current_time())
        self._pump.wake_nowait()

    def remove_peer(self, public_key: bytes) -> None:
        """Forget a peer, with its sessions, at once; nothing happens if it is not known."""
        self._device.remove_peer(public_key)
        self._pump.wake_nowait()
        self._pump.notify_nowait()

    def initiate_handshake(self, public_key: bytes) -> None:
        """Begin a handshake now, or 5 s after the last one was begun or answered.

        Raises: LocalProtocolError — there is no such peer.
        """
        self._device.initiate_handshake(public_key, trio.current_time())
        self._pump.wake_nowait()

    def set_endpoint(self, public_key: bytes, endpoint: Address) -> None:
        """Reach a peer elsewhere from now on; its session lives on.

        Raises: LocalProtocolError, ParameterError
        """
        self._device.set_endpoint(public_key, endpoint, trio.current_time())
        self._pump.wake_nowait()

    def status(self, public_key: bytes) -> PeerStatus:
        """Raises: LocalProtocolError — there is no such peer."""
        return self._device.status(public_key, trio.current_time())

    def statuses(self) -> list[PeerStatus]:
        return self._device.statuses(trio.current_time())

    async def wait_handshake(self, public_key: bytes) -> PeerStatus:
        """Wait until there is a session with a peer to send on, beginning handshakes as often as it takes.

        Raises: LocalProtocolError — there is no such peer, or it was removed meanwhile.
        """
        await trio.lowlevel.checkpoint()
        while (status := self.status(public_key)).session_age is None:
            self._device.initiate_handshake(public_key, trio.current_time())
            self._pump.wake_nowait()
            await self._pump.wait_change()
        return status


class ClientTunnel:
    """A tunnel to one peer, used from this program: also the inner end of what one sends through it."""

    def __init__(self, tunnel: Tunnel, peer: bytes, link: MemoryEnd) -> None:
        self.address = tunnel.address
        """Where it sends from."""
        self._tunnel = tunnel
        self._peer = peer
        self._link = link

    async def receive_packets(self) -> Sequence[bytes]:
        """Wait for packets from the peer; when nobody takes them the oldest are dropped.

        Raises: trio.EndOfChannel — the tunnel is closed.
        """
        return await self._link.receive_packets()

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        """Send packets to the peer; when they come faster than they can be sealed the oldest are dropped."""
        self._link.send_packets_nowait(packets)

    async def wait_handshake(self) -> PeerStatus:
        """Wait until the peer has answered and there is a session to send on. The caller sets the timeout."""
        return await self._tunnel.wait_handshake(self._peer)

    def initiate_handshake(self) -> None:
        """Begin a handshake, say after the peer was restarted: now, or 5 s after the last one."""
        self._tunnel.initiate_handshake(self._peer)

    def set_endpoint(self, endpoint: Address) -> None:
        """Reach the peer at another address from now on; the session lives on.

        Raises: ParameterError — it is not a numeric address.
        """
        self._tunnel.set_endpoint(self._peer, endpoint)

    def set_peer(self, config: PeerConfig) -> None:
        """Change the peer, whose public key stays: another preshared key ends the session; see ``Device.set_peer``.

        Raises: ParameterError
        """
        self._tunnel.set_peer(config)

    def status(self) -> PeerStatus:
        return self._tunnel.status(self._peer)


@attrs.frozen(kw_only=True)
class FurtherPort:
    """A UDP port a tunnel listens on besides its first; a peer is answered from where it was heard."""

    port: int = 0
    """0 takes any free one."""
    parameters: ObfuscationParameters | None = None
    """What is spoken there; None is what the device speaks, so that several make a range of ports."""


@asynccontextmanager
async def open_tunnel(
    device: Device,
    inner: InnerEnd,
    *,
    host: str = ANY_IPV4,
    port: int = 0,
    further: Sequence[FurtherPort] = (),
    on_event: EventHandler | None = None,
    protect: Protect | None = None,
) -> AsyncIterator[Tunnel]:
    """Run ``device`` on a UDP port of its own, or several, while the block lasts; port 0 takes any free one.

    Raises: OSError — the address is not ours, a port is taken, or a socket cannot be protected.
    """
    with ExitStack() as stack:
        ports_wanted = (port, *[each.port for each in further])
        socks = [stack.enter_context(bind_udp(host, each, protect=protect)) for each in ports_wanted]
        for face, each in enumerate(further, start=1):
            device.set_face(face, each.parameters or device.parameters)
        ports = [UdpPort(sock, face=face) for face, sock in enumerate(socks)]
        pump = Pump(device, ports, inner, on_event=on_event)
        shared = [face for face, each in enumerate(further, start=1) if each.parameters is None]
        async with open_background(pump.run):
            yield Tunnel(device, pump, [local_address(sock) for sock in socks], shared)


@asynccontextmanager
async def open_client_tunnel(
    *,
    private_key: bytes,
    peer: PeerConfig,
    parameters: ObfuscationParameters = PLAIN,
    mtu: int = DEFAULT_MTU,
    ways: Sequence[Way] = (),
    on_event: EventHandler | None = None,
    protect: Protect | None = None,
) -> AsyncIterator[ClientTunnel]:
    """Open a tunnel to one peer, whose endpoint must be given; the first handshake begins at once.

    When the peer falls silent its other ``ways`` are tried in turn, each at a port chosen anew.

    Raises: ParameterError — a key or the endpoint breaks a rule. OSError — no socket can be had.
    """
    if peer.endpoint is None:
        raise ParameterError("endpoint = None: must be given for the peer of a client tunnel")
    device = Device(private_key=private_key, random=random_bytes, wall_clock=wall_ns, parameters=parameters, mtu=mtu)
    now = trio.current_time()
    device.set_peer(peer, now)
    device.initiate_handshake(peer.public_key, now)
    near, far = memory_link()
    host = ANY_IPV6 if any(":" in each for each in (peer.endpoint[0], *[way.host for way in ways])) else ANY_IPV4
    try:
        async with open_tunnel(device, far, host=host, on_event=on_event, protect=protect) as tunnel:
            client = ClientTunnel(tunnel, peer.public_key, near)
            async with AsyncExitStack() as stack:
                if ways:
                    await stack.enter_async_context(open_background(functools.partial(_seek_way, client, ways)))
                yield client
    finally:
        near.close()


async def _seek_way(
    client: ClientTunnel, ways: Sequence[Way], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> NoReturn:
    """Try the next way whenever the peer has been silent for too long. A session lives on, if the peer is there."""
    tries, silence = endpoints(ways, random_bytes), Silence(client.status())
    task_status.started()
    while True:
        await trio.sleep(LOOK_EVERY)
        if silence.look(client.status()):
            client.set_endpoint(next(tries))
            client.initiate_handshake()

"""AmneziaWG engines behind UAPI sockets, without root: what is inside the tunnel is a link in memory."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path

import attrs
import trio

from pharos.buoy.dataplane.base import AwgPlan
from pharos.buoy.dataplane.links import Link
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.engine import Engine, open_engine
from pharos.wire.awg.inner import InnerEnd
from pharos.wire.awg.keys import public_key
from pharos.wire.awg.memory import MemoryEnd, memory_link
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.ping import ping
from pharos.wire.awg.uapi import BadRequest, DeviceChange, PeerChange, Request, parameter_changes
from pharos.wire.awg.uapiread import UapiReader
from pharos.wire.awg.uapiserver import answer, listen_uapi, serve_uapi
from pharos.wire.awg.udp import bind_udp, local_address
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId
from pharos.wire.localsocket import serve_managers
from tests.buoy.dataplane.plans import DEVICE_KEYS, NODE_KEY

NODE = ip_address("10.86.0.1")


def free_ports(count: int) -> list[int]:
    """Return UDP ports that nobody had a moment ago."""
    socks = [bind_udp("::", 0) for _ in range(count)]
    try:
        return [local_address(sock)[1] for sock in socks]
    finally:
        for sock in socks:
            sock.close()


@asynccontextmanager
async def running_engine(inner: InnerEnd) -> AsyncIterator[Engine]:
    """Run an engine while the block lasts."""
    with open_engine(inner) as engine:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            yield engine
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def served_engine(folder: Path, name: str = "awg0", *, foreign: bool = False) -> AsyncIterator[Engine]:
    """Run an engine that answers pings, at the socket of an interface; a foreign one knows the common UAPI only."""
    async with running_engine(EchoEnd([NODE])) as engine:
        with listen_uapi(name, [folder]) as listeners:
            async with trio.open_nursery() as nursery:
                if foreign:
                    await nursery.start(serve_managers, _common_only(engine), listeners)
                else:
                    await nursery.start(serve_uapi, engine, listeners)
                yield engine
                nursery.cancel_scope.cancel()


def _common_only(engine: Engine) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def converse(stream: trio.SocketStream) -> None:
        reader = UapiReader()
        async for data in stream:
            for request in reader.receive_data(bytes(data)):
                if isinstance(request, DeviceChange) and _is_ours(request):
                    request = BadRequest(errno.EINVAL, "an unknown key")
                reply = answer(engine, request)
                if not reply:
                    return
                await stream.send_all(reply.encode())

    return converse


def _is_ours(request: Request) -> bool:
    assert isinstance(request, DeviceChange)
    return bool(request.faces) or any(
        peer.send_rate is not None or peer.receive_rate is not None for peer in request.peers
    )


@attrs.define
class Heard:
    """What a driver told, and what links it set."""

    events: list[tuple[EventKind, DeviceId, str]] = attrs.field(factory=list)
    links: list[Link] = attrs.field(factory=list)
    restarts: int = 0
    _changed: trio.Event = attrs.field(factory=trio.Event)

    def on_event(self, kind: EventKind, *, at: int, device_id: DeviceId, detail: str) -> None:
        assert at > 0
        self.events.append((kind, device_id, detail))
        self._changed.set()

    async def set_link(self, link: Link) -> None:
        self.links.append(link)
        self._changed.set()

    async def restart(self) -> None:
        self.restarts += 1

    @property
    def kinds(self) -> list[EventKind]:
        return [kind for kind, _, _ in self.events]

    async def wait_for(self, done: Callable[[], bool], *, seconds: float = 10) -> None:
        """Wait for what changes with an event or a link."""
        with trio.fail_after(seconds):
            while not done():
                self._changed = trio.Event()
                await self._changed.wait()


async def wait_until(done: Callable[[], bool], *, seconds: float = 10) -> None:
    """Wait for what nobody tells of."""
    with trio.fail_after(seconds):
        while not done():  # noqa: ASYNC110 -- there is no event to wait for
            await trio.sleep(0.01)


@attrs.frozen
class Device:
    """A device's own engine, and what it is spoken to by."""

    number: int
    engine: Engine
    link: MemoryEnd

    def dial(self, port: int, parameters: ObfuscationParameters = PLAIN) -> None:
        """Speak to a port of the node from now on; the session stays, if there is one."""
        peer = PeerChange(
            public_key=public_key(NODE_KEY),
            preshared_key=bytes([self.number + 1]) * 32,
            allowed_ips=(ip_network("0.0.0.0/0"), ip_network("::/0")),
            endpoint=("127.0.0.1", port),
        )
        state = self.engine.state()
        change = DeviceChange(
            private_key=DEVICE_KEYS[self.number] if not any(state.private_key) else None,
            parameters=parameter_changes(state.parameters, parameters),
            peers=(peer,),
        )
        assert self.engine.apply(change) == 0

    async def echoes(self, count: int = 3) -> int:
        """Return how many pings to the node were answered."""
        with trio.fail_after(10):
            source = ip_address("10.86.0.2") + self.number
            return (await ping(self.link, source=source, destination=NODE, count=count, interval=0.001)).received

    @property
    def last_handshake(self) -> int:
        return self.engine.state().peers[0].last_handshake_ns


@asynccontextmanager
async def running_device(number: int = 0) -> AsyncIterator[Device]:
    """Run a device's engine while the block lasts."""
    near, far = memory_link()
    async with running_engine(far) as engine:
        yield Device(number, engine, near)


def served_ports(engine: Engine) -> dict[int, ObfuscationParameters]:
    """Return what an engine speaks at which port."""
    state = engine.state()
    return {state.listen_port: state.parameters} | {face.listen_port: face.parameters for face in state.faces}


def is_served(engine: Engine, plan: AwgPlan) -> bool:
    """Tell whether an engine has a plan's key and peers, and its endpoints."""
    state = engine.state()
    ports = served_ports(engine)
    return (
        state.private_key == plan.private_key
        and {peer.public_key for peer in state.peers} == {peer.public_key for peer in plan.peers.values()}
        and all(ports.get(endpoint.port) == endpoint.parameters for endpoint in plan.endpoints)
    )

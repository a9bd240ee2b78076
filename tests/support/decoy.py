"""A whole beacon on loopback, and strangers who look at it as browsers and scanners do."""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio
from grpclib.const import Status

from pharos.beacon.app import BeaconAddresses, run_beacon
from pharos.beacon.config import BeaconConfig
from pharos.beacon.decoy.door import Door
from pharos.beacon.decoy.front import Decoy, make_decoy
from pharos.beacon.sanitize import PASSAGE_PATH
from pharos.wire.files import open_state_directory
from pharos.wire.pki.roles import Role
from pharos.wire.pki.tls import client_context
from pharos.wire.rpc.flow import EDGE, TUNNEL
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2core import Accept
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.server import refuse
from pharos.wire.rpc.transport import SecureStream, open_tls
from tests.support.agents import joined
from tests.support.pki import home_fleet
from tests.support.relay import echo, passage_headers
from tests.support.rpc import HOST

RELAY: Final = "gate"
OWN_NAME: Final = home_fleet().identity(Role.RELAY, RELAY).dns_name or ""


def stranger_context(*alpn: str, old: bool = False) -> ssl.SSLContext:
    """What a browser dials with that believes any certificate; ``old`` speaks nothing newer than TLS 1.2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if old:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


Visit = trio.SSLStream[trio.SocketStream]


async def visit(
    port: int, *alpn: str, name: str | None = "example.org", old: bool = False, source: str | None = None
) -> Visit:
    """Shake hands as a stranger who asks for ``name``.

    Raises: trio.BrokenResourceError — there is no handshake to be had.
    """
    tcp = await trio.open_tcp_stream(HOST, port, local_address=source)
    stream = trio.SSLStream(tcp, stranger_context(*alpn, old=old), server_hostname=name, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Read to the end, or to where it breaks off."""
    said = bytearray()
    try:
        async for data in stream:
            said += data
    except trio.BrokenResourceError:
        pass
    return bytes(said)


async def ask(port: int, request: bytes, **options: Any) -> bytes:
    """Say something in HTTP/1.1 and return all that comes back."""
    stream = await visit(port, "http/1.1", **options)
    try:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(request)
        return await read_all(stream)
    finally:
        await trio.aclose_forcefully(stream)


@attrs.frozen
class WholeBeacon:
    """A beacon as `beacon run` runs it."""

    addresses: BeaconAddresses
    nursery: trio.Nursery
    door: Door

    def visitors(self) -> int:
        """Return how many strangers look at the site now."""
        return self.door.visitors

    def bound_visitors(self, most: int) -> None:
        """Let so many look at once."""
        self.door._max_visitors = most  # type: ignore[misc]

    @property
    def ingress(self) -> int:
        return self.addresses.ingress[1]

    @property
    def tunnel(self) -> int:
        return self.addresses.tunnel[1]

    async def dial(self, port: int, role: Role | None, name: str = "one", *, helm: Accept | None = None) -> Connection:
        """Connect as a member, or as nobody who knows the relay's name; as helm, which then serves ``helm``.

        Raises: LinkLostError, LinkRefusedError.
        """
        stream = await self.open_tls(port, role, name)
        connection = Connection(
            stream, client_side=helm is None, windows=EDGE if helm is None else TUNNEL, accept=helm, keepalive=None
        )
        self.nursery.start_soon(connection.run)
        await connection.wait_up()
        return connection

    async def open_tls(self, port: int, role: Role | None, name: str = "one") -> SecureStream:
        fleet = home_fleet()
        context = client_context(trust=fleet.trust, credentials=None if role is None else fleet.member(role, name))
        return await open_tls(HOST, port, context, server_hostname=OWN_NAME)

    async def come_as_helm(self) -> Connection:
        """Open a tunnel on which passages are echoed; the beacon offers it to them when this returns."""
        arrived = trio.Event()

        async def accept(stream: H2Stream) -> None:
            if dict(stream.headers or [])[":path"] == PASSAGE_PATH:
                await echo(stream)
            else:
                # It asks for orders when it has the tunnel.
                arrived.set()
                await refuse(stream, Status.UNIMPLEMENTED)

        connection = await self.dial(self.tunnel, Role.CONTROLLER, helm=accept)
        await arrived.wait()
        return connection

    async def open_passage(self, name: str = "one", port: int | None = None) -> H2Stream:
        """Open a passage as a device; its answer has not been read."""
        connection = await self.dial(port or self.ingress, Role.DEVICE, name)
        stream = connection.create_stream()
        await stream.send_request(passage_headers())
        return stream

    async def serves(self, name: str = "one", port: int | None = None) -> bool:
        """Tell whether a device's words come back from helm."""
        stream = await self.open_passage(name, port)
        await stream.recv_headers()
        await stream.send_data(b"hello")
        said = await stream.recv_data(5)
        stream.close()
        return said == b"hello"


@asynccontextmanager
async def whole_beacon(state: Path, **settings: Any) -> AsyncIterator[WholeBeacon]:
    """Run a beacon while the block lasts; its ports are free ones unless set."""
    if not (state / "identity.json").exists():
        joined(open_state_directory(state), Role.RELAY, RELAY)
    ports = {"ingress_port": 0, "tunnel_port": 0}
    config = BeaconConfig(state=state, host=HOST, **(ports | settings))
    doors: list[Door] = []

    def remember(*args: Any, **options: Any) -> Decoy:
        decoy = make_decoy(*args, **options)
        doors.append(decoy.transport)
        return decoy

    with trio.fail_after(120), pytest.MonkeyPatch.context() as patch:
        patch.setattr("pharos.beacon.core.make_decoy", remember)
        async with trio.open_nursery() as nursery:
            addresses = await nursery.start(functools.partial(run_beacon, config))
            yield WholeBeacon(addresses, nursery, doors[0])
            nursery.cancel_scope.cancel()

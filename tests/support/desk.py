"""An admin's device at helm's desk, with no passage between: its calls come over a memory stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from pharos.caravel.admin.link import Head, Lane, Request, open_lane
from pharos.helm.accounts.admindevices import give_device
from pharos.helm.accounts.admins import add_admin, make_link
from pharos.helm.model.admins import Admin, Role
from pharos.helm.model.devices import Device
from pharos.helm.relay.adminweb import AdminCalls, Desk
from pharos.helm.store.database import Database
from pharos.helm.web.app import make_loopback_app
from pharos.wire.ids import DeviceId
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.rpc.server import Service, serve_connection
from tests.support.helm import SampleHelm, enrol_sample_device, sample_act

HOST = "localhost:8440"
SESSION = "/api/v1/session"


@attrs.frozen
class MemoryLink:
    """Leads one device to a desk."""

    channel: Channel

    def open_lane(self) -> AbstractAsyncContextManager[Lane]:
        return open_lane(self.channel)


def desk_of(helm: SampleHelm, app: Any = None) -> Desk:
    """helm's own desk, or one with another application behind it."""
    return Desk(helm.store, app or make_loopback_app(helm.context, {HOST}), HOST)


@asynccontextmanager
async def linked(desk: Desk, device_id: DeviceId) -> AsyncIterator[MemoryLink]:
    """Connect a device to the desk for the block."""
    near, far = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await serve_connection(far, Service([AdminCalls(desk, device_id)]), keepalive=None)

        nursery.start_soon(serve)
        async with open_channel(near, authority="helm", keepalive=None) as channel:
            yield MemoryLink(channel)
        nursery.cancel_scope.cancel()


async def ask(lane: Lane, method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> tuple[Head, bytes]:
    """Ask once, and read the whole answer."""
    head = await lane.ask(Request(method=method, target=target, headers=headers, body=body))
    received = b""
    async for piece in lane.read_body():
        received += piece
    return head, received


@attrs.frozen
class AtDesk:
    """An admin, the device, and a link to come in by."""

    admin: Admin
    device: Device
    secret: str

    @property
    def device_id(self) -> DeviceId:
        return self.device.id


async def admin_with_device(helm: SampleHelm, number: int = 1, *, name: str = "ada", role: Role = Role.OWNER) -> AtDesk:
    """Make an admin whose device number ``number`` is."""

    def write(db: Database) -> AtDesk:
        admin, device = add_admin(db, sample_act(), name, role), enrol_sample_device(db, number)
        give_device(db, sample_act(), admin.id, device.id)
        return AtDesk(admin, device, make_link(db, sample_act(), admin.id))

    return await helm.store.run(write)

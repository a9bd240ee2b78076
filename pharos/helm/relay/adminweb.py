"""helm's page and API for an admin elsewhere: an ASGI server whose connections are calls inside a device's passage.

Two walls, both needed: the device is an admin's, which is looked up before the application hears of anything; and that
admin signs in at the application, as on loopback (`pharos.helm.web.desk` has the application's half).
"""

from __future__ import annotations

from typing import Final

import attrs
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.helm.live.board import now_us
from pharos.helm.model.desk import AdminDevice
from pharos.helm.relay.adminanswer import AnswerWriter, Application, Call, Event
from pharos.helm.relay.adminscope import make_scope
from pharos.helm.relay.adminsocket import run_socket
from pharos.helm.store.admindevices import find_admin_device
from pharos.helm.store.database import Store
from pharos.wire.gen.pharos.account.v1 import admin_grpc
from pharos.wire.gen.pharos.account.v1 import admin_pb2 as pb
from pharos.wire.ids import DeviceId
from pharos.wire.rpc.limits import INNER_STREAMS
from pharos.wire.units import SECONDS

MAX_CALLS: Final = INNER_STREAMS
"""At once, of one device, over all of its passages: a browser opens six connections, and a feed for each tab."""
IDLE: Final = 120 * SECONDS
"""Between two exchanges of a call. caravel ends one after half a minute; this is for a device that does not."""
REFUSED: Final = "this device is no admin's: an owner has to give it to one, with helm admins device"


@attrs.define(eq=False)
class _Seat:
    """One call that is open."""

    device_id: DeviceId
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    device: AdminDevice | None = None


class Desk:
    """The application behind the passages, and who is at it."""

    def __init__(self, store: Store, app: Application, host: str) -> None:
        self._store = store
        self._app = app
        self._host = host
        """``localhost:8440``, as the application knows itself."""
        self._seats: set[_Seat] = set()

    async def find(self, device_id: DeviceId) -> AdminDevice | None:
        """Return whose device this is, if it and that admin may come in now."""
        return await self._store.read(find_admin_device, device_id, at=now_us())

    async def serve(self, call: Call, device_id: DeviceId) -> None:
        """Serve one call of ``device_id``, to its end or until the device or its admin may not come in any more: it is
        put out, or it expires.

        Raises: GRPCError — PERMISSION_DENIED: it is no admin's device, or is none any more. RESOURCE_EXHAUSTED.
        """
        if sum(seat.device_id == device_id for seat in self._seats) >= MAX_CALLS:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a device has at most {MAX_CALLS} calls at the desk")
        seat = _Seat(device_id)
        # Before it is looked up: whoever is put out meanwhile is found by `review`.
        self._seats.add(seat)
        try:
            with seat.scope:
                seat.device = await self.find(device_id)
                if seat.device is None:
                    raise GRPCError(Status.PERMISSION_DENIED, REFUSED)
                if seat.device.until is not None:
                    seat.scope.deadline = trio.current_time() + (seat.device.until - now_us()) / 1e6
                await self._converse(call, seat.device)
        finally:
            self._seats.discard(seat)
        if seat.scope.cancelled_caught:
            raise GRPCError(Status.PERMISSION_DENIED, REFUSED)

    async def review(self) -> None:
        """End the calls of whoever may not be here any more; to be called when a device or an admin has changed."""
        for device_id in {seat.device_id for seat in self._seats}:
            now = await self.find(device_id)
            for seat in self._seats:
                if seat.device_id == device_id and (now is None or seat.device not in (now, None)):
                    seat.scope.cancel()

    async def _converse(self, call: Call, device: AdminDevice) -> None:
        while True:
            up: pb.HttpUp | None = None
            with trio.move_on_after(IDLE):
                up = await call.recv_message()
            if up is None:
                return
            if up.WhichOneof("said") != "request":
                raise GRPCError(Status.INVALID_ARGUMENT, "an exchange begins with a request")
            scope = make_scope(up.request, device, self._host)
            if up.request.websocket:
                await run_socket(call, self._app, scope)
                return
            await _exchange(call, self._app, scope, up.request.body)


class AdminCalls(admin_grpc.AdminBase):
    """Served in the passages of one device."""

    def __init__(self, desk: Desk, device_id: DeviceId) -> None:
        self._desk = desk
        self._device_id = device_id

    async def Http(self, stream: Call) -> None:
        """Carry exchanges with helm's page and API."""
        await self._desk.serve(stream, self._device_id)


async def _exchange(call: Call, app: Application, scope: Event, body: bytes) -> None:
    """Let the application answer one request.

    Raises: GRPCError — it left its answer half-way.
    """
    asked = False

    async def receive() -> Event:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}
        # Whoever leaves ends the call, and this with it; who stays says nothing before the answer is complete.
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    answer = AnswerWriter(call, bodiless=scope["method"] == "HEAD")
    await app(scope, receive, answer.send)
    if not answer.complete:
        raise GRPCError(Status.INTERNAL, "the answer was left half-way")

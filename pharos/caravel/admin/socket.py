"""A WebSocket between a browser on loopback and helm's desk."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio
import wsproto
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.events import Request as Upgrade
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from pharos.caravel.admin.guard import TurnedAwayError
from pharos.caravel.admin.http1 import READ, Asked, BrowserConnection
from pharos.caravel.admin.link import Lane
from pharos.caravel.errors import CaravelError
from pharos.wire.gen.pharos.account.v1 import admin_pb2 as pb
from pharos.wire.units import KIB

MAX_MESSAGE: Final = 64 * KIB
"""From the page; as helm has it."""
TOO_BIG: Final = 1009
TRY_AGAIN: Final = 1013


def begin_socket(asked: Asked) -> wsproto.WSConnection:
    """Read a request as one for a WebSocket.

    Raises: TurnedAwayError — it is none (RFC 6455 §4.2.1).
    """
    machine = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in asked.headers]
    try:
        machine.initiate_upgrade_connection(headers, asked.target)
        begun = isinstance(next(machine.events(), None), Upgrade)
    except RemoteProtocolError as error:
        raise TurnedAwayError(400, str(error)) from error
    if not begun:
        raise TurnedAwayError(400, "this asks for no WebSocket")
    return machine


async def carry_socket(browser: BrowserConnection, machine: wsproto.WSConnection, lane: Lane) -> None:
    """Carry messages both ways until either side closes; helm has accepted already."""
    socket = _Socket(browser, lane, machine)
    await socket.say(AcceptConnection())
    async with trio.open_nursery() as nursery:
        # Whichever side ends it, the other has nobody to speak to.
        for carry in (socket.from_helm, functools.partial(socket.from_browser, browser.http.trailing_data[0])):
            nursery.start_soon(_carry, carry, nursery.cancel_scope)


async def _carry(carry: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError, CaravelError):
        await carry()
    scope.cancel()


class _Socket:
    def __init__(self, browser: BrowserConnection, lane: Lane, machine: wsproto.WSConnection) -> None:
        self._browser = browser
        self._lane = lane
        self._machine = machine
        self._sending = trio.Lock()

    async def say(self, event: wsproto.events.Event) -> None:
        """Send one event to the browser; one that has no place any more, after a close, is dropped."""
        async with self._sending:
            try:
                data = self._machine.send(event)
            except LocalProtocolError:
                return
            await self._browser.send(data)

    async def from_browser(self, data: bytes) -> None:
        """Carry to helm what the page says, until it closes or leaves."""
        text, binary = "", bytearray()
        while True:
            self._machine.receive_data(data)
            for event in self._machine.events():
                if isinstance(event, TextMessage):
                    text += event.data
                elif isinstance(event, BytesMessage):
                    binary += event.data
                elif isinstance(event, Ping):
                    await self.say(event.response())
                    continue
                elif isinstance(event, CloseConnection):
                    await self._lane.send_close(event.code, event.reason or "")
                    await self.say(event.response())
                    return
                else:
                    continue
                if max(len(text), len(binary)) > MAX_MESSAGE:
                    await self.say(CloseConnection(code=TOO_BIG))
                    return
                if event.message_finished:
                    await (self._lane.send_binary(bytes(binary)) if binary else self._lane.send_text(text))
                    text = ""
                    binary.clear()
            data = await self._browser.stream.receive_some(READ)
            if not data:
                return

    async def from_helm(self) -> None:
        """Carry to the page what helm says, until it closes."""
        try:
            while True:
                said = await self._lane.receive()
                if isinstance(said, pb.SocketMessage):
                    await self.say(_message(said))
                    continue
                closing = said or pb.SocketClose(code=TRY_AGAIN)
                await self.say(CloseConnection(code=closing.code, reason=closing.reason))
                return
        except CaravelError:
            await self.say(CloseConnection(code=TRY_AGAIN, reason="the way to helm broke; connect again"))


def _message(said: pb.SocketMessage) -> TextMessage | BytesMessage:
    if said.WhichOneof("content") == "binary":
        return BytesMessage(data=said.binary, message_finished=not said.more)
    return TextMessage(data=said.text, message_finished=not said.more)

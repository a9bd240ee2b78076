"""What an ASGI application answers, as messages of a call inside a passage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from grpclib.server import Stream

from pharos.wire.gen.pharos.account.v1 import admin_pb2 as pb
from pharos.wire.units import KIB

Event = dict[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]
"""ASGI, version 3."""
Call = Stream[pb.HttpUp, pb.HttpDown]

PIECE: Final = 64 * KIB
"""Of a body: half a stream's window, so that one piece is under way while the next is read."""


class AnswerWriter:
    """Sends what ASGI says of an answer: headers with what there is of the body, and the rest in pieces.

    Waits where the device does not read, so that the application waits too.
    """

    def __init__(self, call: Call, prefix: str = "http", *, bodiless: bool = False) -> None:
        self.complete = False
        """Whether all of the answer is out."""
        self._bodiless = bodiless
        self._call = call
        self._start, self._body = f"{prefix}.response.start", f"{prefix}.response.body"
        self._head: pb.HttpResponse | None = None
        self._waiting = bytearray()

    async def send(self, event: Event) -> None:
        """Take one event of the application's."""
        if event["type"] == self._start:
            self._head = pb.HttpResponse(status=event["status"], headers=headers_of(event))
        elif event["type"] == self._body and not self.complete:
            self._waiting += b"" if self._bodiless else event.get("body", b"")
            while len(self._waiting) > PIECE:
                await self._send(bytes(self._waiting[:PIECE]), last=False)
                del self._waiting[:PIECE]
            if not event.get("more_body", False):
                await self._send(bytes(self._waiting), last=True)
                self.complete = True

    async def _send(self, data: bytes, *, last: bool) -> None:
        body, head = pb.HttpBody(data=data, last=last), self._head
        if head is None:
            await self._call.send_message(pb.HttpDown(body=body))
            return
        self._head = None
        head.body.CopyFrom(body)
        await self._call.send_message(pb.HttpDown(response=head))


def headers_of(event: Event) -> list[pb.HttpHeader]:
    """Return the headers of an application's answer."""
    return [
        pb.HttpHeader(name=name.decode("latin-1").lower(), value=value.decode("latin-1"))
        for name, value in event.get("headers", ())
    ]

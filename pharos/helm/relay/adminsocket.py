"""One WebSocket of helm's page inside a passage: an ASGI `websocket` scope over a call of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.helm.relay.adminanswer import AnswerWriter, Application, Call, Event
from pharos.wire.gen.pharos.account.v1 import admin_pb2 as pb
from pharos.wire.units import KIB

MAX_MESSAGE: Final = 64 * KIB
"""From a page; as on loopback (security.md row 42)."""
SIGNS: Final = 64 * KIB
"""In one piece of a message to it, at most 256 KiB of UTF-8: the picture of a large fleet is some megabytes."""
TOO_BIG: Final = 1009
WENT_AWAY: Final = 1006


async def run_socket(call: Call, app: Application, scope: Event) -> None:
    """Let the application have one WebSocket, to its end.

    Raises: GRPCError — the device said what has no place in one.
    """
    socket = _Socket(call)
    await app(scope, socket.receive, socket.send)


class _Socket:
    def __init__(self, call: Call) -> None:
        self._call = call
        self._connected = False
        self._accepted = False
        self._refusal = AnswerWriter(call, "websocket.http")

    async def receive(self) -> Event:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        up = await self._call.recv_message()
        if up is None:
            return {"type": "websocket.disconnect", "code": WENT_AWAY}
        kind = up.WhichOneof("said")
        if kind == "close":
            return {"type": "websocket.disconnect", "code": up.close.code}
        if kind != "message" or not self._accepted or up.message.more:
            raise GRPCError(Status.INVALID_ARGUMENT, "this has no place in a WebSocket")
        text, binary = up.message.text, up.message.binary
        if max(len(text), len(binary)) > MAX_MESSAGE:
            await self._close(TOO_BIG, "")
            return {"type": "websocket.disconnect", "code": TOO_BIG}
        if up.message.WhichOneof("content") == "binary":
            return {"type": "websocket.receive", "bytes": binary, "text": None}
        return {"type": "websocket.receive", "bytes": None, "text": text}

    async def send(self, event: Event) -> None:
        kind = event["type"]
        if kind == "websocket.accept":
            self._accepted = True
            await self._call.send_message(pb.HttpDown(response=pb.HttpResponse(status=101)))
        elif kind == "websocket.send":
            for message in _messages(event):
                await self._call.send_message(pb.HttpDown(message=message))
        elif kind == "websocket.close" and self._accepted:
            await self._close(event.get("code") or 1000, event.get("reason") or "")
        elif kind == "websocket.close":
            refused = pb.HttpResponse(status=403, body=pb.HttpBody(last=True))
            await self._call.send_message(pb.HttpDown(response=refused))
        else:
            await self._refusal.send(event)

    async def _close(self, code: int, reason: str) -> None:
        await self._call.send_message(pb.HttpDown(close=pb.SocketClose(code=code, reason=reason)))


def _messages(event: dict[str, Any]) -> Iterator[pb.SocketMessage]:
    text: str | None = event.get("text")
    content: Any = event.get("bytes") if text is None else text
    for start in range(0, max(1, len(content)), SIGNS):
        part, more = content[start : start + SIGNS], start + SIGNS < len(content)
        yield pb.SocketMessage(binary=part, more=more) if text is None else pb.SocketMessage(text=part, more=more)

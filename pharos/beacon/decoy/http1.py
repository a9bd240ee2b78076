"""The decoy in HTTP/1.1 (RFC 9112): h11 reads and writes, this loop carries and counts."""

from __future__ import annotations

from typing import Final

import h11
import trio

from pharos.beacon.decoy.site import Answer, Site
from pharos.wire.rpc.limits import MAX_HEADER_BLOCK
from pharos.wire.units import KIB, SECONDS
from pharos.wire.world import wall_seconds

# Row 33: the header of a request has 10 s, from the first wait for it. A browser that keeps its connection asks again
# within that or dials anew.
REQUEST_TIME: Final = 10 * SECONDS
# Browsers send nothing with a GET. What else comes is not read.
MAX_REQUESTS: Final = 100

_RECEIVE_SIZE: Final = 16 * KIB


async def serve_http1(stream: trio.abc.Stream, site: Site) -> None:
    """Answer requests, one after the other, until the visitor leaves, is slow, or has had enough."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BLOCK)
    for left in range(MAX_REQUESTS, 0, -1):
        request = None
        try:
            with trio.move_on_after(REQUEST_TIME):
                request = await _next_request(stream, connection)
            if request is None:
                return
            fields = dict(request.headers)
            # A body is not waited for, so what comes after it cannot be found.
            has_body = b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0"
            if not has_body:
                # The end of the request, which its header told.
                connection.next_event()
        except h11.RemoteProtocolError:
            if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await _send(stream, connection, site.error(400, now=wall_seconds()), close=True)
            return
        answer = site.answer(
            request.method.decode("ascii"),
            request.target.decode("ascii"),
            if_none_match=fields.get(b"if-none-match", b"").decode("latin-1"),
            now=wall_seconds(),
        )
        await _send(stream, connection, answer, close=has_body or left == 1)
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


async def _next_request(stream: trio.abc.Stream, connection: h11.Connection) -> h11.Request | None:
    """Return the next request whose header has come whole, None at the end of the stream.

    Raises: h11.RemoteProtocolError.
    """
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(bytes(await stream.receive_some(_RECEIVE_SIZE)))


async def _send(stream: trio.abc.Stream, connection: h11.Connection, answer: Answer, *, close: bool) -> None:
    await stream.send_all(_render(connection, answer, close=close))


def last_answer(answer: Answer) -> bytes:
    """Return an answer to whatever it was that came, after which the connection is closed."""
    return _render(h11.Connection(h11.SERVER), answer, close=True)


def _render(connection: h11.Connection, answer: Answer, *, close: bool) -> bytes:
    fields = [*answer.fields, ("Connection", "close" if close else "keep-alive")]
    events: list[h11.Event] = [
        h11.Response(status_code=answer.status, reason=answer.reason.encode(), headers=fields),
        *([h11.Data(data=answer.body)] if answer.body else []),
        h11.EndOfMessage(),
    ]
    return b"".join(connection.send(event) or b"" for event in events)

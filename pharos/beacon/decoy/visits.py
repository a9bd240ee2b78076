"""One stranger's visit to the decoy, from the handshake to its end."""

from __future__ import annotations

import functools
from typing import Final

import trio

from pharos.beacon.decoy.door import DecoyStream
from pharos.beacon.decoy.http1 import REQUEST_TIME, serve_http1
from pharos.beacon.decoy.site import Site
from pharos.wire.rpc.flow import EDGE
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.h2stream import H2Stream
from pharos.wire.rpc.peer import Peer
from pharos.wire.units import SECONDS
from pharos.wire.world import wall_seconds

# A page with all that belongs to it, on the worst of lines. Who reads on dials again, as browsers do unasked.
VISIT_TIME: Final = 60 * SECONDS
# What a browser asks for at once.
STREAMS: Final = 32


async def show_site(stream: DecoyStream, site: Site) -> None:
    """Serve a visitor in the protocol that was agreed upon, for a minute at most; `serve_tls` closes."""
    with trio.move_on_after(VISIT_TIME):
        if stream.protocol == "h2":
            await serve_http2(stream, site)
        else:
            await serve_http1(stream, site)


async def serve_http2(stream: DecoyStream, site: Site) -> None:
    """Answer requests by the engine that serves the fleet, with all its limits, and no PING of its own."""
    await Connection(
        stream,
        client_side=False,
        windows=EDGE,
        accept=functools.partial(_answer, site),
        peer=Peer(address=stream.peer_address),
        max_streams=STREAMS,
        keepalive=None,
        idle_timeout=REQUEST_TIME,
    ).run()


async def _answer(site: Site, stream: H2Stream) -> None:
    fields = dict(stream.headers or [])
    answer = site.answer(
        fields.get(":method", ""),
        fields.get(":path", ""),
        if_none_match=fields.get("if-none-match", ""),
        now=wall_seconds(),
    )
    head = [(":status", str(answer.status)), *((name.lower(), value) for name, value in answer.fields)]
    await stream.send_headers(head, end_stream=not answer.body)
    if answer.body:
        await stream.send_data(answer.body, end_stream=True)

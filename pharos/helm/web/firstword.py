"""The first word that a browser says on a WebSocket: what only helm's own page can have read (security.md row 48).

A WebSocket carries the cookie wherever the page came from that opened it, and is not held back as other answers of a
strange origin are. The guard has looked at Host and Origin before the upgrade; this holds where a browser lies.
"""

from __future__ import annotations

import hmac
from typing import Final

import trio
from quart import g, websocket

from pharos.helm.web.session import CSRF_HEADER, Signed, csrf_text
from pharos.wire.units import SECONDS

# The page has its token before it connects, and sends it with the first round trip.
PATIENCE: Final = 10 * SECONDS
UNPROVEN: Final = 4408
"""The code that the WebSocket is closed with (RFC 6455 §7.4.2: our own)."""


async def wait_proven() -> bool:
    """Wait until whoever opened this WebSocket has said the session's CSRF token; False: something else, or nothing.

    A program may send it as a header of the handshake, which no page can. Who came by other means than a cookie has
    shown already what no browser adds by itself.
    """
    signed: Signed | None = g.get("signed")
    if signed is None:
        return True
    said: str | bytes | None = websocket.headers.get(CSRF_HEADER)
    if said is None:
        with trio.move_on_after(PATIENCE):
            said = await websocket.receive()
    return isinstance(said, str) and hmac.compare_digest(said.encode(), csrf_text(signed.session).encode())

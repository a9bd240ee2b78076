"""What helm shows its browsers: the picture, and the live feed; here over its Unix socket, where nobody signs in."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import trio
import trio_websocket

from pharos.demo.errors import DemoError
from pharos.helm.config import SOCKET_NAME
from pharos.wire.units import MILLISECONDS

POLL_INTERVAL: Final = 50 * MILLISECONDS


class Feed:
    """Events as they arrive, each with the time it arrived at."""

    def __init__(self) -> None:
        self._events: list[tuple[dict[str, Any], float]] = []
        self._arrived = trio.Event()

    def take(self, events: list[dict[str, Any]]) -> None:
        """Add events that have just arrived."""
        now = time.time()
        self._events += [(event, now) for event in events]
        self._arrived.set()
        self._arrived = trio.Event()

    async def wait_event(self, matches: Callable[[dict[str, Any]], bool]) -> tuple[dict[str, Any], float]:
        """Return the first event that matches, past or future, and when it arrived (seconds since 1970)."""
        seen = 0
        while True:
            for event, at in self._events[seen:]:
                if matches(event):
                    return event, at
            seen = len(self._events)
            await self._arrived.wait()


@asynccontextmanager
async def open_feed(state: Path) -> AsyncIterator[Feed]:
    """Follow helm's live feed while the block lasts; a helm that stops ends the feed, not the block."""
    feed = Feed()
    async with await trio.open_unix_socket(state / SOCKET_NAME) as stream, trio.open_nursery() as nursery:
        websocket = await trio_websocket.wrap_client_stream(nursery, stream, "helm", "/api/v1/live?snapshot=no")
        await websocket.get_message()  # how the links stand

        async def follow() -> None:
            try:
                while True:
                    message = json.loads(await websocket.get_message())
                    feed.take(message.get("deltas", []) + message.get("events", []))
            except trio_websocket.ConnectionClosed:
                return

        nursery.start_soon(follow)
        yield feed
        nursery.cancel_scope.cancel()


async def wait_status(
    state: Path, holds: Callable[[dict[str, Any]], bool], check: Callable[[], None]
) -> dict[str, Any]:
    """Return helm's picture of the fleet once it is as wanted; ``check`` raises when waiting has become pointless.

    Raises: DemoError — helm answers with an error.
    """
    transport = httpx.AsyncHTTPTransport(uds=str(state / SOCKET_NAME))
    async with httpx.AsyncClient(transport=transport, base_url="http://helm") as client:
        while True:
            check()
            try:
                response = await client.get("/api/v1/status")
            except httpx.TransportError:
                pass
            else:
                if not response.is_success:
                    raise DemoError(f"helm answered {response.status_code}: {response.text}")
                picture: dict[str, Any] = response.json()
                if holds(picture):
                    return picture
            await trio.sleep(POLL_INTERVAL)

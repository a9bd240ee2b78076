"""Open pages for bench.fleet, in a process of their own: how late is an event of a node when a browser has it?"""

import datetime
import time
from typing import Any

import msgspec
import trio

from bench import _record_live
from bench._record_live import _open_page, _Page
from bench._rpc_ours import say
from bench._wire_fleet import answer_requests
from bench.support import percentile, raise_file_limit


class _Event(msgspec.Struct):
    at: datetime.datetime
    kind: str


class _Message(msgspec.Struct):
    events: list[_Event] = []


class EventPage(_Page):
    """Notes how late each handshake was; nothing is decoded while they arrive, but for their times."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self.late: list[float] = []
        self.begun = trio.Event()
        """Set with the first message, which is the picture of the whole fleet: some megabytes, and long to read."""
        self._decode = msgspec.json.Decoder(_Message).decode

    async def run(self) -> None:
        while octets := await self._stream.receive_some(256 * 1024):
            self._octets += octets
            while (text := self._take()) is not None:
                now = time.time()
                self.begun.set()
                for event in self._decode(text).events:
                    if event.kind == "handshake":
                        self.late.append((now - event.at.timestamp()) * 1000)


async def main() -> None:
    raise_file_limit()
    pages: list[EventPage] = []
    async with trio.open_nursery() as nursery:

        async def open_(*, port: int, headers: list[tuple[str, str]], count: int) -> dict[str, Any]:
            _record_live.HOST = f"localhost:{port}"  # type: ignore[misc]
            for _ in range(count):
                page = EventPage((await _open_page(port, headers))._stream)
                pages.append(page)
                nursery.start_soon(page.run)
                await page.begun.wait()
            return {}

        async def collect() -> dict[str, Any]:
            """Return how late events were at all pages since the last call."""
            late = [value for page in pages for value in page.late]
            least = min((len(page.late) for page in pages), default=0)
            for page in pages:
                page.late.clear()
            return {
                "p95": percentile(late, 95) if late else 0,
                "p50": percentile(late, 50) if late else 0,
                "least": least,
            }

        say(ready=True)
        await answer_requests({"open": open_, "collect": collect})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)

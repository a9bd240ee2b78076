"""A pair of streams between two ends of one process: what one sends the other receives, and no socket knows of it."""

from __future__ import annotations

from typing import Final

import trio

# Sends that may wait for the other end to read. The writer of a connection sends one at a time, so that a reader that
# is slow holds it up as a full socket buffer would.
_WAITING: Final = 1


class InProcessStream(trio.abc.Stream):
    """One end. A ``receive_some`` that is cancelled loses nothing."""

    def __init__(self, send: trio.MemorySendChannel[bytes], receive: trio.MemoryReceiveChannel[bytes]) -> None:
        self._send = send
        self._receive = receive
        self._unread = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Hand bytes over; waits while the other end has not read what came before."""
        if len(data):
            await self._send.send(bytes(data))
        else:
            await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: only a send can tell."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what the other end sent, at most ``max_bytes`` of it; nothing once it has closed."""
        if self._unread:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            try:
                self._unread = await self._receive.receive()
            except trio.EndOfChannel:
                return b""
        size = len(self._unread) if max_bytes is None else max_bytes
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    async def aclose(self) -> None:
        """Close both ways; the other end reads what is under way, and then the end."""
        self._send.close()
        self._receive.close()
        await trio.lowlevel.checkpoint()


def open_stream_pair() -> tuple[InProcessStream, InProcessStream]:
    """Return two ends of one connection."""
    there: tuple[trio.MemorySendChannel[bytes], trio.MemoryReceiveChannel[bytes]] = trio.open_memory_channel(_WAITING)
    back: tuple[trio.MemorySendChannel[bytes], trio.MemoryReceiveChannel[bytes]] = trio.open_memory_channel(_WAITING)
    return InProcessStream(there[0], back[1]), InProcessStream(back[0], there[1])

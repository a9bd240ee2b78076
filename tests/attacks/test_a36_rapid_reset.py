"""Row 36 (CVE-2023-44487). Position: any peer. Wants: handlers started and thrown away as fast as it can write.

Countermeasure: 100 resets at once and 20 a second, then GOAWAY; a cancelled handler keeps its slot until it has ended.
"""

from typing import Any

import pytest
import trio
from grpclib.server import Stream
from h2.events import StreamReset

from pharos.wire.rpc import h2core, limits
from tests.support.floods import CALM, RST_STREAM, forever, raw, request, target
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping, Pong
from tests.support.rpc import EchoService

CANCEL = b"\0\0\0\x08"
RESETS = 2000


# A turn of the reader is 32 frames. Whatever is reset within the turn that opened it has no handler at all; so many
# opened at a time, each has.
BATCH = 50


def open_and_reset(count: int, *, batch: int = 1) -> list[bytes]:
    chunks = []
    for first in range(1, 2 * count, 2 * batch):
        ids = range(first, first + 2 * batch, 2)
        chunks += [request(stream_id) for stream_id in ids]
        chunks += [raw(RST_STREAM, 0, stream_id, CANCEL) for stream_id in ids]
    return chunks


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.red_inside
async def test_a36_rapid_reset_ends_its_connection(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with target() as server:
        outcome = await server.attack([b"".join(open_and_reset(RESETS, batch=batch))])
        assert (outcome.survived, outcome.goaway) == (False, CALM)
        await server.service.wait_idle()
    forever(monkeypatch, "RESET_BURST")
    async with target() as weakened:
        outcome = await weakened.attack([b"".join(open_and_reset(RESETS, batch=batch))])
        assert (outcome.survived, outcome.goaway) == (True, None)
        await weakened.service.wait_idle()


async def test_a36_client_that_gives_up_a_hundred_calls_is_borne() -> None:
    async with target() as server:
        outcome = await server.attack([b"".join(open_and_reset(int(limits.RESET_BURST)))])
        assert outcome.survived


class Unstoppable(EchoService):
    """Its handlers take their time to end."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = trio.Event()

    async def Echo(self, stream: Stream[Ping, Pong]) -> None:
        async with self._watched():
            if not self.peers:
                # The good client's first call.
                self.peers.append(stream.peer)  # type: ignore[arg-type]
                await stream.recv_message()
                await stream.send_message(Pong(seq=1))
                return
            with trio.CancelScope(shield=True):
                await self.may_end.wait()
            await stream.recv_message()
            await stream.send_message(Pong(seq=2))


async def test_a36_cancelled_handler_keeps_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast streams are reset: the handlers at work are bounded by the streams a peer may have, twice."""
    forever(monkeypatch, "RESET_BURST")
    service = Unstoppable()
    async with target(service) as server:
        outcome = await server.attack(open_and_reset(RESETS, batch=BATCH))
        assert outcome.survived
        assert service.most_running == 2 * limits.MAX_STREAMS
        service.may_end.set()


async def test_a36_turns_red_where_a_reset_frees_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there are as many handlers at work as the peer has opened and reset."""
    forever(monkeypatch, "RESET_BURST")
    on_reset = h2core._ON_EVENT[StreamReset]

    def free_at_once(connection: Any, event: Any) -> None:
        on_reset(connection, event)
        connection.streams.pop(event.stream_id, None)

    monkeypatch.setitem(h2core._ON_EVENT, StreamReset, free_at_once)
    service = Unstoppable()
    async with target(service) as weakened:
        await weakened.attack(open_and_reset(RESETS, batch=BATCH))
        assert service.most_running > 4 * limits.MAX_STREAMS
        service.may_end.set()

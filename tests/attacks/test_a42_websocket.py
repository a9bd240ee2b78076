"""Row 42. Position: a page or a program that is let in. Wants: helm's memory, its time, or that it never stops.

Countermeasure: no extension is ever negotiated, a message is 64 kB at most and its connection ends with the first that
is more, who does not read is dropped, and what is left of a connection ends a second after its last octet. Feeds are
counted, in all and for each session. The weakened build is hypercorn as it is.
"""

from __future__ import annotations

import gc
import zlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import wsproto.frame_protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.tcp_server import MAX_RECV
from quart import websocket
from quart_trio import QuartTrio

from pharos.helm.web import live, server
from pharos.helm.web.app import MAX_MESSAGE, make_loopback_app
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Attacker,
    attacking,
    chunks,
    frame,
    plainly_serving,
)
from tests.support.helm import open_helm
from tests.support.http import serving
from tests.support.signin import sign_in

Serving = Callable[[QuartTrio], AbstractAsyncContextManager[int]]
DEFLATE = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
HOST = "localhost:8440"
LIVE = "/api/v1/live"


class Sink:
    """An app that takes messages, and knows how large they were."""

    def __init__(self, *, leaves_after: int | None = None) -> None:
        self.sizes: list[int] = []
        self.app = QuartTrio(__name__, static_folder=None)

        @self.app.websocket("/")
        async def take() -> None:
            await websocket.accept()
            while leaves_after is None or len(self.sizes) < leaves_after:
                self.sizes.append(len(await websocket.receive()))
                await websocket.send(f"{self.sizes[-1]}")
            await websocket.close(1008, "enough")


def held() -> int:
    """Octets, or characters, that all WebSockets of this process hold of what no app has got yet."""
    # Those of tests before this one are gone.
    gc.collect()
    streams = [one for one in gc.get_objects() if isinstance(one, WSStream) and hasattr(one, "connection")]
    return sum(one.buffer.length + len(one.connection._proto._frame_decoder.buffer) for one in streams)


async def fed(attacker: Attacker, kind: int = TEXT, size: int = 16_384, count: int = 256) -> None:
    """Send a message of 4 MiB in fragments without ever ending it."""
    for chunk in chunks(kind, b"x" * size, count):
        if not await attacker.send(chunk):
            return


@pytest.mark.red_inside
async def test_a42_deflate_is_never_negotiated_and_a_bomb_is_an_error() -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflater.compress(bytes(8 * 2**20)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    sink = Sink()
    async with serving(sink.app) as port, attacking(port, DEFLATE) as attacker:
        assert "101" in attacker.head.splitlines()[0]
        assert "sec-websocket-extensions" not in attacker.head
        await attacker.send(frame(BINARY, bomb[:-4], rsv=4))
        assert await attacker.closed() == 1002
    assert sink.sizes == []
    weakened = Sink()
    async with plainly_serving(weakened.app) as port, attacking(port, DEFLATE) as attacker:
        assert "sec-websocket-extensions: permessage-deflate" in attacker.head
        await attacker.send(frame(BINARY, bomb[:-4], rsv=4))
        await attacker.receive()
    assert weakened.sizes[0] > 500 * len(bomb)


@pytest.mark.parametrize("kind", [TEXT, BINARY])
async def test_a42_fragments_without_end_are_not_kept(kind: int) -> None:
    sink = Sink()
    async with serving(sink.app) as port, attacking(port) as attacker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fed, attacker, kind)
            assert await attacker.closed() == 1009
            assert held() <= MAX_MESSAGE + MAX_RECV
    assert sink.sizes == []
    # With our own limit, and hypercorn says 1009 too; but it goes on keeping what it has refused.
    async with plainly_serving(Sink().app, limit=MAX_MESSAGE) as port, attacking(port) as attacker:
        await fed(attacker, kind)
        with trio.fail_after(10):
            while held() < 255 * 16_384:
                await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a42_frame_that_says_it_is_a_terabyte_ends_at_64_kb() -> None:
    async with serving(Sink().app) as port, attacking(port) as attacker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attacker.send, frame(TEXT, b"x" * 2**20, length=2**40))
            assert await attacker.closed() == 1009
            assert held() <= MAX_MESSAGE + MAX_RECV


async def test_a42_message_of_just_64_kb_is_taken_and_one_octet_more_is_not() -> None:
    sink = Sink()
    async with serving(sink.app) as port:
        async with attacking(port) as attacker:
            await attacker.send(frame(TEXT, b"x" * MAX_MESSAGE))
            assert await attacker.receive() == (TEXT, str(MAX_MESSAGE).encode())
        async with attacking(port) as attacker:
            await attacker.send(frame(TEXT, b"x" * (MAX_MESSAGE + 1)))
            assert await attacker.closed() == 1009
    assert sink.sizes == [MAX_MESSAGE]


async def test_a42_unmasked_frames_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not masked, the page's script could choose octet by octet (RFC 6455 §10.3)."""
    bare = frame(TEXT, b"GET /secret HTTP/1.1", masked=False)
    sink = Sink()
    async with serving(sink.app) as port:
        for octets in (bare, frame(TEXT, b"begun", fin=False) + frame(CONTINUATION, b"bare", masked=False)):
            async with attacking(port) as attacker:
                await attacker.send(octets)
                assert await attacker.closed() == 1002
    assert sink.sizes == []

    class Lax(wsproto.frame_protocol.FrameDecoder):
        def __init__(self, client: bool, extensions: Any = None) -> None:
            super().__init__(True, extensions)  # noqa: FBT003

    monkeypatch.setattr(wsproto.frame_protocol, "FrameDecoder", Lax)
    async with serving(sink.app) as port, attacking(port) as attacker:
        await attacker.send(bare)
        assert await attacker.receive() == (TEXT, b"20")


async def living_after(serving_: Serving, app: QuartTrio, storm: Callable[[int], Any], *, grace: float) -> int:
    """Return by how many tasks the server has grown, ``grace`` seconds after a storm at its latest."""
    async with serving_(app) as port:
        await trio.testing.wait_all_tasks_blocked(0.01)
        before = trio.lowlevel.current_statistics().tasks_living
        await storm(port)
        with trio.move_on_after(grace):
            while trio.lowlevel.current_statistics().tasks_living > before:
                await trio.testing.wait_all_tasks_blocked(0.01)
        return trio.lowlevel.current_statistics().tasks_living - before


async def test_a42_storm_of_closes_leaves_nothing_behind() -> None:
    """Everybody goes on talking after the server's CLOSE, so that a reader waits for an app that has ended."""

    async def storm(port: int) -> None:
        async def one() -> None:
            async with attacking(port) as attacker:
                # More than the queues between reader and app hold.
                await attacker.send(b"".join(frame(TEXT, b"x") for _ in range(100)) + frame(CLOSE) * 20)
                await attacker.closed()

        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(one)

    assert await living_after(serving, Sink(leaves_after=1).app, storm, grace=10 * server.LINGER) == 0
    assert await living_after(plainly_serving, Sink(leaves_after=1).app, storm, grace=3 * server.LINGER) >= 40


async def test_a42_who_neither_answers_a_close_nor_leaves_is_gone_a_second_later() -> None:
    async with serving(Sink().app) as port, attacking(port) as attacker:
        await attacker.send(frame(TEXT, b"\xff"))
        assert await attacker.closed() == 1007
        # Its half stays open as long as it likes; ours does not.
        with trio.fail_after(10 * server.LINGER):
            while await attacker.send(frame(PING)):
                await trio.testing.wait_all_tasks_blocked(0.05)


class Flood:
    """An app that sends as much as anybody takes."""

    def __init__(self) -> None:
        self.app = QuartTrio(__name__, static_folder=None)
        self.sent = 0
        self.begun, self.ended = trio.Event(), trio.Event()

        @self.app.websocket("/")
        async def pour() -> None:
            try:
                while True:
                    await websocket.send("x" * 65_536)
                    self.sent += 1
                    self.begun.set()
                    # To send to who has gone does nothing, and waits for nothing.
                    await trio.lowlevel.checkpoint()
            finally:
                self.ended.set()

    async def wait_stuck(self) -> None:
        """Wait until it has begun and nobody takes any more."""
        await self.begun.wait()
        seen = -1
        while seen != self.sent:
            seen = self.sent
            await trio.testing.wait_all_tasks_blocked(0.5)


async def test_a42_who_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_PATIENCE", 0.2)
    flood = Flood()
    async with serving(flood.app) as port, attacking(port):
        with trio.fail_after(10):
            await flood.ended.wait()


async def stops(serving_: Serving, *, within: float) -> bool:
    """Tell whether a server stops in so many seconds while somebody does not read; in the end, it does."""
    flood, stopped = Flood(), trio.Event()

    async def run(*, task_status: trio.TaskStatus[int]) -> None:
        async with serving_(flood.app) as port:
            task_status.started(port)
            await flood.wait_stuck()
        stopped.set()

    async with trio.open_nursery() as nursery:
        async with attacking(await nursery.start(run)):
            with trio.move_on_after(within):
                await stopped.wait()
            in_time = stopped.is_set()
        with trio.fail_after(10):
            await stopped.wait()
    return in_time


async def test_a42_who_does_not_read_keeps_nobody_from_stopping() -> None:
    assert await stops(serving, within=10)
    assert not await stops(plainly_serving, within=3)


async def test_a42_there_is_no_way_to_another_protocol_with_other_limits() -> None:
    upgrade = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    upgrade += b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

    async def answer(port: int, greeting: bytes) -> bytes:
        with trio.fail_after(10):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(greeting)
                return bytes(await stream.receive_some())

    async with serving(Sink().app) as port:
        assert (await answer(port, upgrade)).startswith(b"HTTP/1.1 4")
        assert (await answer(port, preface)).startswith(b"HTTP/1.1 4")
    async with plainly_serving(Sink().app) as port:
        assert b"101" in (await answer(port, upgrade)).split(b"\r\n")[0]
        # A SETTINGS frame (RFC 9113 §6.5).
        assert (await answer(port, preface))[3] == 4


@pytest.mark.parametrize(
    "headers",
    [
        [("Upgrade", "h2c"), ("Connection", "close")],
        [("Upgrade", "websocket"), ("Connection", "close")],
        [("Connection", "keep-alive"), ("Upgrade", "nothing")],
    ],
)
async def test_a42_ambiguous_handshakes_find_no_other_websocket(headers: list[tuple[str, str]]) -> None:
    """hypercorn looks at the last of several headers, and at its own copy: none of them may be seen otherwise."""
    async with serving(Sink().app) as port, attacking(port, *headers, DEFLATE) as attacker:
        assert "sec-websocket-extensions" not in attacker.head


async def test_a42_live_feed_is_served_so_and_its_seats_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_helm(tmp_path) as helm:
        me = await sign_in(helm.context)
        app = make_loopback_app(helm.context, {HOST})
        async with serving(app) as port:
            async with attacking(port, DEFLATE, *me, target=LIVE) as attacker:
                assert "sec-websocket-extensions" not in attacker.head
                await attacker.send(frame(PING, b"still there?"))
                while await attacker.receive() != (PONG, b"still there?"):
                    pass
                await attacker.send(frame(TEXT, b"x" * (MAX_MESSAGE + 1)))
                assert await attacker.closed() == 1009
            assert await storm_of_pages(port, me) == live.MAX_PER_SESSION
        monkeypatch.setattr(live, "MAX_PER_SESSION", 10_000)
        async with serving(make_loopback_app(helm.context, {HOST})) as port:
            assert await storm_of_pages(port, me) == 60


async def storm_of_pages(port: int, me: list[tuple[str, str]]) -> int:
    """Return how many of 60 pages are let in at once."""
    let_in, all_asked = 0, trio.Event()
    asked = 0

    async def one() -> None:
        nonlocal let_in, asked
        async with attacking(port, *me, target=LIVE) as attacker:
            let_in += "101" in attacker.head.splitlines()[0]
            asked += 1
            if asked == 60:
                all_asked.set()
            await all_asked.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(one)
    return let_in

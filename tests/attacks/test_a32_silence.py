"""Row 32 on virtual time. Position: on the path. Wants: a link that is taken for up though nothing comes through.

Countermeasure: a PING after 15 s of silence, and an end after 45 s. Between the two ends stands a relay of ours, which
delays, drops or cuts what it passes on; that the links of a whole fleet bear the same is shown in namespaces, by
test_a32_on_the_path.py and tests/system/test_half_open.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from pharos.wire.errors import LinkLostError
from pharos.wire.rpc import limits
from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.h2conn import Connection
from pharos.wire.rpc.server import Service
from tests.support.gen.pharos_test.v1.echo_grpc import EchoStub
from tests.support.gen.pharos_test.v1.echo_pb2 import Ping
from tests.support.rpc import SERVER_NAME, EchoService

DETECTION = 45.0
"""Seconds (security.md §3)."""
HOUR = 3600.0

Clock = trio.testing.MockClock


@attrs.define
class Line:
    """What the relay does to each piece, in each direction."""

    delay: float = 0.0
    """Seconds that a piece is held back."""
    up: bool = True
    """Pieces towards the server pass; else they vanish without a word."""
    down: bool = True
    """The same for pieces towards the client."""


@attrs.frozen
class Ends:
    """The two ends of a link that runs through the relay."""

    client: Connection
    server: Connection
    line: Line

    async def echo(self) -> int:
        reply = await EchoStub(Channel(self.client, authority=SERVER_NAME)).Echo(Ping(seq=7))
        return reply.seq


async def pass_on(source: trio.abc.Stream, sink: trio.abc.Stream, line: Line, direction: str) -> None:
    while data := await source.receive_some(65536):
        await trio.sleep(line.delay)
        if getattr(line, direction):
            await sink.send_all(data)


@asynccontextmanager
async def linked(line: Line, *, keepalive: float | None = limits.KEEPALIVE_INTERVAL) -> AsyncIterator[Ends]:
    """Run both ends with a relay between them, as helm and its agents do: each end listens for silence."""
    near, relay_near = trio.testing.memory_stream_pair()
    relay_far, far = trio.testing.memory_stream_pair()
    client = Connection(near, client_side=True, keepalive=keepalive)
    server = Connection(far, client_side=False, accept=Service([EchoService()]), keepalive=keepalive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_on, relay_near, relay_far, line, "up")
        nursery.start_soon(pass_on, relay_far, relay_near, line, "down")
        nursery.start_soon(client.run)
        nursery.start_soon(server.run)
        await client.wait_up()
        yield Ends(client, server, line)
        nursery.cancel_scope.cancel()


def cut(line: Line, *directions: str) -> None:
    for direction in directions:
        setattr(line, direction, False)


CUTS = pytest.mark.parametrize("directions", [("up",), ("down",), ("up", "down")], ids="+".join)


@CUTS
async def test_a32_link_through_which_nothing_comes_is_found_at_both_ends(
    autojump_clock: Clock, directions: tuple[str, ...]
) -> None:
    async with linked(Line()) as ends:
        assert await ends.echo() == 7
        cut_at = trio.current_time()
        cut(ends.line, *directions)
        for end in (ends.client, ends.server):
            await end.wait_closed()
            assert isinstance(end.error, LinkLostError)
        # The end that hears nothing ends; the other one hears nothing from then on, at the latest.
        assert trio.current_time() - cut_at <= len({*directions, "both"}) * DETECTION


@CUTS
async def test_a32_turns_red_without_the_ping(autojump_clock: Clock, directions: tuple[str, ...]) -> None:
    async with linked(Line(), keepalive=None) as ends:
        assert await ends.echo() == 7
        cut(ends.line, *directions)
        await trio.sleep(HOUR)
        assert not ends.client.closed
        assert not ends.server.closed


async def test_a32_delay_of_seconds_is_borne(autojump_clock: Clock) -> None:
    async with linked(Line(delay=5.0)) as ends:
        for _ in range(10):
            assert await ends.echo() == 7
            await trio.sleep(60)
        assert not ends.client.closed
        assert not ends.server.closed

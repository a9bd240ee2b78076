"""Row 34. Position: anybody who can reach a port, from one address or from many. Wants: nobody else to be served.

Countermeasure: 20 pending from one address (IPv4, or /64) and 200 in all that have not proven themselves; what comes on
top is reset as soon as it is accepted, before any TLS, or takes the place of the oldest of whoever has most. Some
descriptors no connection may have. The accept loop outlives a table that is full, and lets nobody hang in its backlog.

The server is a process of its own. All of 127.0.0.0/8 is ours to attack from.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from pharos.wire.rpc.admission import PENDING_PER_SOURCE, UNAUTHENTICATED
from pharos.wire.units import MIB
from tests.support.figures import Fault, record
from tests.support.pressure import Pressured, pressured_server

PATIENCE = 20.0
ENDLESS = 10**9
ADMISSION = "pharos.wire.rpc.admission."
# So that what goes is sent away, and does not just run into its handshake's time-out.
PATIENT = {"pharos.wire.rpc.transport.HANDSHAKE_TIMEOUT": 600}
UNBOUNDED = {f"{ADMISSION}PENDING_PER_SOURCE": ENDLESS, f"{ADMISSION}UNAUTHENTICATED": ENDLESS}
FILES = 64


def addresses(count: int) -> list[str]:
    return [f"127.0.{1 + n // 200}.{1 + n % 200}" for n in range(count)]


class Crowd:
    """Connections that say nothing, and what became of them."""

    def __init__(self, nursery: trio.Nursery, server: Pressured) -> None:
        self._nursery, self._server = nursery, server
        self._streams: list[trio.SocketStream] = []
        self.closed = 0
        self._changed = trio.Event()

    async def come(self, source: str, count: int) -> None:
        for _ in range(count):
            try:
                stream = await self._server.connect(source)
            except OSError:
                # Reset before we noticed that it was there.
                self._leave()
                continue
            self._streams.append(stream)
            self._nursery.start_soon(self._watch, stream)

    async def wait_closed(self, count: int) -> None:
        """Wait until so many were closed."""
        while self.closed < count:
            await self._changed.wait()

    async def go(self) -> None:
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    async def _watch(self, stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.receive_some()
        self._leave()

    def _leave(self) -> None:
        self.closed += 1
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def crowd_at(server: Pressured) -> AsyncIterator[Crowd]:
    async with trio.open_nursery() as nursery:
        crowd = Crowd(nursery, server)
        try:
            yield crowd
        finally:
            await crowd.go()
            nursery.cancel_scope.cancel()


async def stayed(server: Pressured, sources: list[str], each: int, *, bound: int) -> int:
    """Let ``each`` come from every source, and return how many of them the server holds once it has settled.

    Above ``bound`` it must have sent some away; it is waited for.
    """
    total = len(sources) * each
    async with crowd_at(server) as crowd:
        for source in sources:
            await crowd.come(source, each)
        with trio.move_on_after(PATIENCE if bound < total else 1.0):
            await crowd.wait_closed(total - bound if bound < total else 1)
        # A good client's dial takes longer than what is still to be closed, and has a place.
        good = await server.good_client(calls=50, dials=3)
        assert good.failures == 0
        return total - crowd.closed


@pytest.mark.red_inside
async def test_a34_one_address_has_twenty_places() -> None:
    async with pressured_server(PATIENT) as server:
        assert await stayed(server, ["127.0.1.1"], 60, bound=PENDING_PER_SOURCE) == PENDING_PER_SOURCE
        assert any("refuses connections: 1 too many pending from one address" in line for line in server.log)
    async with pressured_server(PATIENT | UNBOUNDED) as weakened:
        assert await stayed(weakened, ["127.0.1.1"], 60, bound=ENDLESS) == 60


@pytest.mark.red_inside
async def test_a34_all_addresses_have_two_hundred_places() -> None:
    """And whoever has proven itself needs none: the good client's calls go on; a new one takes an attacker's place."""
    sources = addresses(50)
    async with pressured_server(PATIENT) as server:
        mark = server.mark()
        left = await stayed(server, sources, 10, bound=UNAUTHENTICATED)
        # The good client's dials displaced one each.
        assert UNAUTHENTICATED - 3 <= left <= UNAUTHENTICATED
        assert server.rss_growth(mark) < 8 * MIB
    async with pressured_server(PATIENT | UNBOUNDED) as weakened:
        assert await stayed(weakened, sources, 10, bound=ENDLESS) == 500


@pytest.mark.red_inside
async def test_a34_slow_attackers_on_every_place_keep_nobody_out() -> None:
    no_displacement = {f"{ADMISSION}DISPLACEMENT_BURST": 0, f"{ADMISSION}DISPLACEMENT_RATE": 0}
    for weakening, keeps_out in (({}, False), (no_displacement, True)):
        async with pressured_server(PATIENT | weakening) as server, crowd_at(server) as crowd:
            for source in addresses(10):
                await crowd.come(source, PENDING_PER_SOURCE)
            good = await server.good_client(calls=20, dials=5)
            assert good.failures == (5 if keeps_out else 0)


@pytest.mark.red_inside
async def test_a34_flood_leaves_the_daemon_its_descriptors() -> None:
    """64 descriptors are a server with room for some 30 connections; 16 of them are not for connections."""
    for weakening, own in (({}, 10), ({f"{ADMISSION}RESERVED_FILES": 0}, 0)):
        async with pressured_server(PATIENT | UNBOUNDED | weakening, files=FILES) as server:
            async with crowd_at(server) as crowd:
                for source in addresses(10):
                    await crowd.come(source, 20)
                with trio.fail_after(PATIENCE):
                    await crowd.wait_closed(200 - FILES)
                # Whoever is in is served, and does not notice.
                assert (await server.good_client(calls=50, dials=0)).failures == 0
                taken = await server.take_all_files()
                assert taken >= own if own else taken <= 1
                await server.free_files()
            await serves_again(server)
            assert sum("no descriptors left" in line for line in server.log) == 1


@pytest.mark.red_inside
async def test_a34_accept_loop_outlives_a_full_table() -> None:
    """Something else has taken all descriptors: whoever comes is told at once, and does not hang in the backlog."""
    async with pressured_server(files=FILES) as server:
        await server.take_all_files()
        mark = server.mark()
        async with crowd_at(server) as crowd:
            for source in addresses(10):
                await crowd.come(source, 20)
            with trio.fail_after(PATIENCE):
                await crowd.wait_closed(200)
        assert (await server.good_client(calls=50, dials=0)).failures == 0
        assert (await server.good_client(calls=0, dials=3)).failures == 3
        await server.free_files()
        await serves_again(server)
        used = server.cpu_since(mark)
        record(Fault.EXHAUSTION, "CPU of turning away 200 who come while no descriptor is left", used, "s")
        assert used < 3.0
        assert sum("no descriptors left" in line for line in server.log) == 1
    # Weakened: a loop that does not know the error. Who comes hangs, and the loop turns as fast as it can.
    async with pressured_server({"pharos.wire.listen._EXHAUSTED": []}, files=FILES) as weakened:
        await weakened.take_all_files()
        mark = weakened.mark()
        async with crowd_at(weakened) as crowd:
            await crowd.come("127.0.1.1", 20)
            with trio.move_on_after(1.0):
                await crowd.wait_closed(1)
            with trio.fail_after(PATIENCE):
                while weakened.cpu_since(mark) < 0.5:  # noqa: ASYNC110 (another process's time says nothing by itself)
                    await trio.sleep(0.1)
            assert crowd.closed == 0


async def serves_again(server: Pressured) -> None:
    """Wait until the server has noticed that the attackers are gone."""
    with trio.fail_after(PATIENCE):
        while (await server.good_client(calls=0, dials=1)).failures:
            pass
    assert (await server.good_client(calls=50, dials=5)).failures == 0

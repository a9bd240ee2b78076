"""A leg of REALITY: its streams dial by themselves, so what has to be found out is whether the node is still there.

A node that is gone is noticed by what a program sends and gets no answer to, or by a stream that breaks: then the node
is asked, by a handshake of ours. An idle leg asks nobody, for each question is a connection that others can count.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.tunnel.counted import CountedDatagrams, CountedStream, Tally
from pharos.caravel.tunnel.engine import IDLE
from pharos.caravel.tunnel.parts import Candidate, Inner, Place, Protect, StreamOpener, Traffic
from pharos.caravel.tunnel.reality import RealityTunnel, open_reality_tunnel
from pharos.caravel.tunnel.realityplan import RealityPlan
from pharos.wire.awg.ping import PingReport
from pharos.wire.errors import LinkRefusedError, WireError
from pharos.wire.openers import DatagramTunnel
from pharos.wire.profile import VLESS_REALITY
from pharos.wire.reality.draws import Random
from pharos.wire.reality.errors import RealCertificateError
from pharos.wire.tasks import open_background
from pharos.wire.tcpdial import Resolve
from pharos.wire.units import MILLISECONDS, SECONDS
from pharos.wire.world import random_bytes

LOOK_EVERY: Final = 500 * MILLISECONDS
SILENCE: Final = 1.5 * SECONDS
"""After something was sent and before anything came: then the node is asked."""
ASK_TIMEOUT: Final = 2.5 * SECONDS
"""For the node's answer: two round trips, the half second in which it would refuse us, and TCP's second try."""
ASK_AGAIN: Final = 10 * SECONDS
"""A node that has just shown to be there is not asked again while what is sent to it goes out: an upload has no
answer before its end."""
LOST_ASK_EVERY: Final = 3 * SECONDS


class RealityLeg:
    """One node by one tunnel; ``open_reality_leg`` makes it. A `pharos.caravel.tunnel.parts.Leg`, and an opener."""

    protocol = VLESS_REALITY

    def __init__(self, plan: RealityPlan, tunnel: RealityTunnel, inner: Inner) -> None:
        self._plan = plan
        self._tunnel = tunnel
        self._inner = inner
        self._tally = Tally()
        self._open: weakref.WeakSet[CountedStream | CountedDatagrams] = weakref.WeakSet()
        self._doubt = trio.Event()
        self._is_sure = False
        """The doubt is of the node itself, and not of what one stream led to."""
        self._asked_at = -float("inf")
        self._lost, self._found = trio.Event(), trio.Event()
        self._why = ""
        self._carrying: trio.CancelScope | None = None
        self._carried = trio.Event()
        self._nursery: trio.Nursery | None = None

    @property
    def streams(self) -> StreamOpener | None:
        # Those of the host's own device go through the forwarder, and programs have no others.
        return self

    async def wait_up(self, timeout: float) -> float:
        """Raises: NoAnswerError, LinkRefusedError, RealCertificateError."""
        seconds = await self._tunnel.wait_up(timeout)
        self._note_heard()
        return seconds

    async def wait_lost(self) -> str:
        await self._lost.wait()
        return self._why

    async def wait_found(self) -> None:
        await self._found.wait()

    def traffic(self) -> Traffic:
        return Traffic(received=self._tally.received, sent=self._tally.sent, heard_at=self._tally.heard_at)

    def place(self) -> Place:
        endpoint = self._tunnel.endpoint
        return Place(endpoint=(endpoint.host, endpoint.port))

    async def open_tcp_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        """Raises: as `RealityTunnel.open_tcp_stream`."""
        try:
            stream = CountedStream(await self._tunnel.open_tcp_stream(host, port), self._tally, self._note_doubt)
        except (WireError, OSError):
            self._is_sure = True
            self._note_doubt()
            raise
        self._open.add(stream)
        return stream

    async def open_udp(self) -> DatagramTunnel:
        """Raises: as `RealityTunnel.open_udp`."""
        try:
            datagrams = CountedDatagrams(await self._tunnel.open_udp(), self._tally, self._note_doubt)
        except (WireError, OSError):
            self._is_sure = True
            self._note_doubt()
            raise
        self._open.add(datagrams)
        return datagrams

    async def carry(self) -> None:
        """Turn the inner side's packets into streams, where there is one that has packets."""
        if self._inner.far is IDLE or self._nursery is None or self._carrying is not None:
            return
        self._carried = trio.Event()
        await self._nursery.start(self._forward)

    async def retire(self) -> None:
        """Take no more packets. Streams that programs have opened go on until they close them."""
        if self._carrying is not None:
            self._carrying.cancel()
            await self._carried.wait()

    async def _forward(self, *, task_status: trio.TaskStatus[None]) -> None:
        # Much of a TCP/IP stack, for those who have a use for it.
        from pharos.wire.awg.netstack.forward import run_forwarder

        try:
            with trio.CancelScope() as self._carrying:
                await run_forwarder(
                    self._inner.far,
                    open_tcp=self.open_tcp_stream,
                    open_udp=self.open_udp,
                    task_status=task_status,
                )
        finally:
            self._carrying = None
            self._carried.set()

    async def rebind(self) -> None:
        """Break what was connected from the address before, so that nobody waits for it; and ask the node anew."""
        for stream in list(self._open):
            await stream.cut()
        self._asked_at = -float("inf")
        self._doubt.set()

    async def adopt(self, candidate: Candidate) -> bool:
        plan = candidate.plan
        if not isinstance(plan, RealityPlan) or plan.identity != self._plan.identity:
            return False
        if plan != self._plan:
            # Those that stay keep what was drawn for them: one browser visits one site.
            drawn = dict(zip(self._plan.access, self._plan.ways, strict=True))
            ways = tuple(drawn.get(access, way) for access, way in zip(plan.access, plan.ways, strict=True))
            self._plan = attrs.evolve(plan, ways=ways)
            self._tunnel.adopt(ways, plan.user_ids)
        return True

    async def ping(self, count: int) -> PingReport:
        """Shake hands with the node ``count`` times; each takes as long as it takes to be let in."""
        times: list[float] = []
        with trio.move_on_after(ASK_TIMEOUT * count):
            for _ in range(count):
                try:
                    times.append(await self.wait_up(ASK_TIMEOUT))
                except WireError:
                    continue
        return PingReport(sent=count, round_trips=tuple(times))

    def _note_heard(self) -> None:
        self._tally.heard_at = trio.current_time()
        if self._lost.is_set():
            self._lost = trio.Event()
            self._found.set()

    def _note_doubt(self) -> None:
        self._doubt.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch over the node, and forward packets when told to."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            while True:
                with trio.move_on_after(LOOK_EVERY):
                    await self._doubt.wait()
                now = trio.current_time()
                if self._lost.is_set():
                    if now - self._asked_at >= LOST_ASK_EVERY:
                        await self._ask()
                elif self._is_doubtful(now):
                    self._doubt = trio.Event()
                    await self._ask()
                elif self._doubt.is_set():
                    # It has just been asked.
                    self._doubt = trio.Event()
                    await trio.sleep(LOOK_EVERY)

    def _is_doubtful(self, now: float) -> bool:
        tally = self._tally
        if tally.heard_at is None:
            return False
        waits = tally.sent_at > tally.heard_at and now - max(tally.heard_at, tally.waits_since) >= SILENCE
        stalls = now - max(tally.sent_at, self._asked_at) >= SILENCE
        if not (self._doubt.is_set() or waits):
            return False
        soon = self._is_sure or (waits and stalls)
        return now - self._asked_at >= (SILENCE if soon else ASK_AGAIN)

    async def _ask(self) -> None:
        self._asked_at, self._is_sure = trio.current_time(), False
        try:
            await self._tunnel.wait_up(ASK_TIMEOUT)
        except NoAnswerError:
            self._lose("it does not answer any more")
        except (LinkRefusedError, RealCertificateError) as error:
            self._lose(str(error))
        else:
            self._note_heard()

    def _lose(self, why: str) -> None:
        if not self._lost.is_set():
            self._why = why
            self._found = trio.Event()
            self._lost.set()


@asynccontextmanager
async def open_reality_leg(
    plan: RealityPlan,
    inner: Inner,
    *,
    protect: Protect | None = None,
    resolve: Resolve | None = None,
    random: Random = random_bytes,
) -> AsyncIterator[RealityLeg]:
    """Hold a leg while the block lasts; nothing is dialled yet. Its streams are their openers', and may outlive it."""
    async with open_reality_tunnel(
        plan.name, plan.ways, plan.user_ids, random=random, protect=protect, resolve=resolve
    ) as tunnel:
        leg = RealityLeg(plan, tunnel, inner)
        async with open_background(leg.run):
            yield leg

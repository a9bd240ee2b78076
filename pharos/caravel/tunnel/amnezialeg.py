"""A leg of AmneziaWG: an engine of its own that proves the node, and carries the inner side when it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import trio

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.tunnel.amneziaplan import AmneziaPlan, EchoRoute
from pharos.caravel.tunnel.engine import DeliveringEnd, Engine
from pharos.caravel.tunnel.health import LOOK_EVERY, Health, Sign
from pharos.caravel.tunnel.parts import Candidate, Inner, Place, Protect, StreamOpener, Traffic
from pharos.caravel.tunnel.resolving import resolve_all
from pharos.caravel.tunnel.seeking import Try, dial, seek
from pharos.wire.awg.device import Device
from pharos.wire.awg.events import PeerStatus
from pharos.wire.awg.icmp import Echo, build_echo, parse_echo
from pharos.wire.awg.memory import PacketQueue
from pharos.wire.awg.ping import PAYLOAD, PingReport, ping
from pharos.wire.profile import AMNEZIAWG
from pharos.wire.tasks import open_background
from pharos.wire.tcpdial import Resolve, resolve_by_system
from pharos.wire.units import MILLISECONDS, SECONDS
from pharos.wire.world import random_bytes, wall_ns, wall_seconds

ECHO_OCTETS: Final = 160
"""An echo of ours is no longer, whatever its family: others are not looked into."""
MOVE_PATIENCE: Final = 1 * SECONDS
"""For the node to answer by the next parameters before those in use are taken again: what is sent meanwhile is lost if
it does not, and on a line that is slower than that they are taken when the old ones end."""
MOVE_ASK_EVERY: Final = 300 * MILLISECONDS
SETTLE: Final = 50 * MILLISECONDS
"""Between two answers, for what comes late from where the node was before."""
_HEALTH_ECHO: Final = 0


class AmneziaLeg:
    """One peer by one device; ``open_amnezia_leg`` makes it. A `pharos.caravel.tunnel.parts.Leg`."""

    protocol = AMNEZIAWG

    def __init__(self, plan: AmneziaPlan, engine: Engine, tries: Sequence[Try], inner: Inner, resolve: Resolve) -> None:
        self._plan = plan
        self._engine = engine
        self._tries = list(tries)
        self._now = tries[0]
        """What is tried, or in use."""
        self._inner = inner
        self._resolve = resolve
        self._opened_at = trio.current_time()
        self._health: Health | None = None
        self._hasty = True
        self._seeking = trio.CancelScope()
        self._lost, self._found = trio.Event(), trio.Event()
        self._lasting = 0, 0
        """Octets received and sent before the peer was dialled anew, which counts from zero."""
        self._counted = 0, 0

    async def wait_up(self, timeout: float) -> float:
        """Raises: NoAnswerError — the node did not answer within ``timeout`` seconds."""
        with trio.move_on_after(timeout):
            await self._engine.wait_handshake(self._plan.public_key)
            return trio.current_time() - self._opened_at
        raise NoAnswerError(f"{self._plan.name} did not answer within {timeout:g} s")

    async def wait_lost(self) -> str:
        await self._lost.wait()
        return "it does not answer any more"

    async def wait_found(self) -> None:
        await self._found.wait()

    def status(self) -> PeerStatus:
        """Return the peer as the engine sees it."""
        return self._engine.status(self._plan.public_key)

    def traffic(self) -> Traffic:
        status = self.status()
        counted = self._counted = status.received_bytes, status.sent_bytes
        heard_at = None if self._health is None else self._health.heard_at
        return Traffic(received=self._lasting[0] + counted[0], sent=self._lasting[1] + counted[1], heard_at=heard_at)

    def place(self) -> Place:
        status = self.status()
        done = status.last_handshake_ns
        return Place(
            endpoint=status.endpoint,
            handshake_age=None if done is None else max(0.0, wall_seconds() - done / 1e9),
        )

    @property
    def streams(self) -> StreamOpener | None:
        return self._inner.streams

    async def carry(self) -> None:
        await self._engine.set_far(self._inner.far)
        self._inner.path_changed()

    async def retire(self) -> None:
        await self._engine.set_far(DeliveringEnd(self._inner.far))

    async def rebind(self) -> None:
        """Take a new socket, and ask the node at once: it follows whoever knows the session."""
        await self._engine.rebind()
        self._ask()
        self._engine.initiate_handshake(self._plan.public_key)
        if self._health is not None:
            self._health.expect(trio.current_time())
        self._inner.path_changed()

    async def ping(self, count: int, *, payload: int = PAYLOAD, patience: float = 2 * SECONDS) -> PingReport:
        """Send ICMP echoes of ``payload`` octets to the node's own address; without one, none is answered.

        It takes up to ``patience`` seconds more than needed.
        """
        route = self._plan.echo
        if route is None:
            return PingReport(sent=count, round_trips=())
        identifier = 1 + int.from_bytes(random_bytes(2), "big") % 0xFFFF
        link = _EchoLink(self._engine, identifier)
        with self._engine.showing(link.show):
            return await ping(
                link,
                source=route.source,
                destination=route.destination,
                count=count,
                identifier=identifier,
                payload=payload,
                patience=patience,
            )

    async def adopt(self, candidate: Candidate) -> bool:
        """Take over a newer profile's ports, parameters and secrets; the session lives on unless the secret changed."""
        plan = candidate.plan
        if not isinstance(plan, AmneziaPlan) or _identity(plan) != _identity(self._plan):
            return False
        if plan == self._plan:
            return True
        try:
            tries = plan.tries(await resolve_all(plan.hosts, self._resolve))
        except NoAnswerError:
            # The ways that are known stay in use until the names of the new ones resolve.
            return True
        known, self._plan = self._tries, plan
        if self._now in tries and tries[0] in known:
            self._seek_anew(_from(self._now, tries), hasty=False)
        elif not await self._move(tries):
            self._seek_anew(tries, hasty=True)
            self._dial(tries[0])
        return True

    async def _move(self, tries: list[Try]) -> bool:
        """Go to the first of the ways by the session that there is, if it answers; False: that session leads nowhere.

        Where the node has not taken them into use yet, the way that works is kept until it does not work any more.
        """
        before = self._now
        there = [way for way in tries if way.peer.preshared_key == before.peer.preshared_key]
        if not there or self.status().session_age is None:
            return False
        # Nothing may dial anew meanwhile: that would end the session.
        self._seek_anew([before], hasty=False)
        if await self._answers_at(there[0]):
            self._seek_anew(_from(there[0], tries), hasty=False)
        else:
            self._reach(before)
            self._seek_anew(_from(before, tries), hasty=False)
        return True

    def _reach(self, way: Try) -> None:
        assert way.peer.endpoint is not None, "it was resolved"
        self._now = way
        self._engine.set_parameters(way.parameters)
        self._engine.set_endpoint(self._plan.public_key, way.peer.endpoint)

    async def _answers_at(self, way: Try) -> bool:
        """Reach the node by a way; return whether it answers there, which takes it along."""
        key, settled = self._plan.public_key, 0
        with trio.move_on_after(MOVE_PATIENCE + MOVE_ASK_EVERY):
            while settled < 2:
                # What was under way from where it was before makes the engine send there again.
                if self.status().endpoint != way.peer.endpoint or self._now != way:
                    self._reach(way)
                    settled = 0
                with self._engine.hearing(key) as heard, trio.move_on_after(MOVE_ASK_EVERY):
                    self._ask()
                    if self._plan.echo is None:
                        self._engine.initiate_handshake(key)
                    await heard.wait()
                    settled += self.status().endpoint == way.peer.endpoint
                    await trio.sleep(SETTLE)
            return True
        return False

    def _seek_anew(self, tries: Sequence[Try], *, hasty: bool) -> None:
        self._tries, self._now, self._hasty = list(tries), tries[0], hasty
        self._seeking.cancel()

    def _took(self, way: Try) -> None:
        self._now = way
        self._note_dialled()

    def _dial(self, way: Try) -> None:
        dial(self._engine, way)
        self._note_dialled()

    def _note_dialled(self) -> None:
        """The peer is a new one to the engine, whose counters begin anew."""
        self._lasting = self._lasting[0] + self._counted[0], self._lasting[1] + self._counted[1]
        self._counted = 0, 0
        if self._health is not None:
            self._health.restart()

    def _ask(self) -> None:
        route = self._plan.echo
        if route is not None:
            self._engine.send_packets([_echo(route)])

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Seek the node, and watch over it once it has answered."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_seek)
            nursery.start_soon(self._run_health)
            task_status.started()

    async def _run_seek(self) -> NoReturn:
        while True:
            with trio.CancelScope() as self._seeking:
                await seek(self._engine, self._tries, hasty=self._hasty, took=self._took)

    async def _run_health(self) -> NoReturn:
        key = self._plan.public_key
        status = await self._engine.wait_handshake(key)
        self._hasty = False
        health = self._health = Health(status, trio.current_time(), asks=self._plan.echo is not None)
        while True:
            await trio.sleep(LOOK_EVERY)
            sign = health.look(self.status(), trio.current_time())
            if sign in (Sign.ASK, Sign.KNOCK):
                self._ask()
            if sign is Sign.KNOCK:
                self._engine.initiate_handshake(key)
            if sign is Sign.GONE and not self._lost.is_set():
                # Others are tried now; this one is looked for at its other ports meanwhile.
                self._lost.set()
                self._found = trio.Event()
                self._seek_on()
            elif sign is Sign.WELL and self._lost.is_set() and self.status().session_age is not None:
                self._lost = trio.Event()
                self._found.set()

    def _seek_on(self) -> None:
        """Try the next way at once, and the others after it: the one in use was silent for long enough."""
        others = [way for way in self._tries if way != self._now]
        self._seek_anew([*others, self._now], hasty=True)
        self._dial(self._now)


class _EchoLink:
    """The inner end that `ping` uses, beside the one that carries the packets of others."""

    def __init__(self, engine: Engine, identifier: int) -> None:
        self._engine = engine
        self._identifier = identifier
        self._replies = PacketQueue()

    def show(self, packets: Sequence[memoryview]) -> None:
        for packet in packets:
            if len(packet) <= ECHO_OCTETS:
                echo = parse_echo(bytes(packet))
                if echo is not None and echo.reply and echo.identifier == self._identifier:
                    self._replies.put_nowait([bytes(packet)])

    async def receive_packets(self) -> Sequence[bytes]:
        return await self._replies.get()

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        self._engine.send_packets(packets)


@asynccontextmanager
async def open_amnezia_leg(
    plan: AmneziaPlan, inner: Inner, *, protect: Protect | None = None, resolve: Resolve = resolve_by_system
) -> AsyncIterator[AmneziaLeg]:
    """Run a leg while the block lasts; the first handshake begins at once, and nothing is carried yet.

    Raises: NoAnswerError — no name resolves. OSError — no socket can be had. ParameterError — a key breaks a rule.
    """
    tries = plan.tries(await resolve_all(plan.hosts, resolve))
    first = tries[0]
    device = Device(
        private_key=plan.private_key,
        random=random_bytes,
        wall_clock=wall_ns,
        parameters=first.parameters,
        mtu=plan.mtu,
    )
    now = trio.current_time()
    device.set_peer(first.peer, now)
    device.initiate_handshake(plan.public_key, now)
    ipv6 = any(way.peer.endpoint is not None and ":" in way.peer.endpoint[0] for way in tries)
    engine = Engine(device, ipv6=ipv6, protect=protect)
    leg = AmneziaLeg(plan, engine, tries, inner, resolve)
    async with open_background(engine.run), open_background(leg.run):
        yield leg


def _from(first: Try, tries: Sequence[Try]) -> list[Try]:
    return [first, *(way for way in tries if way != first)]


def _echo(route: EchoRoute) -> bytes:
    return build_echo(
        Echo(source=route.source, destination=route.destination, identifier=_HEALTH_ECHO, sequence=0, payload=b"")
    )


def _identity(plan: AmneziaPlan) -> tuple[bytes, bytes]:
    return plan.private_key, plan.public_key

"""Ways to nodes that do as a test says, and a source that has them: for decisions, on virtual time."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from pharos.caravel.errors import NoAnswerError, NoSuchNodeError
from pharos.caravel.tunnel.candidates import Choices, InnerSettings
from pharos.caravel.tunnel.engine import IDLE
from pharos.caravel.tunnel.network import Vantage
from pharos.caravel.tunnel.parts import Candidate, Inner, Leg, Place, StreamOpener, Traffic
from pharos.wire.awg.ping import PingReport
from pharos.wire.errors import WireError
from pharos.wire.profile import AMNEZIAWG

INNER = Inner(far=IDLE, streams=None)
HERE = Vantage(addresses=("198.51.100.7",), gateway="eth0 198.51.100.1", hardware="02:00:00:00:00:01")
THERE = Vantage(addresses=("203.0.113.9",), gateway="wlan0 203.0.113.1", hardware="02:00:00:00:00:02")
NOWHERE = Vantage(addresses=())


@attrs.define(eq=False)
class Node:
    """One way to a node, and what has been done with it."""

    name: str
    protocol: str = AMNEZIAWG
    up_after: float | None = 0.1
    """Seconds after it is dialled; None: never."""
    error: WireError | None = None
    """What it says instead."""
    hides: bool = True
    adopts: bool = True
    log: list[str] = attrs.field(factory=list)
    legs: list[ScriptedLeg] = attrs.field(factory=list)
    dialled_at: list[float] = attrs.field(factory=list)

    @property
    def leg(self) -> ScriptedLeg:
        """The last that was opened."""
        return self.legs[-1]

    @property
    def candidate(self) -> Candidate:
        return Candidate(
            node=f"id-{self.name}",
            name=self.name,
            protocol=self.protocol,
            place=("198.51.100.99", 443),
            open=self._open,
            hides=self.hides,
            plan=self.name,
        )

    @asynccontextmanager
    async def _open(self, inner: Inner) -> AsyncIterator[Leg]:
        await trio.lowlevel.checkpoint()
        leg = ScriptedLeg(self)
        self.legs.append(leg)
        self.dialled_at.append(trio.current_time())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(leg.run)
                yield leg
                nursery.cancel_scope.cancel()
        finally:
            self.log.append("closed")


class ScriptedLeg:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.protocol = node.protocol
        self.opened_at = trio.current_time()
        self.octets = 0, 0
        self.heard_at: float | None = None
        self._lost, self._found = trio.Event(), trio.Event()
        self._broken = trio.Event()
        self._why = ""
        self._failure: Exception | None = None

    async def run(self) -> None:
        await self._broken.wait()
        assert self._failure is not None
        raise self._failure

    def break_down(self, failure: Exception) -> None:
        """End by itself."""
        self._failure = failure
        self._broken.set()

    def lose(self, why: str = "it does not answer any more") -> None:
        self._why = why
        self._lost.set()
        self._found = trio.Event()

    def find(self) -> None:
        self._lost = trio.Event()
        self._found.set()

    async def wait_up(self, timeout: float) -> float:
        if self.node.error is not None:
            await trio.sleep(self.node.up_after or 0.0)
            raise self.node.error
        if self.node.up_after is None or self.node.up_after > timeout:
            await trio.sleep(timeout)
            raise NoAnswerError(f"{self.node.name} did not answer within {timeout:g} s")
        await trio.sleep(self.node.up_after)
        self.heard_at = trio.current_time()
        return self.node.up_after

    async def wait_lost(self) -> str:
        await self._lost.wait()
        return self._why

    async def wait_found(self) -> None:
        await self._found.wait()

    def traffic(self) -> Traffic:
        return Traffic(received=self.octets[0], sent=self.octets[1], heard_at=self.heard_at)

    def place(self) -> Place:
        return Place(endpoint=("198.51.100.99", 443), handshake_age=1.0)

    async def carry(self) -> None:
        await trio.lowlevel.checkpoint()
        self.node.log.append("carry")

    async def retire(self) -> None:
        await trio.lowlevel.checkpoint()
        self.node.log.append("retire")

    async def rebind(self) -> None:
        await trio.lowlevel.checkpoint()
        self.node.log.append("rebind")

    async def adopt(self, candidate: Candidate) -> bool:
        await trio.lowlevel.checkpoint()
        self.node.log.append("adopt")
        return self.node.adopts

    async def ping(self, count: int) -> PingReport:
        await trio.lowlevel.checkpoint()
        return PingReport(sent=count, round_trips=(0.01,) * count)

    @property
    def streams(self) -> StreamOpener | None:
        return None


@attrs.define
class ScriptedSource:
    """Has the nodes that a test gives it."""

    nodes: list[Node]
    newcomers: list[Node] = attrs.field(factory=list)
    is_named: bool = False
    accepted: list[str] = attrs.field(factory=list)
    revision: int = 1
    trouble: WireError | None = None

    def settings(self) -> InnerSettings:
        return InnerSettings(addresses=(ipaddress.ip_interface("10.86.0.2/32"),))

    def choices(self, wanted: str | None = None) -> Choices:
        if self.trouble is not None:
            raise self.trouble
        known = [node for node in self.nodes if wanted in (None, node.name)]
        if wanted is not None and not known:
            raise NoSuchNodeError(f"the profile has no node {wanted!r}")
        return Choices(
            known=tuple(node.candidate for node in known),
            newcomers=tuple(node.candidate for node in self.newcomers),
            order=(1, self.revision),
        )

    def accept(self, names: Sequence[str]) -> None:
        self.accepted += names
        self.nodes += self.newcomers
        self.newcomers = []


@attrs.define
class Surroundings:
    """Where the machine is, as a test says."""

    vantage: Vantage = HERE

    def look(self, _hosts: Sequence[str]) -> Vantage:
        return self.vantage


async def until(holds: Callable[[], bool], *, step: float = 0.05) -> None:
    """Return once something holds; within a minute, or the test fails."""
    with trio.fail_after(60):
        while True:
            if holds():
                return
            await trio.sleep(step)

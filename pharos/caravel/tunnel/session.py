"""A connection, as who uses it sees it: streams and datagrams through whichever node carries now, and how it stands.

async with open_session(source, inner) as tunnel:
    await tunnel.wait_up(10)
    stream = await tunnel.open_tcp_stream("example.org", 443)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import trio

from pharos.caravel.errors import NoAnswerError
from pharos.caravel.events import Phase, Stale
from pharos.caravel.tunnel.candidates import Source
from pharos.caravel.tunnel.holding import Held
from pharos.caravel.tunnel.memory import NetworkMemory
from pharos.caravel.tunnel.network import Vantage
from pharos.caravel.tunnel.news import Switch
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.parts import Inner, Protect, StreamOpener
from pharos.caravel.tunnel.status import SAMPLE_EVERY, Rates, TunnelStatus
from pharos.caravel.tunnel.steering import Steering
from pharos.caravel.tunnel.watching import Watch
from pharos.wire.awg.ping import PingReport
from pharos.wire.errors import LocalProtocolError
from pharos.wire.openers import DatagramTunnel
from pharos.wire.tasks import open_background
from pharos.wire.units import SECONDS

PING_PATIENCE = 2 * SECONDS
"""For a connection that is not up, as for an echo that does not come back."""


class Tunnel:
    """A connection that is up or coming up; ``open_session`` and ``Client.connect`` make it. A `StreamOpener`."""

    def __init__(self, steering: Steering, addresses: Sequence[str]) -> None:
        self._steering = steering
        self._addresses = tuple(addresses)
        self._rates = Rates()

    @property
    def name(self) -> str:
        """Of the node that carries now, or did last; empty before the first."""
        held = self._steering.held
        return "" if held is None else held.candidate.name

    @property
    def is_up(self) -> bool:
        """Whether a node carries now."""
        return self._steering.phase is Phase.UP

    @property
    def has_streams(self) -> bool:
        """Whether streams can be opened by this program: not where the packets are the host's own."""
        held = self._steering.held
        return held is not None and held.leg.streams is not None

    async def wait_up(self, timeout: float) -> TunnelStatus:
        """Wait until some node lets us in and carries; return how it stands then.

        Raises, after ``timeout`` seconds:
            NoAnswerError — nobody did; the text says what was tried.
            LinkRefusedError — a node is there, and does not let this device in.
            RealCertificateError — another server stands in a node's place.
        """
        steering = self._steering
        with trio.move_on_after(timeout):
            await self._wait_up()
            return self.status()
        why = steering.why_not() or "none has said anything"
        text = f"no node answered within {timeout:g} s: {why}"
        raise (steering.verdict or NoAnswerError)(text)

    async def open_tcp_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        """Connect to a host beyond the node, by name or address; the stream is the caller's.

        While nothing is up it waits; the caller sets the timeout.

        Raises: OSError, trio.BrokenResourceError, WireError — it cannot be reached. LocalProtocolError — the packets of
        this connection are the host's own, whose sockets go through it by themselves.
        """
        return await (await self._streams()).open_tcp_stream(host, port)

    async def open_udp(self) -> DatagramTunnel:
        """Open a socket for datagrams beyond the node; it is the caller's. Raises: as `open_tcp_stream`."""
        return await (await self._streams()).open_udp()

    async def ping(self, count: int) -> PingReport:
        """Ask the node ``count`` times whether it is there; takes up to two seconds more than needed."""
        held = None
        with trio.move_on_after(PING_PATIENCE):
            held = await self._wait_up()
        return PingReport(sent=count, round_trips=()) if held is None else await held.leg.ping(count)

    async def switch(self, node: str | None) -> TunnelStatus:
        """Go over to another node, by id or name, or to the best; the one in use carries until that one is up.

        Raises: NoSuchNodeError, NodeRefusedError. NoAnswerError — it does not let us in; all stays as it was.
        """
        steering = self._steering
        switch = Switch(wanted=node, candidates=steering.choosing.to(node))
        steering.news.tell_switch(switch)
        await switch.done.wait()
        if not switch.is_there:
            why = "; ".join(f"{one.name} ({one.protocol}): {error}" for one, error in switch.failures)
            raise NoAnswerError(f"{node or 'no other node'} does not answer: {why or 'nothing was heard'}")
        return self.status()

    def refresh(self) -> None:
        """Look at the source again: there is a newer profile. What lives is not ended by it."""
        self._steering.news.tell_profile()

    def status(self) -> TunnelStatus:
        """Return how it stands; costs microseconds."""
        steering = self._steering
        received, sent = self._octets()
        receive_rate, send_rate = self._rates.read()
        common: dict[str, Any] = {
            "phase": steering.phase,
            "detail": steering.detail,
            "addresses": self._addresses,
            "received": received,
            "sent": sent,
            "receive_rate": receive_rate,
            "send_rate": send_rate,
        }
        held = steering.held
        if held is None:
            return TunnelStatus(**common)
        candidate = held.candidate
        if not held.over.is_set():
            place = held.leg.place()
            common |= {"endpoint": place.endpoint, "handshake_age": place.handshake_age}
        return TunnelStatus(
            node=candidate.node,
            name=candidate.name,
            protocol=candidate.protocol,
            since=steering.since if steering.phase is Phase.UP else None,
            **common,
        )

    def watch(self) -> Watch:
        """Return an asynchronous iterator of the events from now on; it ends with the connection.

        Who does not keep up loses the oldest. ``aclose`` it, or leave it to the end.
        """
        return self._steering.watches.open()

    def tell_stale(self) -> None:
        """Have watchers know that helm was not heard for long."""
        self._steering.watches.tell(Stale())

    async def _wait_up(self) -> Held:
        """Return the leg that carries, once there is one."""
        await trio.lowlevel.checkpoint()
        while self._steering.phase is not Phase.UP or self._steering.held is None:
            await self._steering.changed.park()
        return self._steering.held

    async def _streams(self) -> StreamOpener:
        streams = (await self._wait_up()).leg.streams
        if streams is None:
            raise LocalProtocolError("the packets of this connection are the host's own: use sockets of the system")
        return streams

    def _octets(self) -> tuple[int, int]:
        steering = self._steering
        received, sent = steering.passed
        if steering.held is not None and not steering.held.is_counted:
            traffic = steering.held.leg.traffic()
            return received + traffic.received, sent + traffic.sent
        return received, sent

    async def sample(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Keep the rates up to date."""
        task_status.started()
        while True:
            self._rates.note(trio.current_time(), *self._octets())
            await trio.sleep(SAMPLE_EVERY)


@asynccontextmanager
async def open_session(
    source: Source,
    inner: Inner,
    *,
    wanted: str | None = None,
    protocol: str | None = None,
    protect: Protect | None = None,
    options: ConnectOptions | None = None,
    memory: NetworkMemory | None = None,
    look: Callable[[Sequence[str]], Vantage] | None = None,
) -> AsyncIterator[Tunnel]:
    """Keep a connection up while the block lasts, over an inner side of the caller's.

    ``wanted`` is a node's id or name: then no other is used. ``protocol``: `AMNEZIAWG` or `VLESS_REALITY` alone.

    Raises: NoSuchNodeError, NodeRefusedError — there is no way that may be used. NotEnrolledError, BundleError.
    """
    options = options or ConnectOptions()
    steering = Steering(
        source,
        inner,
        wanted=wanted,
        protocol=protocol,
        options=options,
        protect=protect,
        memory=memory,
        look=look,
    )
    steering.choosing.read_first(asks=options.confirm is not None)
    tunnel = Tunnel(steering, [str(address) for address in source.settings().addresses])
    try:
        async with open_background(tunnel.sample), open_background(steering.serve):
            yield tunnel
    finally:
        steering.end()

"""Runs a host between a link and the clock: the Trio shell, which works in batches and awaits once for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NoReturn, Protocol, runtime_checkable

import trio

from pharos.wire.awg.inner import InnerEnd
from pharos.wire.awg.netstack.host import Host
from pharos.wire.awg.timers import NEVER

_UNBOUNDED: Final = 1 << 30
"""Packets: where a link does not say for how many it has room."""
_MAX_BATCHES: Final = 16
"""Of 64 packets, that are taken before others get their turn: what a pump fills a link with at one go."""


@runtime_checkable
class RoomyEnd(Protocol):
    """A link that says how much it takes without loss, as a link in memory does: TCP waits, instead of losing."""

    def receive_packets_nowait(self) -> Sequence[bytes]: ...

    @property
    def room(self) -> int: ...

    async def wait_room(self) -> None: ...


class Driver:
    """One host's packets; ``run`` is its task's home. Whoever changes something at the host calls `flush`."""

    def __init__(self, host: Host, link: InnerEnd, *, on_end: Callable[[], None] = lambda: None) -> None:
        """``on_end`` is called once `ended` is set."""
        self.host = host
        self.ended = trio.Event()
        """Set when the link has ended, and nothing will come of anything any more."""
        self._link = link
        self._on_end = on_end
        self._batches = trio.lowlevel.ParkingLot()
        self._roomy = link if isinstance(link, RoomyEnd) else None
        self._starved = trio.Event()
        self._armed = NEVER
        self._rearm = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled, or until the link has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_timers)
            if self._roomy is not None:
                nursery.start_soon(self._run_room, self._roomy)
            task_status.started()
            try:
                await self._receive()
            except trio.EndOfChannel:
                nursery.cancel_scope.cancel()
            finally:
                self.ended.set()
                for entry in self.host.tcp.entries():
                    entry.on_change()
                self._on_end()
                self._batches.unpark_all()

    def flush(self) -> None:
        """Send what there is to send, tell who is to be told, and see to it that nothing is late."""
        now, host = trio.current_time(), self.host
        host.tcp.tell()
        room = _UNBOUNDED if self._roomy is None else self._roomy.room
        packets = host.take_output(now, room)
        if packets:
            self._link.send_packets_nowait(packets)
        if host.tcp.waits:
            self._starved.set()
        if host.tcp.next_deadline() < self._armed:
            self._rearm.set()
        self._batches.unpark_all()

    async def wait_batch(self) -> None:
        """Wait until something may have changed, or the link has ended."""
        await self._batches.park()

    async def _receive(self) -> NoReturn:
        receive_packets, host, roomy = self._link.receive_packets, self.host, self._roomy
        while True:
            packets, batches = await receive_packets(), 0
            while packets:
                now = trio.current_time()
                host.receive(packets, now)
                if host.tcp.next_deadline() <= now:
                    host.tcp.tick(now)
                self.flush()
                batches += 1
                # Who fills the link may do so for long before we have our turn again.
                packets = () if roomy is None or batches == _MAX_BATCHES else roomy.receive_packets_nowait()

    async def _run_timers(self) -> NoReturn:
        tcp = self.host.tcp
        while True:
            tcp.tick(trio.current_time())
            self.flush()
            self._armed = tcp.next_deadline()
            with trio.move_on_at(self._armed):
                await self._rearm.wait()
            self._rearm = trio.Event()

    async def _run_room(self, link: RoomyEnd) -> NoReturn:
        while True:
            await self._starved.wait()
            self._starved = trio.Event()
            await link.wait_room()
            self.flush()

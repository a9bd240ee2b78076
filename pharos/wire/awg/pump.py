"""Carries a device's datagrams and packets: the Trio shell, which knows nothing of the protocol.

Awaits, locks and callbacks happen per batch, never per packet: one wake of the loop costs as much as three packets.
Everybody reads what is there without waiting, up to a limit, and waits only when nothing is.
"""

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NoReturn, TypeAlias

import trio

from pharos.wire.awg.batches import DatagramBatch, SlicedBuffer
from pharos.wire.awg.device import Device
from pharos.wire.awg.events import Event
from pharos.wire.awg.gather import RECEIVE_BYTES, Gatherer
from pharos.wire.awg.inner import InnerEnd, PacketDevice
from pharos.wire.awg.receiving import Opened
from pharos.wire.awg.sending import OutgoingBuffer
from pharos.wire.awg.udp import UdpPort
from pharos.wire.units import KIB

MAX_RECEIVED_BYTES: Final = 1024 * KIB
"""Read from a socket before others get their turn: 16 full batches of 45 datagrams of 4 µs each are 3 ms of work."""
MAX_RECEIVED: Final = 32
"""Batches read likewise, where they are small: of 64 datagrams each at most."""
MAX_READ: Final = 32
"""Reads from a TUN interface before others get their turn: of 44 full packets at most, of 5 µs each, 7 ms at worst."""
SEND_AT_BYTES: Final = 48 * KIB
"""Sealed datagrams that wait for more: a full batch is sent by itself, while the processor's cache holds it."""

EventHandler: TypeAlias = Callable[[Event], None]
"""Called in the pump's own time: it must return at once and not raise."""
PacketsHandler: TypeAlias = Callable[[Sequence[memoryview]], None]
"""Likewise."""


class Pump:
    """Runs one device between its UDP ports and one inner end.

    There is a port for each face of the device, or several; what a face has to send leaves by its first.
    """

    def __init__(
        self,
        device: Device,
        ports: Sequence[UdpPort],
        inner: InnerEnd | PacketDevice,
        *,
        on_event: EventHandler | None = None,
    ) -> None:
        self._device = device
        self._ports = ports
        self._faces = {port.face: port for port in reversed(ports)}
        self._inner = inner
        self._on_event = on_event
        self._plain = SlicedBuffer(RECEIVE_BYTES)
        self._writable = {port.face: trio.Lock() for port in ports}
        self._outgoing = OutgoingBuffer()
        # A task reads packets and has not sent them all; what another read meanwhile would overtake them.
        self._reads = False
        self._armed = float("inf")
        self._rearm = trio.Event()
        self._watchers = trio.lowlevel.ParkingLot()
        self.on_packets: PacketsHandler | None = None
        """Called with the packets of each batch that came through the tunnel, before they are delivered; only lent."""

    @property
    def lost(self) -> int:
        """Datagrams the kernel refused to send: no route, too big, no buffer. The tunnel sees them as loss."""
        return sum(port.lost for port in self._ports)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Pump until cancelled. The sockets and the inner end stay open; they are the caller's.

        Raises: TunGoneError — the inner end was a TUN interface and is no more.
        """
        async with trio.open_nursery() as nursery:
            for port in self._ports:
                nursery.start_soon(self._run_port, port)
            if isinstance(self._inner, PacketDevice):
                nursery.start_soon(self._run_tun, self._inner)
            else:
                nursery.start_soon(self._run_inner, self._inner)
            nursery.start_soon(self._run_timers)
            task_status.started()
        raise AssertionError("the pump's tasks never return")

    def wake_nowait(self) -> None:
        """Have the device looked at now, after a change that was made to it from outside."""
        self._rearm.set()

    def notify_nowait(self) -> None:
        """Have every ``wait_change`` return."""
        self._watchers.unpark_all()

    async def wait_change(self) -> None:
        """Wait for the device's next event or a notice from outside; which one it was is for the caller to see."""
        await self._watchers.park()

    async def _run_port(self, port: UdpPort) -> NoReturn:
        device, gatherer = self._device, Gatherer(port)
        while True:
            await trio.lowlevel.wait_readable(port.sock)
            drained = False
            while not drained:
                now = trio.current_time()
                drained = self._receive(gatherer, port.face, now)
                if device.next_deadline() <= now:
                    device.tick(now)
                if isinstance(self._inner, PacketDevice) and not self._reads:
                    # TCP answers much of what arrives at once; to look saves the turn of the loop that tells of it.
                    await self._read_tun(self._inner, 1)
                else:
                    await self._perform()
                if not drained:
                    await trio.lowlevel.checkpoint()

    def _receive(self, gatherer: Gatherer, face: int, now: float) -> bool:
        """Take what is there, up to a limit; tell whether that was all."""
        receive, left = self._device.receive_datagrams, MAX_RECEIVED_BYTES
        for _ in range(MAX_RECEIVED):
            try:
                size, segment, source = gatherer.gather_nowait()
            except BlockingIOError:
                return True
            if not size:
                continue  # An empty datagram says nothing.
            opened = receive(gatherer.buffer, size, segment, source, self._plain, now, face=face)
            if opened.packets:
                self._deliver(opened)
            left -= size
            if left < 0:
                break
        return False

    def _deliver(self, opened: Opened) -> None:
        if self.on_packets is not None:
            self.on_packets(opened.packets)
        if isinstance(self._inner, PacketDevice):
            self._inner.write_nowait(opened.packets, opened.rows)
        else:
            # The end may keep them; the buffers they are in are needed again.
            self._inner.send_packets_nowait([bytes(packet) for packet in opened.packets])

    async def _run_tun(self, tun: PacketDevice) -> NoReturn:
        while True:
            await trio.lowlevel.wait_readable(tun)
            while not await self._read_tun(tun, MAX_READ):
                await trio.lowlevel.checkpoint()

    async def _read_tun(self, tun: PacketDevice, most: int) -> bool:
        """Send on what is there, up to a limit; tell whether that was all. One task at a time may do so."""
        device, outgoing, drained = self._device, self._outgoing, False
        self._reads = True
        for _ in range(most):
            try:
                rows = tun.read_nowait()
            except BlockingIOError:
                drained = True
                break
            device.send_rows(rows, outgoing, trio.current_time())
            if outgoing.size >= SEND_AT_BYTES:
                await self._send(outgoing.take())
            if len(rows) < tun.most:
                drained = True
                break
        if outgoing.size:
            await self._send(outgoing.take())
        self._reads = False
        await self._perform()
        return drained

    async def _run_inner(self, inner: InnerEnd) -> NoReturn:
        device, outgoing = self._device, OutgoingBuffer()
        while True:
            packets = await inner.receive_packets()
            device.send_packets(packets, outgoing, trio.current_time())
            await self._send(outgoing.take())
            await self._perform()

    async def _run_timers(self) -> NoReturn:
        device = self._device
        while True:
            device.tick(trio.current_time())
            await self._perform()
            self._armed = device.next_deadline()
            with trio.move_on_at(self._armed):
                await self._rearm.wait()
            self._rearm = trio.Event()

    async def _perform(self) -> None:
        """Do what the device itself wants done."""
        output = self._device.take_output()
        if self._device.next_deadline() < self._armed:
            self._rearm.set()
        if output.events:
            self.notify_nowait()
            if self._on_event is not None:
                for event in output.events:
                    self._on_event(event)
        if output.batches:
            await self._send(output.batches)

    async def _send(self, batches: Iterable[DatagramBatch]) -> None:
        for batch in batches:
            port = self._faces.get(batch.face)
            while port is not None:
                try:
                    port.send_nowait(batch)
                except BlockingIOError:
                    # Only one task may wait for a socket. The batch is kept: its packets are already sealed.
                    async with self._writable[port.face]:
                        await trio.lowlevel.wait_writable(port.sock)
                else:
                    break


async def run_device(
    device: Device,
    sock: socket.socket,
    inner: InnerEnd,
    *,
    on_event: EventHandler | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run ``device`` between ``sock`` (non-blocking UDP) and ``inner`` until cancelled."""
    await Pump(device, [UdpPort(sock)], inner, on_event=on_event).run(task_status=task_status)

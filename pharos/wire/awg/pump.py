"""Carries a device's datagrams and packets: the Trio shell, which knows nothing of the protocol.

Awaits, locks and callbacks happen per batch, never per packet: one wake of the loop costs as much as three packets.
"""

import socket
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

import trio

from pharos.wire.awg.device import Device
from pharos.wire.awg.events import Event
from pharos.wire.awg.inner import InnerEnd
from pharos.wire.awg.udp import to_address

MAX_BATCH: Final = 64
"""Datagrams read before others get their turn: under 1 ms of work, or 16 ms if each is a handshake."""
# Above the largest inner packet stand 32 bytes of message and at most 1132 of padding.
_ROOM_BYTES: Final = 2048

EventHandler: TypeAlias = Callable[[Event], None]
"""Called in the pump's own time: it must return at once and not raise."""


class Pump:
    """Runs one device between one UDP socket and one inner end."""

    def __init__(
        self, device: Device, sock: socket.socket, inner: InnerEnd, *, on_event: EventHandler | None = None
    ) -> None:
        self.lost = 0
        """Datagrams the kernel refused to send: no route, too big, no buffer. The tunnel sees them as loss."""
        self._device = device
        self._sock = sock
        self._inner = inner
        self._on_event = on_event
        self._writable = trio.Lock()
        self._armed = float("inf")
        self._rearm = trio.Event()
        self._watchers = trio.lowlevel.ParkingLot()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Pump until cancelled. The socket and the inner end stay open; they are the caller's."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_outer)
            nursery.start_soon(self._run_inner)
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

    async def _run_outer(self) -> NoReturn:
        device, sock = self._device, self._sock
        room = device.mtu + _ROOM_BYTES
        while True:
            await trio.lowlevel.wait_readable(sock)
            now = trio.current_time()
            for _ in range(MAX_BATCH):
                try:
                    datagram, source = sock.recvfrom(room)
                except BlockingIOError:
                    break
                except ConnectionError:
                    continue  # Some systems report a peer's ICMP error here; it concerns no datagram of ours.
                device.receive_datagram(datagram, to_address(source), now)
            await self._perform()

    async def _run_inner(self) -> NoReturn:
        device, inner = self._device, self._inner
        while True:
            packets = await inner.receive_packets()
            now = trio.current_time()
            for packet in packets:
                device.send_packet(packet, now)
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
        """Do what the device wants done."""
        output = self._device.take_output()
        if self._device.next_deadline() < self._armed:
            self._rearm.set()
        if output.packets:
            self._inner.send_packets_nowait(output.packets)
        if output.events:
            self.notify_nowait()
            if self._on_event is not None:
                for event in output.events:
                    self._on_event(event)
        for datagram, address in output.datagrams:
            while True:
                try:
                    self._sock.sendto(datagram, address)
                except BlockingIOError:
                    # Only one task may wait for a socket. The batch is kept: its packets are already sealed.
                    async with self._writable:
                        await trio.lowlevel.wait_writable(self._sock)
                    continue
                except OSError:
                    self.lost += 1
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
    await Pump(device, sock, inner, on_event=on_event).run(task_status=task_status)

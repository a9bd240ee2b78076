"""An AmneziaWG device of this program's, whose socket and inner end can be changed while its sessions live on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

import trio

from pharos.caravel.tunnel.parts import Protect
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.device import Device
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.events import Event, PeerStatus
from pharos.wire.awg.inner import InnerEnd, PacketDevice
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.awg.pump import Pump
from pharos.wire.awg.udp import ANY_IPV4, ANY_IPV6, UdpPort, bind_udp, local_address

if TYPE_CHECKING:
    import socket

PacketsWatcher: TypeAlias = Callable[[Sequence[memoryview]], None]
"""Told the packets that came through the tunnel, which are lent; must not raise."""


class IdleEnd:
    """The inner end of an engine that carries nothing yet."""

    async def receive_packets(self) -> Sequence[bytes]:
        await trio.sleep_forever()
        raise AssertionError("it sleeps for ever")

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        """Drop them: nobody has asked for any."""


class DeliveringEnd(IdleEnd):
    """Hands on what still comes through a leg that has been retired, and takes nothing to send."""

    def __init__(self, far: InnerEnd | PacketDevice) -> None:
        self._far = far

    def send_packets_nowait(self, packets: Sequence[bytes]) -> None:
        if isinstance(self._far, PacketDevice):
            # Packets are changed while a TUN joins them.
            self._far.write_nowait([memoryview(bytearray(packet)) for packet in packets])
        else:
            self._far.send_packets_nowait(packets)


IDLE: Final = IdleEnd()


class Engine:
    """Runs a device; `run` is its task. One socket, which `rebind` replaces by another."""

    def __init__(self, device: Device, *, ipv6: bool = False, protect: Protect | None = None) -> None:
        self.address: Address = ("", 0)
        """Where it sends from."""
        self._device = device
        self._ipv6 = ipv6
        self._protect = protect
        self._far: InnerEnd | PacketDevice = IDLE
        self._pump: Pump | None = None
        self._watchers: list[PacketsWatcher] = []
        self._listeners: list[Callable[[], None]] = []
        self._changes = trio.lowlevel.ParkingLot()
        self._turn = trio.CancelScope()
        self._turned = trio.Event()
        self._rebinds = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Run until cancelled; started once there is a socket.

        Raises: OSError — there is none to be had. TunGoneError — the inner end was a TUN interface and is no more.
        """
        while True:
            self._rebinds = False
            with self._bind() as sock:
                self.address = local_address(sock)
                port = UdpPort(sock)
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                while not self._rebinds:
                    pump = Pump(self._device, [port], self._far, on_event=self._note)
                    pump.on_packets = self._show if self._watchers else None
                    self._pump = pump
                    with trio.CancelScope() as self._turn:
                        # The pump before has ended: nobody else reads the inner end.
                        self._turned.set()
                        await pump.run()

    async def set_far(self, far: InnerEnd | PacketDevice) -> None:
        """Carry the packets of another inner end; when this returns the one before is not read any more."""
        self._far = far
        await self._take_turn()

    async def rebind(self) -> None:
        """Go on by a new socket: from another port, and from whichever address leads to the peer now."""
        self._rebinds = True
        await self._take_turn()

    async def _take_turn(self) -> None:
        self._turned = trio.Event()
        self._turn.cancel()
        await self._turned.wait()

    def _bind(self) -> socket.socket:
        try:
            sock = bind_udp(ANY_IPV6 if self._ipv6 else ANY_IPV4, 0)
        except OSError:
            if not self._ipv6:
                raise
            # A machine without IPv6; the ways by IPv4 are left.
            sock = bind_udp(ANY_IPV4, 0)
        if self._protect is not None:
            try:
                self._protect(sock)
            except BaseException:
                sock.close()
                raise
        return sock

    # What is done to the device; the pump has to look at it then.

    def set_parameters(self, parameters: ObfuscationParameters) -> None:
        self._device.set_parameters(parameters)

    def set_peer(self, config: PeerConfig) -> None:
        """Raises: ParameterError."""
        self._device.set_peer(config, trio.current_time())
        self._wake()

    def remove_peer(self, public_key: bytes) -> None:
        self._device.remove_peer(public_key)
        self._wake()

    def set_endpoint(self, public_key: bytes, endpoint: Address) -> None:
        """Reach the peer elsewhere; its session lives on. Raises: LocalProtocolError, ParameterError."""
        self._device.set_endpoint(public_key, endpoint, trio.current_time())
        self._wake()

    def initiate_handshake(self, public_key: bytes) -> None:
        """Begin a handshake now, or 5 s after the last one. Raises: LocalProtocolError — there is no such peer."""
        self._device.initiate_handshake(public_key, trio.current_time())
        self._wake()

    def send_packets(self, packets: Sequence[bytes]) -> None:
        """Send packets of our own beside those of the inner end."""
        now = trio.current_time()
        for packet in packets:
            self._device.send_packet(packet, now)
        self._wake()

    def status(self, public_key: bytes) -> PeerStatus:
        """Raises: LocalProtocolError — there is no such peer."""
        return self._device.status(public_key, trio.current_time())

    async def wait_handshake(self, public_key: bytes) -> PeerStatus:
        """Wait until there is a session to send on. Raises: LocalProtocolError — there is no such peer."""
        await trio.lowlevel.checkpoint()
        while (status := self.status(public_key)).session_age is None:
            await self._changes.park()
        return status

    @contextmanager
    def showing(self, watcher: PacketsWatcher) -> Iterator[None]:
        """Show packets that come through the tunnel to somebody else as well, while the block lasts."""
        self._watchers.append(watcher)
        self._look_on()
        try:
            yield
        finally:
            self._watchers.remove(watcher)
            self._look_on()

    @contextmanager
    def hearing(self, public_key: bytes) -> Iterator[trio.Event]:
        """Yield what is set when the peer is heard next: by a packet of its own, or by a handshake."""
        heard, before = trio.Event(), self.status(public_key).received_bytes

        def look(_packets: object = None) -> None:
            if self.status(public_key).received_bytes > before:
                heard.set()

        self._listeners.append(look)
        try:
            with self.showing(look):
                yield heard
        finally:
            self._listeners.remove(look)

    def _look_on(self) -> None:
        if self._pump is not None:
            self._pump.on_packets = self._show if self._watchers else None

    def _show(self, packets: Sequence[memoryview]) -> None:
        for watcher in self._watchers:
            watcher(packets)

    def _note(self, _event: Event) -> None:
        for listener in self._listeners:
            listener()
        self._changes.unpark_all()

    def _wake(self) -> None:
        if self._pump is not None:
            self._pump.wake_nowait()

"""A device with its inner end and its ports, told over the UAPI what to be: what runs in an engine's process."""

from __future__ import annotations

import errno
import functools
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NoReturn

import attrs
import trio

from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.counting import COUNT_EVERY, MAX_COUNTED, CountTeller
from pharos.wire.awg.device import DEFAULT_MTU, Device
from pharos.wire.awg.events import Event, PeerStatus
from pharos.wire.awg.inner import InnerEnd
from pharos.wire.awg.keys import generate_private_key
from pharos.wire.awg.params import PLAIN, ObfuscationParameters
from pharos.wire.awg.pump import EventHandler, Pump
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.tun import Tun
from pharos.wire.awg.uapi import (
    NO_PRIVATE_KEY,
    OFF,
    DeviceChange,
    DeviceState,
    FaceState,
    PeerChange,
    PeerState,
    changed_parameters,
)
from pharos.wire.awg.udp import ANY_IPV4, ANY_IPV6, UdpPort, bind_udp, local_address, set_mark
from pharos.wire.errors import LocalProtocolError, ParameterError
from pharos.wire.tasks import open_background
from pharos.wire.world import random_bytes, wall_ns

MAX_WAITING_EVENTS: Final = 1024
"""Per watcher: a reconnect of a thousand peers at once. Who falls further behind is cut off, and has to ask anew."""
MAIN_FACE: Final = 0


@attrs.frozen(kw_only=True)
class _Face:
    """A port, and what is spoken there."""

    parameters: ObfuscationParameters
    port: UdpPort


class Engine:
    """One tunnel; ``open_engine`` makes it. ``apply`` and ``state`` are what the UAPI's `set` and `get` come to."""

    def __init__(self, inner: InnerEnd | Tun, mtu: int, host: str | None, on_event: EventHandler | None) -> None:
        self._inner = inner
        self._host = host
        self._on_event = on_event
        self._private_key = NO_PRIVATE_KEY
        # Without a key of its own it is nobody: whom it might be, none can guess.
        self._device = Device(
            private_key=generate_private_key(random_bytes), random=random_bytes, wall_clock=wall_ns, mtu=mtu
        )
        self._mark = 0
        self._faces = {MAIN_FACE: _Face(parameters=PLAIN, port=UdpPort(_bind(0, host)))}
        self._closing: list[socket.socket] = []
        self._pump = self._new_pump()
        self._ports_changed = trio.Event()
        self._watchers: set[trio.MemorySendChannel[Event]] = set()

    async def run(self) -> NoReturn:
        """Carry packets until cancelled.

        Raises: TunGoneError — the interface was removed.
        """
        while True:
            self._ports_changed = trio.Event()
            self._pump = self._new_pump()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump.run)
                await self._ports_changed.wait()
                nursery.cancel_scope.cancel()
            self._close_old()

    def follow_mtu(self, mtu: int) -> None:
        """The interface has this MTU now."""
        self._device.set_mtu(mtu)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """Receive every event from now on, counters too; the channel ends when its reader falls too far behind."""
        sending, receiving = trio.open_memory_channel[Event](MAX_WAITING_EVENTS)
        self._watchers.add(sending)
        try:
            async with receiving, open_background(functools.partial(self._count, sending)):
                yield receiving
        finally:
            self._watchers.discard(sending)
            sending.close()

    async def _count(
        self, watcher: trio.MemorySendChannel[Event], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Tell a watcher of counters. Who has much to read still is told nothing: they are sums, so nothing is lost."""
        teller = CountTeller()
        task_status.started()
        while watcher in self._watchers:
            await trio.sleep(COUNT_EVERY)
            if watcher.statistics().current_buffer_used <= MAX_WAITING_EVENTS - 2 * MAX_COUNTED:
                for event in teller.tell(self._device.counts()):
                    self._tell(watcher, event)

    def statuses(self) -> list[PeerStatus]:
        """Return what is known of every peer, without what it was told to be."""
        return self._device.statuses(trio.current_time())

    def state(self) -> DeviceState:
        """Return everything there is to know."""
        statuses = {status.public_key: status for status in self._device.statuses(trio.current_time())}
        main, *others = sorted(self._faces)
        return DeviceState(
            private_key=self._private_key,
            listen_port=self._listen_port(main),
            fwmark=self._mark,
            parameters=self._faces[main].parameters,
            faces=tuple(
                FaceState(
                    number=number, listen_port=self._listen_port(number), parameters=self._faces[number].parameters
                )
                for number in others
            ),
            peers=tuple(
                PeerState(
                    public_key=config.public_key,
                    preshared_key=config.preshared_key,
                    endpoint=config.endpoint,
                    last_handshake_ns=statuses[config.public_key].last_handshake_ns or 0,
                    sent_bytes=statuses[config.public_key].sent_bytes,
                    received_bytes=statuses[config.public_key].received_bytes,
                    persistent_keepalive=_as_range(config.persistent_keepalive),
                    allowed_ips=config.allowed_ips,
                    send_rate=round(config.send_rate),
                    receive_rate=round(config.receive_rate),
                )
                for config in self._device.configs()
            ),
        )

    def apply(self, change: DeviceChange) -> int:
        """Carry out a change and return the errno of the reply, 0 for success.

        What can be refused is tried before anything is changed; only a public key with which no handshake can be made
        is noticed when its turn comes, and passed over.
        """
        try:
            parameters = {number: self._parameters(number, changes) for number, changes in _parameters_of(change)}
        except ParameterError:
            return errno.EINVAL
        try:
            ports = self._bind_ports(change)
            self._set_mark(change.fwmark)
        except OSError as error:
            return errno.EADDRINUSE if error.errno == errno.EADDRINUSE else errno.EIO
        now = trio.current_time()
        self._apply_device(change, now)
        self._apply_faces(change, parameters, ports)
        refused = self._apply_peers(change, now)
        self._pump.wake_nowait()
        return errno.EINVAL if refused else 0

    # The parts of a change

    def _parameters(self, number: int, changes: Mapping[str, Any]) -> ObfuscationParameters:
        face = self._faces.get(number)
        return changed_parameters(PLAIN if face is None else face.parameters, changes)

    def _bind_ports(self, change: DeviceChange) -> dict[int, UdpPort]:
        """Bind what has to be bound anew, all of it or nothing.

        Raises: OSError.
        """
        mark = self._mark if change.fwmark is None else change.fwmark
        wanted = {face.number: face.listen_port for face in change.faces if not face.remove}
        wanted[MAIN_FACE] = change.listen_port
        ports: dict[int, UdpPort] = {}
        try:
            for number, listen_port in wanted.items():
                known = number in self._faces
                if listen_port is None and known:
                    continue
                if known and listen_port and listen_port == self._listen_port(number):
                    continue
                ports[number] = UdpPort(_bind(listen_port or 0, self._host), face=number)
                if mark:
                    set_mark(ports[number].sock, mark)
        except OSError:
            for port in ports.values():
                port.sock.close()
            raise
        return ports

    def _apply_device(self, change: DeviceChange, now: float) -> None:
        if change.private_key is not None:
            self._private_key = change.private_key
            key = change.private_key if any(change.private_key) else generate_private_key(random_bytes)
            self._device.set_private_key(key, now)

    def _set_mark(self, mark: int | None) -> None:
        """Raises: OSError — we lack CAP_NET_ADMIN."""
        if mark is not None:
            for face in self._faces.values():
                set_mark(face.port.sock, mark)
            self._mark = mark

    def _apply_faces(
        self, change: DeviceChange, parameters: Mapping[int, ObfuscationParameters], ports: Mapping[int, UdpPort]
    ) -> None:
        for number in parameters.keys() | ports.keys():
            old = self._faces.get(number)
            port = ports.get(number)
            if old is not None and port is not None:
                self._closing.append(old.port.sock)
            if port is None:
                assert old is not None, "a face begins with a port"
                port = old.port
            spoken = parameters.get(number, PLAIN if old is None else old.parameters)
            self._faces[number] = _Face(parameters=spoken, port=port)
            if number == MAIN_FACE:
                self._device.set_parameters(spoken)
            else:
                self._device.set_face(number, spoken)
        removed = [face.number for face in change.faces if face.remove and face.number in self._faces]
        for number in removed:
            self._closing.append(self._faces.pop(number).port.sock)
            self._device.remove_face(number)
        if ports or removed:
            self._ports_changed.set()

    def _apply_peers(self, change: DeviceChange, now: float) -> bool:
        """Change the peers; tell whether one was refused."""
        if change.replace_peers:
            for config in self._device.configs():
                self._device.remove_peer(config.public_key)
        refused = False
        for peer in change.peers:
            try:
                self._apply_peer(peer, now)
            except ParameterError:
                refused = True
        return refused

    def _apply_peer(self, change: PeerChange, now: float) -> None:
        """Raises: ParameterError."""
        device = self._device
        if change.remove:
            device.remove_peer(change.public_key)
            return
        # Our own key among the peers is what a file for all of them has; every WireGuard passes it over.
        if change.public_key == device.public_key:
            return
        try:
            config = device.config(change.public_key)
        except LocalProtocolError:
            if change.update_only:
                return
            config = PeerConfig(public_key=change.public_key)
        networks = dict.fromkeys(() if change.replace_allowed_ips else config.allowed_ips)
        networks |= dict.fromkeys(change.allowed_ips)
        for network in change.removed_ips:
            networks.pop(network, None)
        changes: dict[str, Any] = {
            "preshared_key": change.preshared_key,
            "endpoint": change.endpoint,
            "persistent_keepalive": _as_seconds(change.persistent_keepalive),
            "send_rate": change.send_rate,
            "receive_rate": change.receive_rate,
        }
        wanted = {name: value for name, value in changes.items() if value is not None}
        device.set_peer(attrs.evolve(config, allowed_ips=tuple(networks), **wanted), now)

    # The ports

    def _listen_port(self, number: int) -> int:
        return local_address(self._faces[number].port.sock)[1]

    def _new_pump(self) -> Pump:
        ports = [face.port for _, face in sorted(self._faces.items())]
        return Pump(self._device, ports, self._inner, on_event=self._report)

    def _report(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)
        for watcher in list(self._watchers):
            self._tell(watcher, event)

    def _tell(self, watcher: trio.MemorySendChannel[Event], event: Event) -> None:
        try:
            watcher.send_nowait(event)
        except trio.WouldBlock:
            self._watchers.discard(watcher)
            watcher.close()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._watchers.discard(watcher)

    def _close_old(self) -> None:
        for sock in self._closing:
            sock.close()
        self._closing.clear()

    def close(self) -> None:
        """Close the ports."""
        self._close_old()
        for face in self._faces.values():
            face.port.sock.close()


@contextmanager
def open_engine(
    inner: InnerEnd | Tun,
    *,
    mtu: int = DEFAULT_MTU,
    host: str | None = None,
    on_event: EventHandler | None = None,
) -> Iterator[Engine]:
    """Make an engine, whose ports last as long as the block; ``mtu`` is the inner end's.

    It listens on ``host``, or on every address there is. ``on_event`` is called in the midst of the pump's work.

    Raises: OSError — no socket can be had.
    """
    engine = Engine(inner, mtu, host, on_event)
    try:
        yield engine
    finally:
        engine.close()


def _parameters_of(change: DeviceChange) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if change.parameters:
        yield MAIN_FACE, change.parameters
    for face in change.faces:
        if not face.remove:
            yield face.number, face.parameters


def _bind(listen_port: int, host: str | None) -> socket.socket:
    """Bind a port of one address, or of both families, or of IPv4 alone where there is no IPv6."""
    if host is not None:
        return bind_udp(host, listen_port)
    try:
        return bind_udp(ANY_IPV6, listen_port)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
    return bind_udp(ANY_IPV4, listen_port)


def _as_range(keepalive: float | Range) -> Range | None:
    if isinstance(keepalive, Range):
        return keepalive
    return Range(round(keepalive), round(keepalive)) if keepalive else None


def _as_seconds(keepalive: Range | None) -> float | Range | None:
    return 0.0 if keepalive == OFF else keepalive

"""The AmneziaWG engine inside this process, for the demo, for tests, and for machines without systemd.

Its inside is a TUN interface where this process may make one, and else a link in memory that answers pings at the
node's own addresses. It ends with the agent; an engine in a process of its own does not (`userspace`).
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final, NoReturn

import attrs
import trio

from pharos.buoy.dataplane.awgchange import NOTHING, change_for, state_after
from pharos.buoy.dataplane.base import (
    NO_REASONS,
    REMOVED,
    SILENT,
    AwgPeer,
    AwgPlan,
    EngineError,
    OnEvent,
    PeerCounters,
)
from pharos.wire.awg.device import DEFAULT_MTU
from pharos.wire.awg.echo import EchoEnd
from pharos.wire.awg.endpoint import format_address
from pharos.wire.awg.engine import Engine, open_engine
from pharos.wire.awg.events import Event, HandshakeCompleted, SessionEnded
from pharos.wire.awg.hostnet import HostNetwork
from pharos.wire.awg.tun import Tun, open_tun
from pharos.wire.awg.uapi import DeviceChange, DeviceState
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId

SetLink = Callable[[AwgPlan], Awaitable[None]]
"""Gives a TUN interface the node's addresses, and routes the devices' networks into it."""


class EmbeddedAwg:
    """An `AwgDriver` over an engine in this process; ``open_embedded_awg`` makes it."""

    name: Final = "embedded"

    def __init__(
        self,
        engine: Engine,
        inner: EchoEnd | Tun,
        network: HostNetwork | None,
        reporter: Reporter,
        set_link: SetLink | None,
    ) -> None:
        self._engine = engine
        self._inner = inner
        self._network = network
        self._reporter = reporter
        self._set_link = set_link
        self._peers: Mapping[DeviceId, AwgPeer] = {}
        # Nobody else tells the engine anything; to ask it of a thousand peers takes longer than to tell it of one.
        self._state: DeviceState | None = None
        self._told: AwgPlan | None = None

    @property
    def port(self) -> int:
        """The UDP port."""
        return self._known_state().listen_port

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Carry packets until cancelled.

        Raises: TunGoneError — somebody removed the interface.
        """
        async with trio.open_nursery() as nursery:
            if self._network is not None:
                await nursery.start(self._network.run)
            nursery.start_soon(self._engine.run)
            task_status.started()
        raise AssertionError("an engine ends by cancellation or an error only")

    async def apply(self, plan: AwgPlan, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Make the engine be ``plan``; peers that stay keep their sessions."""
        self._tell_owners(plan.peers, reasons)
        state = self._known_state()
        self._tell(state, change_for(_on_port(plan, state.listen_port), state, before=self._told))
        self._told = plan
        if isinstance(self._inner, EchoEnd):
            self._inner.set_addresses([ipaddress.ip_address(address) for address in plan.addresses])
        elif self._set_link is not None:
            await self._set_link(plan)

    async def read_counters(self) -> list[PeerCounters]:
        """Return what the engine knows of every peer."""
        return [
            PeerCounters(
                device_id=self._reporter.owners[status.public_key],
                last_handshake=(status.last_handshake_ns or 0) // 1000,
                received=status.received_bytes,
                sent=status.sent_bytes,
            )
            for status in self._engine.statuses()
            if status.public_key in self._reporter.owners
        ]

    async def restart(self) -> None:
        """Raises: EngineError — always: it is this process that would have to begin anew."""
        raise EngineError("an embedded engine restarts with its agent")

    def _known_state(self) -> DeviceState:
        """Return what the engine was told to be; counters in it are old."""
        if self._state is None:
            self._state = self._engine.state()
        return self._state

    def _tell(self, state: DeviceState, change: DeviceChange) -> None:
        """Raises: EngineError — the engine refused; what it is now is asked next time."""
        if change == NOTHING:
            return
        self._state = self._told = None
        number = self._engine.apply(change)
        if number:
            raise EngineError(f"the engine refused its plan: {os.strerror(number)}")
        if change.listen_port is None and not change.faces:
            # Where ports were bound, the engine knows which.
            self._state = state_after(state, change)

    def _tell_owners(self, peers: Mapping[DeviceId, AwgPeer], reasons: Mapping[DeviceId, str]) -> None:
        for device_id, peer in self._peers.items():
            now = peers.get(device_id)
            if now is not peer and (now is None or now.public_key != peer.public_key):
                self._reporter.forget(peer.public_key, reasons.get(device_id, REMOVED))
        for device_id, peer in peers.items():
            if self._peers.get(device_id) is not peer:
                self._reporter.owners[peer.public_key] = device_id
        self._peers = peers


def _on_port(plan: AwgPlan, port: int) -> AwgPlan:
    """Let a plan that leaves the port to us stay on the one that we have."""
    if not plan.endpoints or plan.endpoints[0].port:
        return plan
    first, *others = plan.endpoints
    return attrs.evolve(plan, endpoints=(attrs.evolve(first, port=port), *others))


@contextmanager
def open_embedded_awg(
    *, host: str | None, port: int, on_event: OnEvent, interface: str = "", set_link: SetLink | None = None
) -> Iterator[EmbeddedAwg]:
    """Have an engine on one UDP port while the block lasts; `EmbeddedAwg.run` makes it carry packets.

    It listens on ``host``, or on every address there is.

    With ``interface`` its inside is a TUN interface of that name, which ``set_link`` gives its addresses.

    Raises: OSError — the port or the interface cannot be had.
    """
    reporter = Reporter(on_event)
    network = HostNetwork(lambda _index, _mtu: None) if interface else None
    with ExitStack() as stack:
        inner: EchoEnd | Tun = EchoEnd([])
        if network is not None:
            inner = stack.enter_context(open_tun(interface, mtu=DEFAULT_MTU, is_local=network.is_local))
        engine = stack.enter_context(open_engine(inner, host=host, on_event=reporter.report))
        number = engine.apply(DeviceChange(listen_port=port))
        if number:
            raise OSError(number, f"UDP port {port}: {os.strerror(number)}")
        yield EmbeddedAwg(engine, inner, network, reporter, set_link)


class Reporter:
    """Translates an engine's events, which know keys, into the agent's, which know devices."""

    def __init__(self, on_event: OnEvent) -> None:
        self.owners: dict[bytes, DeviceId] = {}
        """Device by AmneziaWG public key."""
        self._on_event = on_event
        self._connected: set[bytes] = set()

    def report(self, event: Event) -> None:
        """Tell what concerns a device; runs inside the pump, so it only queues."""
        device_id = self.owners.get(event.peer)
        if device_id is None:
            return
        match event:
            case HandshakeCompleted(peer=peer, endpoint=endpoint, at_ns=at_ns):
                where = format_address(endpoint)
                self._on_event(EventKind.HANDSHAKE, at=at_ns // 1000, device_id=device_id, detail=where)
                if peer not in self._connected:
                    self._connected.add(peer)
                    self._on_event(EventKind.CONNECTED, at=at_ns // 1000, device_id=device_id, detail=where)
            case SessionEnded(peer=peer):
                self._disconnect(peer, device_id, SILENT)

    def forget(self, public_key: bytes, reason: str) -> None:
        """Drop a key; its device is gone now, for the engine's own word comes when nobody knows whose key it was."""
        self._disconnect(public_key, self.owners.pop(public_key), reason)

    def _disconnect(self, public_key: bytes, device_id: DeviceId, reason: str) -> None:
        if public_key in self._connected:
            self._connected.discard(public_key)
            at = time.time_ns() // 1000
            self._on_event(EventKind.DISCONNECTED, at=at, device_id=device_id, detail=reason)

"""What is known of a plan's devices, at whichever engines they are: who is connected, and what was carried. Sans-IO.

An engine of ours tells what happens (`hear`); of others the state is looked at again and again (`see`). Either way the
agent hears of a handshake, of the first one that connects a device, and of a device that has gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from pharos.buoy.dataplane.base import REMOVED, SILENT, AwgPeer, AwgPlan, OnEvent, PeerCounters
from pharos.buoy.dataplane.sums import Sums
from pharos.wire.awg.endpoint import Address, format_address
from pharos.wire.awg.events import Event, HandshakeCompleted, PeerCounted, SessionEnded
from pharos.wire.convert import EventKind
from pharos.wire.ids import DeviceId
from pharos.wire.units import SECONDS

REJECT_AFTER: Final = 180 * SECONDS
"""How long a session can be used that no handshake follows (wireguard.pdf §6.1), where the parameters say nothing."""
_BILLION: Final = 1_000_000_000


@attrs.frozen(kw_only=True)
class Sighting:
    """A peer as an engine shows it."""

    public_key: bytes = attrs.field(repr=bytes.hex)
    endpoint: Address | None
    last_handshake_ns: int
    """Unix time; 0 for never."""
    received: int
    sent: int


@attrs.define
class _Record:
    peer: AwgPeer
    since_ns: int
    """When it joined the plan, Unix time in nanoseconds."""
    handshakes: dict[int, int] = attrs.field(factory=dict)
    """The last one at each engine that had one, Unix time in nanoseconds."""
    latest_ns: int = 0
    connected: bool = False
    engine: int = 0
    """Where the last handshake was."""
    heard_at: float = 0.0
    """When that was, by the clock that ``now`` is read from."""


class Roster:
    """All devices of the last plan. ``now`` is seconds of any clock, ``at_ns`` Unix time in nanoseconds."""

    def __init__(self, engines: int, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._sums = Sums(engines)
        self._records: dict[DeviceId, _Record] = {}
        self._owners: dict[bytes, DeviceId] = {}
        self._silence = REJECT_AFTER

    def adopt(self, plan: AwgPlan, reasons: Mapping[DeviceId, str], *, at_ns: int) -> None:
        """These are the devices from now on; of those that went it is told why."""
        self._silence = silence_of(plan)
        peers = plan.peers if plan.endpoints else {}
        for device_id in self._records.keys() - peers.keys():
            self._drop(device_id, reasons.get(device_id, REMOVED), at_ns)
            self._sums.forget(device_id)
        for device_id, peer in peers.items():
            record = self._records.get(device_id)
            if record is not None and record.peer is peer:
                continue
            if record is not None and record.peer.public_key == peer.public_key:
                record.peer = peer
                continue
            if record is not None:
                self._drop(device_id, reasons.get(device_id, REMOVED), at_ns)
            self._records[device_id] = _Record(peer=peer, since_ns=at_ns)
            self._owners[peer.public_key] = device_id

    def hear(self, event: Event, *, now: float, at_ns: int) -> None:
        """The engine of ours, number 0, tells of something."""
        device_id = self._owners.get(event.peer)
        if device_id is None:
            return
        match event:
            case HandshakeCompleted():
                self._shake(device_id, 0, event.at_ns, event.endpoint, now=now, at_ns=at_ns)
            case PeerCounted():
                self._sums.set(0, device_id, event.received_bytes, event.sent_bytes)
            case SessionEnded():
                self._disconnect(device_id, SILENT, at_ns)

    def see(self, engine: int, sightings: Iterable[Sighting], *, now: float, at_ns: int) -> None:
        """These are all peers of an engine; a device that has lost its handshake there has lost its session."""
        missing = dict(self._records)
        for sighting in sightings:
            device_id = self._owners.get(sighting.public_key)
            if device_id is None:
                continue
            del missing[device_id]
            self._sums.set(engine, device_id, sighting.received, sighting.sent)
            if sighting.last_handshake_ns:
                self._shake(device_id, engine, sighting.last_handshake_ns, sighting.endpoint, now=now, at_ns=at_ns)
            else:
                self._lose(device_id, engine, at_ns)
        for device_id in missing:
            self._sums.set(engine, device_id, 0, 0)
            self._lose(device_id, engine, at_ns)

    def review(self, *, now: float, at_ns: int) -> None:
        """Tell of those whose session is too old to be one, where the engine does not."""
        for device_id, record in self._records.items():
            if record.connected and now - record.heard_at >= self._silence:
                self._disconnect(device_id, SILENT, at_ns)

    def counters(self) -> list[PeerCounters]:
        """Return what is known of every device."""
        octets = dict(self._sums.all())
        return [
            PeerCounters(
                device_id=device_id,
                last_handshake=record.latest_ns // 1000,
                received=octets.get(device_id, (0, 0))[0],
                sent=octets.get(device_id, (0, 0))[1],
            )
            for device_id, record in self._records.items()
        ]

    def connected_at(self, engine: int) -> tuple[AwgPeer, ...]:
        """Return who is connected and was last heard at an engine."""
        return tuple(record.peer for record in self._records.values() if record.connected and record.engine == engine)

    def _shake(
        self, device_id: DeviceId, engine: int, shaken_ns: int, endpoint: Address | None, *, now: float, at_ns: int
    ) -> None:
        record = self._records[device_id]
        if shaken_ns <= record.handshakes.get(engine, 0):
            return
        record.handshakes[engine] = shaken_ns
        if shaken_ns < record.latest_ns:
            return
        record.latest_ns, record.engine = shaken_ns, engine
        age = max(0, at_ns - shaken_ns) / _BILLION
        record.heard_at = now - age
        where = "" if endpoint is None else format_address(endpoint)
        # One that was before the device joined the plan was told of by the agent before this one.
        # The kernel's tool tells of handshakes no finer than to the second.
        since_ns = record.since_ns if shaken_ns % _BILLION else record.since_ns // _BILLION * _BILLION
        if shaken_ns >= since_ns:
            self._on_event(EventKind.HANDSHAKE, at=shaken_ns // 1000, device_id=device_id, detail=where)
        if not record.connected and age < self._silence:
            record.connected = True
            self._on_event(EventKind.CONNECTED, at=shaken_ns // 1000, device_id=device_id, detail=where)

    def _lose(self, device_id: DeviceId, engine: int, at_ns: int) -> None:
        record = self._records[device_id]
        if record.handshakes.pop(engine, 0) and record.engine == engine:
            self._disconnect(device_id, SILENT, at_ns)

    def _drop(self, device_id: DeviceId, reason: str, at_ns: int) -> None:
        self._disconnect(device_id, reason, at_ns)
        record = self._records.pop(device_id)
        # Another device may have its key by now.
        if self._owners.get(record.peer.public_key) == device_id:
            del self._owners[record.peer.public_key]

    def _disconnect(self, device_id: DeviceId, reason: str, at_ns: int) -> None:
        record = self._records[device_id]
        if record.connected:
            record.connected = False
            self._on_event(EventKind.DISCONNECTED, at=at_ns // 1000, device_id=device_id, detail=reason)


def silence_of(plan: AwgPlan) -> float:
    """Return how many seconds after its handshake a session is surely over."""
    told = [endpoint.parameters.reject_after_time for endpoint in plan.endpoints]
    return max((REJECT_AFTER if one is None else one.high * SECONDS for one in told), default=REJECT_AFTER)

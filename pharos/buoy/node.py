"""The node itself: takes pushes in order, persists before it acts, cuts whose time is over, and reports what it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, NoReturn, Protocol

import attrs
import trio

from pharos.buoy.dataplane.base import NO_REASONS, PeerCounters
from pharos.buoy.machine import read_machine
from pharos.buoy.quota import KEPT_EVERY, QuotaMeter
from pharos.buoy.reality import RealityKeys
from pharos.buoy.report import report_of
from pharos.buoy.serving import (
    REVOKED,
    is_denied,
    patience,
    previous_now,
    reasons_to_cut,
    served,
    slowed_now,
    without_denied,
)
from pharos.buoy.state import DesiredState
from pharos.wire.agent import AgentKeys
from pharos.wire.convert import NodeReport
from pharos.wire.desired import Desired, Peer, PreviousEndpoint, Push
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.keeping import Keeping
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.noise.keys import KeyPair
from pharos.wire.reports import EngineReport
from pharos.wire.units import SECONDS
from pharos.wire.world import in_thread, wall_ns

log = logging.getLogger(__name__)

# Of what was used, when the agent ends: an engine in another process may be ending, too.
LAST_COUNT: Final = 1 * SECONDS


def now_us() -> int:
    """Microseconds since 1970, by the wall clock."""
    return wall_ns() // 1000


class DataPlane(Protocol):
    """What a node asks of all that carries packets (`pharos.buoy.dataplane.manager.Planes`)."""

    @property
    def port(self) -> int:
        """The UDP port of AmneziaWG, 0 while none is served."""
        ...

    @property
    def reality_port(self) -> int:
        """The TCP port of REALITY, 0 while none is served."""
        ...

    def check(self, desired: Desired) -> None:
        """Raises: RemoteProtocolError — it could not be served; nothing is kept then."""
        ...

    async def apply(self, desired: Desired, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Serve exactly ``desired``; ``reasons`` say why peers that go are gone."""
        ...

    async def read_counters(self) -> list[PeerCounters]:
        """Return what is known of every peer."""
        ...

    def commitment(self, device_id: DeviceId) -> bytes:
        """Return HMAC(PSK, "commit")[:8] of a peer, so that helm can compare both ends."""
        ...

    def health(self) -> tuple[EngineReport, ...]:
        """Return what carries each protocol, and how it is."""
        ...

    async def restart(self, protocol: str) -> None:
        """Have an engine begin anew. Raises: KeyError — no such protocol. EngineError — it cannot be done."""
        ...

    async def end_session(self, device_id: DeviceId) -> None:
        """End what a device has going on; it may come again. Raises: EngineError — an engine could not be told."""
        ...

    def read_network(self) -> NetworkPlan | None:
        """Return what the firewall was told last; None: nothing, or it is not the agent's to keep."""
        ...


class Node:
    """Between the control service and the data plane."""

    def __init__(
        self,
        *,
        keeping: Keeping,
        keys: AgentKeys,
        state: DesiredState,
        plane: DataPlane,
        meter: QuotaMeter,
        wall: Callable[[], int] = now_us,
    ) -> None:
        self.keeping = keeping
        self.awg_key = KeyPair.from_private_bytes(keys.awg_key).public
        self.derive_key = keys.derive_key.public
        membership = keeping.standing.membership
        self.reality_keys = RealityKeys(membership.trust.fleet, NodeId(membership.identity.id), keys.derive_key)
        self.started_at = wall()
        self._state = state
        self._plane = plane
        self._meter = meter
        self._wall = wall
        self._turn = trio.Lock()
        self._folder = state.folder
        self._cut: dict[DeviceId, str] = {}
        self._slowed: frozenset[DeviceId] = frozenset()
        self._previous: tuple[PreviousEndpoint, ...] = ()
        self._changed = trio.Event()
        self._saved_at = trio.current_time()

    @property
    def desired(self) -> Desired:
        """What helm said last, without whom the fleet has revoked."""
        return self._state.current

    async def start(self) -> None:
        """Serve what is on disk."""
        async with self._turn:
            # Killed between the deny list and the peers, we come up with both.
            if not await self._drop_denied():
                await self._apply(self._state.current)

    async def push(self, push: Push) -> Desired:
        """Persist a change set, then carry it out; return what holds now.

        Trust comes first, and stays although the peers that came along may be refused.

        Raises: RemoteProtocolError, ManifestError, DenyListError — the push is refused.
        """
        async with self._turn:
            self._state.current.require_order(push.fence)
            # A helm that goes away in the middle must not leave disk and engine apart.
            with trio.CancelScope(shield=True):
                before = self.keeping.deny_order
                try:
                    await self.keeping.take(
                        manifest=push.manifest, deny_list=push.deny_list, checkpoint=push.checkpoint
                    )
                finally:
                    # What came along may be refused; the list is in force.
                    if self.keeping.deny_order != before:
                        await self._drop_denied()
                desired = self._state.current.after(without_denied(push, self.keeping.standing.deny_list))
                self._plane.check(desired)
                await self._count(desired.peers)
                await self._state.replace(desired)
                await self._apply(desired)
            self._changed.set()
        return desired

    async def run_bounds(self) -> NoReturn:
        """Cut or slow down peers when it is time, or their quota is used up, with or without helm, until cancelled."""
        try:
            while True:
                self._changed = trio.Event()
                await self.review()
                with trio.move_on_after(patience(self._state.current, now=self._now())):
                    await self._changed.wait()
        finally:
            with trio.move_on_after(LAST_COUNT, shield=True):
                await self._count(self._state.current.peers)
            if self._meter.changed:
                self._save_usage()

    async def review(self) -> None:
        """Count what was used, and cut, slow down or serve again whoever, and whatever, has come to it."""
        async with self._turn:
            desired, now = self._state.current, self._now()
            await self._count(desired.peers)
            cut = reasons_to_cut(desired.peers, now=now, meter=self._meter)
            slowed = slowed_now(desired.peers, meter=self._meter)
            if (cut, slowed, previous_now(desired, now=now)) != (self._cut, self._slowed, self._previous):
                with trio.CancelScope(shield=True):
                    await self._apply(desired)
            if self._meter.changed and trio.current_time() - self._saved_at >= KEPT_EVERY:
                self._saved_at = trio.current_time()
                await in_thread(self._save_usage)

    def _now(self) -> int:
        # Access that has ended is not begun again by a clock that was set back.
        return max(self._wall(), round(self.keeping.standing.floor.floor.timestamp() * 1_000_000))

    async def report(self) -> NodeReport:
        """Return the node's status."""
        counted, machine = await self._plane.read_counters(), read_machine(self._folder)
        return report_of(self, self._plane, counted, self._meter, machine=machine, now=self._wall())

    async def restart(self, protocol: str) -> None:
        """Have the engine of a protocol begin anew, which ends its sessions; it is told again what to be.

        Raises: KeyError — no such protocol is served. EngineError — it cannot be done.
        """
        await self._plane.restart(protocol)

    async def end_session(self, device_id: DeviceId) -> None:
        """End what a device has going on; it may come again at once.

        Raises: KeyError — it is not served now. EngineError — an engine could not be told.
        """
        async with self._turn:
            peers = self._state.current.peers
            if device_id not in peers or device_id in self._cut:
                raise KeyError(device_id)
            # Whoever asked may go away in the middle, and the device must not stay locked out.
            with trio.CancelScope(shield=True):
                # An engine forgets what it counted of a peer that leaves it.
                await self._count(peers)
                await self._plane.end_session(device_id)

    def read_network(self) -> NetworkPlan | None:
        """Return what the firewall here was told last; None: nothing, or somebody else keeps the rules."""
        return self._plane.read_network()

    async def _count(self, peers: Mapping[DeviceId, Peer]) -> None:
        # To ask the engine of a thousand peers takes milliseconds, and most fleets have no quota.
        if self._meter.is_used or any(peer.quota is not None for peer in peers.values()):
            self._meter.read(peers, await self._plane.read_counters())

    def _save_usage(self) -> None:
        try:
            self._meter.save()
        except OSError as error:
            # A full disk ends no tunnel: what is not written now is written later, or counted anew after a restart.
            log.warning("what quotas have used could not be written: %s", error)

    async def _apply(self, desired: Desired, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        now = self._now()
        cut = reasons_to_cut(desired.peers, now=now, meter=self._meter)
        for device_id in cut.keys() - self._cut.keys():
            log.info("peer %s is cut: %s", device_id, cut[device_id])
        slowed = slowed_now(desired.peers, meter=self._meter)
        for device_id in slowed - self._slowed:
            log.info("peer %s has used up its quota and is slowed down", device_id)
        present = served(desired, cut, now=now, slowed=slowed)
        for endpoint in set(self._previous) - set(present.previous):
            log.info("the parameters of before on port %d are not served any more", endpoint.port)
        self._cut, self._slowed, self._previous = cut, slowed, present.previous
        await self._plane.apply(present, reasons={**reasons, **cut})

    async def _drop_denied(self) -> bool:
        """Drop the peers that the deny list denies, from engine and disk; say whether there were any."""
        desired, deny_list = self._state.current, self.keeping.standing.deny_list
        denied = [device_id for device_id, peer in desired.peers.items() if is_denied(deny_list, peer)]
        if not denied:
            return False
        gone = dict.fromkeys(denied, REVOKED)
        kept = {device_id: peer for device_id, peer in desired.peers.items() if device_id not in gone}
        desired = attrs.evolve(desired, peers=kept)
        # The deny list is on disk, so a disk that fails from here on brings nobody back.
        await self._apply(desired, reasons=gone)
        await self._state.replace(desired)
        log.warning("%d peers were revoked and are cut: %s", len(denied), ", ".join(denied))
        return True

"""A buoy to test with: a member of a fleet, and an engine that does as it is told and remembers it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import trio

from pharos.buoy.dataplane.base import NO_REASONS, PeerCounters
from pharos.buoy.node import Node, now_us
from pharos.buoy.quota import QuotaMeter
from pharos.buoy.state import DesiredState, desired_to_json
from pharos.wire.agent import AgentKeys, Membership
from pharos.wire.desired import Desired
from pharos.wire.errors import RemoteProtocolError
from pharos.wire.ids import DeviceId
from pharos.wire.keeping import Keeping
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.reports import EngineReport


class Bell:
    """Wakes everyone who waits at the moment it rings."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()
        self._rung = trio.Event()

    async def wait(self) -> None:
        await self._rung.wait()


@attrs.define
class FakePlane:
    """A `DataPlane` without packets."""

    port: int = 51820
    reality_port: int = 0
    applied: list[Desired] = attrs.field(factory=list)
    reasons: list[dict[DeviceId, str]] = attrs.field(factory=list)
    """Why peers were gone, by ``apply``."""
    told: Bell = attrs.field(factory=Bell)
    """Rings at each ``apply``."""
    seen: list[PeerCounters] = attrs.field(factory=list)
    refuses: frozenset[DeviceId] = frozenset()
    """Devices whose keys it cannot use."""
    before_apply: trio.Event | None = None
    """Set when an ``apply`` has begun; it goes on when ``may_apply`` is set."""
    may_apply: trio.Event = attrs.field(factory=trio.Event)
    restarts: int = 0
    ended: list[DeviceId] = attrs.field(factory=list)
    """Whose sessions were to end."""
    network: NetworkPlan | None = None

    def check(self, desired: Desired) -> None:
        for device_id in desired.peers:
            if device_id in self.refuses:
                raise RemoteProtocolError(f"device {device_id}: a key cannot be used")

    async def apply(self, desired: Desired, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        if self.before_apply is not None:
            self.before_apply.set()
            await self.may_apply.wait()
        self.applied.append(desired)
        self.reasons.append(dict(reasons))
        self.told.ring()

    async def read_counters(self) -> list[PeerCounters]:
        return self.seen

    def health(self) -> tuple[EngineReport, ...]:
        return (EngineReport(protocol="amneziawg", driver="fake"),)

    async def restart(self, protocol: str) -> None:
        if protocol != "amneziawg":
            raise KeyError(protocol)
        self.restarts += 1

    async def end_session(self, device_id: DeviceId) -> None:
        self.ended.append(device_id)

    def read_network(self) -> NetworkPlan | None:
        return self.network

    def commitment(self, device_id: DeviceId) -> bytes:
        return device_id.encode()[-8:].rjust(8, b"\0")


def orders_on_disk(folder: Path) -> dict[str, Any]:
    """What a buoy would come up with, as its file spells it."""
    while True:
        before = _stamp(folder)
        desired = DesiredState(folder).load()
        # What it goes on from and its changes are two files: of a buoy that writes them anew we may see one of each.
        if _stamp(folder) == before:
            return desired_to_json(desired)


def _stamp(folder: Path) -> list[tuple[int, int]]:
    found = []
    for name in ("desired.json", "desired.journal"):
        with contextlib.suppress(FileNotFoundError):
            status = (folder / name).stat()
            found.append((status.st_ino, status.st_mtime_ns))
    return found


@attrs.frozen(kw_only=True)
class SampleBuoy:
    """A node and what it stands on."""

    state: DesiredState
    plane: FakePlane
    keeping: Keeping
    node: Node


def make_buoy(
    folder: Path,
    *,
    keys: AgentKeys,
    membership: Membership,
    plane: FakePlane | None = None,
    wall: Callable[[], int] = now_us,
) -> SampleBuoy:
    """Bring a node up from what is on disk in ``folder``."""
    state, plane = DesiredState(folder), plane or FakePlane()
    state.load()
    keeping = Keeping(folder, keys, membership)
    node = Node(keeping=keeping, keys=keys, state=state, plane=plane, meter=QuotaMeter(folder), wall=wall)
    return SampleBuoy(state=state, plane=plane, keeping=keeping, node=node)

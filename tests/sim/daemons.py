"""The daemons of the simulation: helm and beacons whole, and buoys with everything but packets."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import attrs
import trio

from pharos.buoy.control import serve_control
from pharos.buoy.dataplane.base import NO_REASONS, EngineError, PeerCounters
from pharos.buoy.events import EventFeed
from pharos.buoy.node import Node
from pharos.buoy.quota import QuotaMeter
from pharos.buoy.state import DesiredState
from pharos.wire.agent import AgentKeys
from pharos.wire.desired import Desired
from pharos.wire.files import lock_state_directory, open_state_directory
from pharos.wire.ids import DeviceId
from pharos.wire.keeping import Keeping
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.pki.roles import Role
from pharos.wire.reports import EngineReport
from pharos.wire.world import utc_now

CONTROL_PORT = 7443
AWG_PORT = 51820
REALITY_PORT = 443


@attrs.define
class LightPlane:
    """Carries no packets, and knows whom it would carry them for."""

    serving: Desired = attrs.field(factory=Desired)
    refuses: bool = False
    """Whether its engine fails at everything it is told."""
    port: int = AWG_PORT

    @property
    def reality_port(self) -> int:
        return REALITY_PORT if self.serving.reality is not None else 0

    def check(self, desired: Desired) -> None:
        """Take everything."""

    async def apply(self, desired: Desired, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        await trio.lowlevel.checkpoint()
        self.serving = desired

    async def read_counters(self) -> list[PeerCounters]:
        return []

    def health(self) -> tuple[EngineReport, ...]:
        return (EngineReport(protocol="amneziawg", driver="light"),)

    async def restart(self, protocol: str) -> None:
        raise EngineError(f"there is no {protocol} here")

    async def end_session(self, device_id: DeviceId) -> None:
        """Nobody has one."""

    def read_network(self) -> NetworkPlan | None:
        return None

    def commitment(self, device_id: DeviceId) -> bytes:
        return b""


@attrs.frozen(kw_only=True)
class LightBuoy:
    """What runs on a node."""

    node: Node
    plane: LightPlane


async def run_light_buoy(
    state: Path, host: str, *, task_status: trio.TaskStatus[LightBuoy] = trio.TASK_STATUS_IGNORED
) -> None:
    """Do as `pharos.buoy.app.run_buoy` does, with a data plane that carries nothing.

    Raises: StateFileError, AgentError.
    """
    directory = open_state_directory(state)
    with lock_state_directory(directory):
        keys = AgentKeys(directory, Role.NODE)
        keeping = Keeping(directory, keys, keys.membership(now=utc_now()))
        kept, meter, plane = DesiredState(directory), QuotaMeter(directory), LightPlane()
        kept.load(mend=True)
        node = Node(keeping=keeping, keys=keys, state=kept, plane=plane, meter=meter)
        async with trio.open_nursery() as nursery:
            await node.start()
            nursery.start_soon(node.run_bounds)
            await nursery.start(functools.partial(serve_control, node, EventFeed(), host=host, port=CONTROL_PORT))
            task_status.started(LightBuoy(node=node, plane=plane))

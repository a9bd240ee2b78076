"""The buoy's task tree, whole: state ⊃ engines ⊃ control port."""

from __future__ import annotations

import functools
import logging
from contextlib import ExitStack

import attrs
import trio

from pharos.buoy.config import BuoyConfig
from pharos.buoy.control import serve_control
from pharos.buoy.dataplane.drivers import open_drivers
from pharos.buoy.dataplane.manager import Planes
from pharos.buoy.dataplane.plans import Planner
from pharos.buoy.events import EventFeed
from pharos.buoy.node import Node
from pharos.buoy.quota import QuotaMeter
from pharos.buoy.roothelper.local import LocalRootHelper
from pharos.buoy.state import DesiredState
from pharos.wire.agent import AgentKeys
from pharos.wire.files import lock_state_directory, open_state_directory
from pharos.wire.keeping import Keeping
from pharos.wire.pki.roles import Role
from pharos.wire.world import utc_now

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class BuoyAddresses:
    """Where a running buoy can be reached."""

    control: tuple[str, int]
    awg: tuple[str, int]
    reality_port: int = 0
    """TCP; 0 until helm has ordered a target."""


async def run_buoy(
    config: BuoyConfig, *, task_status: trio.TaskStatus[BuoyAddresses] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a buoy until cancelled. ``started`` is called when the tunnel and the control port are served.

    It comes up from disk: peers of the last push are served before helm is heard of.

    Raises: StateFileError — a state file is damaged. AgentError — this machine is not in a fleet. EngineError — an
    engine that was asked for by name is not there.
    """
    state_directory = open_state_directory(config.state)
    with lock_state_directory(state_directory), ExitStack() as stack:
        keys = AgentKeys(state_directory, Role.NODE)
        membership = keys.membership(now=utc_now())
        keeping = Keeping(state_directory, keys, membership)
        state, meter = DesiredState(state_directory), QuotaMeter(state_directory)
        state.load(mend=True)
        feed = EventFeed(keep_sources=config.keep_sources)
        planner = Planner(membership=membership, keys=keys, awg_port=config.awg_port, reality_port=config.reality_port)
        drivers = stack.enter_context(open_drivers(config, publish=feed.publish))
        plane = Planes(planner, drivers.awg, drivers.reality, drivers.network)
        node = Node(keeping=keeping, keys=keys, state=state, plane=plane, meter=meter)
        async with trio.open_nursery() as nursery:
            if isinstance(drivers.helper, LocalRootHelper):
                nursery.start_soon(drivers.helper.run)
            await nursery.start(plane.run)
            await node.start()
            nursery.start_soon(node.run_bounds)
            control: tuple[str, int] = await nursery.start(
                functools.partial(serve_control, node, feed, host=config.host, port=config.control_port)
            )
            log.info(
                "buoy %s serves %d peers on UDP %d (%s) and TCP %d (%s), control on TCP %d, fence %s",
                membership.identity.id,
                len(node.desired.peers),
                plane.port,
                plane.awg_driver,
                plane.reality_port,
                plane.reality_driver,
                control[1],
                node.desired.fence,
            )
            task_status.started(
                BuoyAddresses(control=control, awg=(config.host, plane.port), reality_port=plane.reality_port)
            )

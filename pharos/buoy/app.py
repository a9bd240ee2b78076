"""The buoy's task tree, whole: state ⊃ engine ⊃ control port."""

from __future__ import annotations

import datetime
import functools
import logging

import attrs
import trio

from pharos.buoy.config import BuoyConfig
from pharos.buoy.control import serve_control
from pharos.buoy.dataplane.embedded import open_embedded
from pharos.buoy.events import EventFeed
from pharos.buoy.node import Node
from pharos.buoy.quota import QuotaMeter
from pharos.buoy.state import DesiredState
from pharos.wire.agent import AgentKeys
from pharos.wire.files import lock_state_directory, open_state_directory
from pharos.wire.keeping import Keeping
from pharos.wire.pki.roles import Role

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class BuoyAddresses:
    """Where a running buoy can be reached."""

    control: tuple[str, int]
    awg: tuple[str, int]


async def run_buoy(
    config: BuoyConfig, *, task_status: trio.TaskStatus[BuoyAddresses] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a buoy until cancelled. ``started`` is called when the tunnel and the control port are served.

    It comes up from disk: peers of the last push are served before helm is heard of.

    Raises: StateFileError — a state file is damaged. AgentError — this machine is not in a fleet.
    """
    state_directory = open_state_directory(config.state)
    with lock_state_directory(state_directory):
        keys = AgentKeys(state_directory, Role.NODE)
        membership = keys.membership(now=datetime.datetime.now(datetime.UTC))
        keeping = Keeping(state_directory, keys, membership)
        state, meter = DesiredState(state_directory), QuotaMeter(state_directory)
        state.load()
        feed = EventFeed()
        async with (
            open_embedded(host=config.host, port=config.awg_port, membership=membership, keys=keys, feed=feed) as plane,
            trio.open_nursery() as nursery,
        ):
            node = Node(keeping=keeping, keys=keys, state=state, plane=plane, meter=meter)
            await node.start()
            nursery.start_soon(node.run_bounds)
            control: tuple[str, int] = await nursery.start(
                functools.partial(serve_control, node, feed, host=config.host, port=config.control_port)
            )
            log.info(
                "buoy %s serves %d peers on UDP %d, control on TCP %d, fence %s",
                membership.identity.id,
                len(node.desired.peers),
                plane.port,
                control[1],
                node.desired.fence,
            )
            task_status.started(BuoyAddresses(control=control, awg=(config.host, plane.port)))

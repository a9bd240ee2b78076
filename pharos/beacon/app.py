"""The beacon's task tree, whole: tunnel listener beside client ingress."""

from __future__ import annotations

import datetime
import functools
import logging

import attrs
import trio

from pharos.beacon.config import BeaconConfig
from pharos.beacon.ingress import serve_ingress
from pharos.beacon.orders import follow_orders
from pharos.beacon.tunnel import serve_tunnel
from pharos.beacon.upstream import Upstreams
from pharos.wire.agent import AgentKeys
from pharos.wire.files import lock_state_directory, open_state_directory
from pharos.wire.keeping import Keeping
from pharos.wire.pki.roles import Role
from pharos.wire.rpc import limits
from pharos.wire.rpc.flow import Holdings

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class BeaconAddresses:
    """Where a running beacon can be reached."""

    ingress: tuple[str, int]
    tunnel: tuple[str, int]


async def run_beacon(
    config: BeaconConfig, *, task_status: trio.TaskStatus[BeaconAddresses] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a beacon until cancelled. ``started`` is called when both ports are served.

    Raises: StateFileError — a state file is damaged. AgentError — this machine is not in a fleet.
    """
    state_directory = open_state_directory(config.state)
    with lock_state_directory(state_directory):
        keys = AgentKeys(state_directory, Role.RELAY)
        membership = keys.membership(now=datetime.datetime.now(datetime.UTC))
        keeping = Keeping(state_directory, keys, membership)
        upstreams = Upstreams()
        # One for both sides: what devices do not read was held for helm a moment ago, and the other way round.
        holdings = Holdings(limits.RELAY_HOLDINGS)
        async with trio.open_nursery() as nursery:
            tunnel: tuple[str, int] = await nursery.start(
                functools.partial(
                    serve_tunnel,
                    upstreams,
                    standing=keeping.standing,
                    host=config.host,
                    port=config.tunnel_port,
                    holdings=holdings,
                    attend=functools.partial(follow_orders, keeping),
                )
            )
            ingress: tuple[str, int] = await nursery.start(
                functools.partial(
                    serve_ingress,
                    upstreams,
                    standing=keeping.standing,
                    host=config.host,
                    port=config.ingress_port,
                    holdings=holdings,
                )
            )
            log.info("beacon %s: clients on TCP %d, helm on TCP %d", membership.identity.id, ingress[1], tunnel[1])
            task_status.started(BeaconAddresses(ingress=ingress, tunnel=tunnel))

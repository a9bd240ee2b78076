"""The beacon's task tree, whole: tunnel listener beside the ports of the client ingress."""

from __future__ import annotations

import logging

import attrs
import trio

from pharos.beacon.config import BeaconConfig
from pharos.beacon.core import BeaconCore
from pharos.wire.agent import AgentKeys
from pharos.wire.files import lock_state_directory, open_state_directory
from pharos.wire.pki.roles import Role
from pharos.wire.world import utc_now

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class BeaconAddresses:
    """Where a running beacon can be reached."""

    ingress: tuple[str, int]
    """The port that helm's record has."""
    more_ingress: tuple[tuple[str, int], ...] = ()
    tunnel: tuple[str, int]


async def run_beacon(
    config: BeaconConfig, *, task_status: trio.TaskStatus[BeaconAddresses] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a beacon until cancelled. ``started`` is called when both ports are served.

    Raises: StateFileError — a state file is damaged. AgentError — this machine is not in a fleet. ConfigError — the
    decoy's files cannot be read.
    """
    state_directory = open_state_directory(config.state)
    with lock_state_directory(state_directory):
        keys = AgentKeys(state_directory, Role.RELAY)
        membership = keys.membership(now=utc_now())
        core = BeaconCore(config, keys, membership)
        async with trio.open_nursery() as nursery:
            tunnel: tuple[str, int] = await nursery.start(core.serve_tunnels, config.tunnel_port)
            ingress: list[tuple[str, int]] = [
                await nursery.start(core.serve_ingress, port) for port in config.all_ingress_ports
            ]
            ports = ", ".join(str(port) for _, port in ingress)
            log.info("beacon %s: clients on TCP %s, helm on TCP %d", membership.identity.id, ports, tunnel[1])
            task_status.started(BeaconAddresses(ingress=ingress[0], more_ingress=tuple(ingress[1:]), tunnel=tunnel))

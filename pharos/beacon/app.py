"""The beacon's task tree, whole: tunnel listener beside the ports of the client ingress."""

from __future__ import annotations

import datetime
import functools
import logging

import attrs
import trio

from pharos.beacon.config import BeaconConfig
from pharos.beacon.decoy.front import make_decoy
from pharos.beacon.ingress import serve_ingress
from pharos.beacon.limiter import PassageLimiter
from pharos.beacon.orders import follow_orders
from pharos.beacon.tunnel import serve_tunnel
from pharos.beacon.upstream import Upstreams
from pharos.wire.agent import AgentKeys
from pharos.wire.files import lock_state_directory, open_state_directory
from pharos.wire.keeping import Keeping
from pharos.wire.listen import file_limit
from pharos.wire.pki.roles import Role
from pharos.wire.rpc import limits
from pharos.wire.rpc.admission import Admission, Bounds
from pharos.wire.rpc.flow import Holdings

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
        membership = keys.membership(now=datetime.datetime.now(datetime.UTC))
        keeping = Keeping(state_directory, keys, membership)
        own_name = membership.identity.dns_name
        assert own_name is not None, "a relay's certificate names it"
        decoy = make_decoy(config, own_name=own_name, wall=keeping.standing.now)
        upstreams = Upstreams()
        # One for both sides: what devices do not read was held for helm a moment ago, and the other way round.
        holdings = Holdings(limits.RELAY_HOLDINGS)
        listen = functools.partial(
            serve_ingress,
            upstreams,
            standing=keeping.standing,
            host=config.host,
            # One each for all ports: a second port is another way in, and no second share.
            limiter=PassageLimiter(),
            admission=Admission(Bounds(), descriptors=file_limit()),
            holdings=holdings,
            decoy=decoy,
        )
        async with trio.open_nursery() as nursery:
            tunnel: tuple[str, int] = await nursery.start(
                functools.partial(
                    serve_tunnel,
                    upstreams,
                    standing=keeping.standing,
                    host=config.host,
                    port=config.tunnel_port,
                    holdings=holdings,
                    attend=functools.partial(follow_orders, keeping, announce=upstreams.announce),
                    decoy=decoy,
                )
            )
            ingress: list[tuple[str, int]] = [
                await nursery.start(functools.partial(listen, port=port)) for port in config.all_ingress_ports
            ]
            ports = ", ".join(str(port) for _, port in ingress)
            log.info("beacon %s: clients on TCP %s, helm on TCP %d", membership.identity.id, ports, tunnel[1])
            task_status.started(BeaconAddresses(ingress=ingress[0], more_ingress=tuple(ingress[1:]), tunnel=tunnel))

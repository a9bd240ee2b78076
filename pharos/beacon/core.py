"""What a beacon is whatever its tunnels run on: whom it believes, who waits at its door, and what it forwards to."""

from __future__ import annotations

import functools
from typing import Final, NoReturn

import trio

from pharos.beacon.config import BeaconConfig
from pharos.beacon.decoy.front import make_decoy
from pharos.beacon.fleet import make_fleet_service
from pharos.beacon.ingress import serve_ingress
from pharos.beacon.limiter import PassageLimiter
from pharos.beacon.orders import follow_orders
from pharos.beacon.tunnel import run_tunnel, serve_tunnel
from pharos.beacon.upstream import Upstreams
from pharos.wire.agent import AgentKeys, Membership
from pharos.wire.keeping import Keeping
from pharos.wire.listen import file_limit
from pharos.wire.rpc import limits
from pharos.wire.rpc.admission import Admission, Bounds
from pharos.wire.rpc.flow import Holdings
from pharos.wire.rpc.peer import Peer


class BeaconCore:
    """One beacon, whose listeners and tunnels somebody else runs.

    Raises: StateFileError — a state file is damaged. ConfigError — the decoy's files cannot be read.
    """

    def __init__(self, config: BeaconConfig, keys: AgentKeys, membership: Membership) -> None:
        self.keeping: Final = Keeping(config.state, keys, membership)
        self._config: Final = config
        own_name = membership.identity.dns_name
        assert own_name is not None, "a relay's certificate names it"
        self._decoy: Final = make_decoy(config, own_name=own_name, wall=self.keeping.standing.now)
        self.upstreams: Final = Upstreams()
        # One for both sides: what devices do not read was held for helm a moment ago, and the other way round.
        self._holdings: Final = Holdings(limits.RELAY_HOLDINGS)
        # One each for all ports: a second port is another way in, and no second share.
        self._limiter: Final = PassageLimiter()
        self._admission: Final = Admission(Bounds(), descriptors=file_limit())
        self._attend: Final = functools.partial(follow_orders, self.keeping, announce=self.upstreams.announce)

    async def serve_ingress(
        self, port: int, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Serve one client port; ``started`` is called with the bound address."""
        await serve_ingress(
            self.upstreams,
            standing=self.keeping.standing,
            host=self._config.host,
            port=port,
            limiter=self._limiter,
            admission=self._admission,
            holdings=self._holdings,
            decoy=self._decoy,
            fleet=make_fleet_service(lambda: self.keeping.manifest),
            task_status=task_status,
        )

    async def serve_tunnels(
        self, port: int, *, task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Serve the port that helm dials; ``started`` is called with the bound address."""
        await serve_tunnel(
            self.upstreams,
            standing=self.keeping.standing,
            host=self._config.host,
            port=port,
            holdings=self._holdings,
            attend=self._attend,
            decoy=self._decoy,
            task_status=task_status,
        )

    async def run_tunnel(self, stream: trio.abc.Stream) -> None:
        """Offer one connection with a helm of the same process to passages, until it ends."""
        await run_tunnel(self.upstreams, stream, peer=Peer(), holdings=self._holdings, attend=self._attend)

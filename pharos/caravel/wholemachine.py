"""This machine in a tunnel: its routes, names and kill switch, the connection, and who may look at it and end it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from pharos.caravel.client import open_client
from pharos.caravel.config import ANY, ConnectConfig
from pharos.caravel.errors import AlreadyRunningError
from pharos.caravel.managed import Floor, Managed
from pharos.caravel.profiles.nodes import resolvers_of
from pharos.caravel.profiles.unlocking import Unlocking
from pharos.caravel.running import SOCKET_NAME, Json, open_control, running_status, running_tunnel
from pharos.caravel.system import open_system
from pharos.caravel.system.plan import SystemPlan
from pharos.caravel.system.split import SplitPlan
from pharos.caravel.tunnel.captive import PortalCheck
from pharos.caravel.tunnel.options import ConnectOptions
from pharos.caravel.tunnel.session import Tunnel
from pharos.wire.profile import Profile

if TYPE_CHECKING:
    from pharos.caravel.system.linux import System
    from pharos.caravel.system.restore import Places

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class MachinePlan:
    """What this machine's connection shall be, once its user and its organisation have been heard."""

    state: Path
    config: ConnectConfig
    managed: Managed | None = None
    unlocking: Unlocking | None = None
    places: Places | None = None
    """Of the journal; None: the machine's own."""

    @property
    def split(self) -> SplitPlan:
        """Raises: ConfigError."""
        if self.managed is not None and self.managed.split is not None:
            return SplitPlan.from_managed(self.managed.split)
        return SplitPlan.from_table(self.config.split)

    @property
    def floor(self) -> Floor:
        if self.managed is not None and self.managed.floor is not None:
            return self.managed.floor
        return Floor(self.config.floor) if self.config.floor != ANY else Floor.ANY

    def system_plan(self, profile: Profile) -> SystemPlan:
        """Return what is done to the machine. Raises: ConfigError."""
        config, managed = self.config, self.managed
        kill_switch, lan = config.kill_switch, config.lan
        if managed is not None:
            kill_switch = kill_switch if managed.kill_switch is None else managed.kill_switch
            lan = lan if managed.allow_lan is None else managed.allow_lan
        plan = SystemPlan(
            addresses=profile.addresses,
            resolvers=config.resolvers or resolvers_of(profile),
            mtu=config.mtu or None,
            padding=max((way.parameters.s4 for node in profile.nodes for way in node.amneziawg), default=0),
            kill_switch=kill_switch,
            hold=config.hold,
            lan=lan,
            serve=config.serve,
        )
        return self.split.fit(plan)


@attrs.frozen(kw_only=True)
class Machine:
    """A machine in a tunnel."""

    tunnel: Tunnel
    release: Callable[[], None]
    """Say that the end is meant: then the kill switch goes with the block, unless it shall stay."""


@asynccontextmanager
async def open_machine(plan: MachinePlan) -> AsyncIterator[Machine]:
    """Have this machine in the tunnel while the block lasts, and until somebody asks for its end.

    Nothing is waited for: the kill switch holds from the beginning, and the connection comes up when it can.

    Raises: as `open_client`, `open_system`, `Client.connect`; AlreadyRunningError.
    """
    # Of Linux; what is wrong with a plan is said anywhere.
    from pharos.caravel.system.dns import open_dns
    from pharos.caravel.system.endpoints import Endpoints
    from pharos.caravel.system.splitting import open_split

    if await running_status(plan.state) is not None:
        raise AlreadyRunningError("a connection of this device is up already; see: caravel status, caravel down")
    begun = trio.Event()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            open_client(plan.state, unlocking=plan.unlocking, managed=plan.managed)
        )
        system = await stack.enter_async_context(open_system(plan.system_plan(client.profile()), places=plan.places))
        stack.callback(_let_go, system, begun)
        split = await stack.enter_async_context(open_split(plan.split, system))
        dns = await stack.enter_async_context(open_dns(split, system))
        tunnel = await stack.enter_async_context(
            client.connect(
                plan.config.node or None,
                inner=system.inner,
                protect=system.protect,
                options=ConnectOptions(
                    floor=plan.floor,
                    portal_checks=tuple(PortalCheck(url=url) for url in plan.config.portal_checks) or None,
                    allow_portal=system.allow_portal if plan.config.portal else None,
                    resolve=Endpoints(dns.outside, system.protect),
                    follow=True,
                ),
            )
        )
        async with trio.open_nursery() as nursery:

            def release() -> None:
                if not plan.config.hold:
                    system.release()

            async def down(_question: Json) -> Json:
                if plan.managed is not None:
                    plan.managed.check_down()
                release()
                nursery.cancel_scope.cancel()
                return {}

            facts = {"system": True, "kill_switch": system.held, "device": system.device}
            running = running_tunnel(tunnel, facts, {"down": down})
            async with open_control(plan.state / SOCKET_NAME, running):
                begun.set()
                yield Machine(tunnel=tunnel, release=release)


def _let_go(system: System, begun: trio.Event) -> None:
    """A first try that failed, say for a node that is not there, must not leave the machine cut off."""
    if not begun.is_set() and not system.held_before:
        system.release()

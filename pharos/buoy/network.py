"""The node's network policy: what helm ordered, told to whoever is root here."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from typing import Final, NoReturn

import attrs
import trio

from pharos.buoy.dataplane.base import NO_REASONS, AwgPlan, EngineError, PeerCounters, RealityDriver, RealityPlan
from pharos.buoy.roothelper.acts import Applied, ApplyNetwork
from pharos.buoy.roothelper.client import RootHelper
from pharos.wire.desired import Policy
from pharos.wire.ids import DeviceId
from pharos.wire.netpolicy import NetworkPlan, Target
from pharos.wire.reality.params import split_target

log = logging.getLogger(__name__)

NAME: Final = "nftables"


@attrs.define
class Network:
    """Keeps one nftables table of ours as the policy says; what is so already is not said."""

    _helper: RootHelper
    _interfaces: tuple[str, ...]
    _allowed: tuple[str, ...] = ()
    _egress: tuple[str, ...] = ()
    _transit: bool = True
    _confined: tuple[int, ...] = ()
    """Users of a server of REALITY; see `NetworkPlan.confined`."""
    _allowed_users: tuple[str, ...] = ()
    _targets: tuple[Target, ...] = attrs.field(default=(), init=False)
    _ordered: tuple[AwgPlan, Policy] | None = attrs.field(default=None, init=False)
    _told: NetworkPlan | None = attrs.field(default=None, init=False)
    findings: tuple[str, ...] = attrs.field(default=(), init=False)
    """Sentences for an operator on what will not work nevertheless."""

    async def apply(self, plan: AwgPlan, policy: Policy) -> None:
        """Put the policy in force for the devices of a plan.

        Raises: EngineError — it could not be; devices may reach more, or less, than they shall.
        """
        self._ordered = (plan, policy)
        try:
            wanted = NetworkPlan(
                interfaces=self._interfaces,
                networks=plan.networks,
                addresses=plan.addresses,
                policy=policy,
                allowed=self._allowed,
                egress=self._egress,
                transit=self._transit,
                confined=self._confined,
                allowed_users=self._allowed_users,
                targets=self._targets,
            )
        except ValueError as error:
            raise EngineError(f"the network policy cannot be put in force: {error}") from error
        if wanted == self._told:
            return
        self._told = None
        answer = await self._helper.perform(ApplyNetwork(wanted))
        self.findings = answer.findings if isinstance(answer, Applied) else ()
        for finding in self.findings:
            log.warning("network policy: %s", finding)
        self._told = wanted

    async def permit(self, targets: tuple[Target, ...]) -> None:
        """Let confined users dial these, beside what they may anyway, and none that were permitted before.

        Raises: EngineError.
        """
        if targets == self._targets:
            return
        self._targets = targets
        if self._ordered is not None:
            await self.apply(*self._ordered)


def targets_of(plan: RealityPlan) -> tuple[Target, ...]:
    """Return what a server of this plan dials by itself."""
    found: dict[Target, None] = {}
    for endpoint in plan.endpoints:
        host, port = split_target(endpoint.parameters.target)
        try:
            address = str(ipaddress.ip_address(host))
        except ValueError:
            address = ""
        found[Target(address=address, port=port)] = None
    return tuple(found)


@attrs.define
class ConfinedReality:
    """A `RealityDriver` whose server the firewall confines: the firewall hears of its targets before it does."""

    _driver: RealityDriver
    _network: Network

    @property
    def name(self) -> str:
        return self._driver.name

    @property
    def port(self) -> int:
        return self._driver.port

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        await self._driver.run(task_status=task_status)

    async def apply(self, plan: RealityPlan, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Raises: EngineError — the server, or the firewall, could not be told; the other one was."""
        try:
            await self._network.permit(targets_of(plan))
        finally:
            await self._driver.apply(plan, reasons=reasons)

    async def read_counters(self) -> list[PeerCounters]:
        return await self._driver.read_counters()

    async def restart(self) -> None:
        await self._driver.restart()

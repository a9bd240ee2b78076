"""The node's network policy: what helm ordered, told to whoever is root here."""

from __future__ import annotations

import ipaddress
import logging
from typing import Final

import attrs

from pharos.buoy.dataplane.base import AwgPlan, EngineError, RealityPlan
from pharos.buoy.netkernel import completed
from pharos.buoy.roothelper.acts import Applied, ApplyNetwork
from pharos.buoy.roothelper.client import RootHelper
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
    _told: NetworkPlan | None = attrs.field(default=None, init=False)
    findings: tuple[str, ...] = attrs.field(default=(), init=False)
    """Sentences for an operator on what will not work nevertheless."""

    def read_plan(self) -> NetworkPlan | None:
        """Return the plan in force, with what this machine's files say of resolvers; None: none is."""
        return None if self._told is None else completed(self._told)

    async def apply(self, awg: AwgPlan, reality: RealityPlan) -> None:
        """Put the policy in force for the devices of these plans, before the engines are told them.

        Raises: EngineError — it could not be; devices may reach more, or less, than they shall.
        """
        try:
            wanted = NetworkPlan(
                interfaces=self._interfaces,
                networks=awg.networks,
                addresses=awg.addresses,
                policy=reality.policy,
                allowed=self._allowed,
                egress=self._egress,
                transit=self._transit,
                confined=self._confined,
                allowed_users=self._allowed_users,
                targets=targets_of(reality) if self._confined else (),
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

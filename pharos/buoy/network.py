"""The node's network policy: what helm ordered, told to whoever is root here."""

from __future__ import annotations

import logging
from typing import Final

import attrs

from pharos.buoy.dataplane.base import AwgPlan, EngineError
from pharos.buoy.roothelper.acts import Applied, ApplyNetwork
from pharos.buoy.roothelper.client import RootHelper
from pharos.wire.desired import Policy
from pharos.wire.netpolicy import NetworkPlan

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
    _told: NetworkPlan | None = attrs.field(default=None, init=False)
    findings: tuple[str, ...] = attrs.field(default=(), init=False)
    """Sentences for an operator on what will not work nevertheless."""

    async def apply(self, plan: AwgPlan, policy: Policy) -> None:
        """Put the policy in force for the devices of a plan.

        Raises: EngineError — it could not be; devices may reach more, or less, than they shall.
        """
        try:
            wanted = NetworkPlan(
                interfaces=self._interfaces,
                networks=plan.networks,
                addresses=plan.addresses,
                policy=policy,
                allowed=self._allowed,
                egress=self._egress,
                transit=self._transit,
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

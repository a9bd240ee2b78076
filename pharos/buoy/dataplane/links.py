"""What a tunnel's interface is given beside its engine: addresses, an MTU, and routes. Pure, but for who does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_interface, ip_network
from typing import Final, TypeAlias

import attrs

from pharos.buoy.dataplane.base import AwgPeer, AwgPlan, EngineError
from pharos.buoy.dataplane.plans import collapsed
from pharos.buoy.roothelper.acts import MAX_NETWORKS, Interface, LinkKind
from pharos.buoy.roothelper.acts import SetLink as SetLinkAct
from pharos.buoy.roothelper.client import RootHelper
from pharos.wire.awg.device import DEFAULT_MTU

LEAST_MTU: Final = 1280
"""Linux takes IPv6 away from an interface with less (RFC 8200 §5)."""


@attrs.frozen(kw_only=True)
class Link:
    """An interface that is up with exactly these addresses and routes."""

    interface: str
    addresses: tuple[str, ...] = ()
    """The node's own inside the tunnel."""
    networks: tuple[str, ...] = ()
    """What is routed into it, CIDR."""
    mtu: int = DEFAULT_MTU


SetLink: TypeAlias = Callable[[Link], Awaitable[None]]
"""Makes an interface be so, whatever it was. Raises: EngineError."""


def main_link(plan: AwgPlan, interface: str) -> Link:
    """Return the link by which all devices are reached that are nowhere else."""
    return Link(interface=interface, addresses=plan.addresses, networks=plan.networks, mtu=mtu_of(plan))


def spare_link(plan: AwgPlan, interface: str, peers: Iterable[AwgPeer]) -> Link:
    """Return the link by which these devices are reached: their own routes are narrower than those of the main one."""
    networks = collapsed(ip_network(network) for peer in peers for network in peer.addresses)
    return Link(interface=interface, networks=tuple(map(str, networks[:MAX_NETWORKS])), mtu=mtu_of(plan))


def mtu_of(plan: AwgPlan) -> int:
    """Return the largest inner packet that fits a path of 1500 bytes on every endpoint: S4 goes before each."""
    return max(LEAST_MTU, DEFAULT_MTU - max((endpoint.parameters.s4 for endpoint in plan.endpoints), default=0))


def link_by_helper(helper: RootHelper, *, create: LinkKind | None = None) -> SetLink:
    """Return what has the root helper set links; ``create`` has the kernel make an interface that is not there."""

    async def set_link(link: Link) -> None:
        try:
            act = SetLinkAct(
                interface=Interface(link.interface),
                addresses=tuple(map(ip_interface, link.addresses)),
                networks=tuple(map(ip_network, link.networks)),
                mtu=link.mtu,
                create=create,
            )
        except ValueError as error:
            raise EngineError(f"{link.interface} cannot be given what was ordered: {error}") from error
        await helper.perform(act)

    return set_link

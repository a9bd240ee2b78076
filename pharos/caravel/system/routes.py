"""Which routes and rules lead packets into the tunnel, given a plan. Pure.

A table of our own holds what goes in, and an end for what has no way there, so that nothing falls through to the
machine's own routes. Rules choose who looks there. What is marked `Marks.outside` does not, which is how the tunnel's
own datagrams come out; so a node may move, and no route changes.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Sequence
from typing import Any, Final

import attrs

from pharos.caravel.system.plan import LAN, VERSIONS, IpNetwork, SystemPlan, of_version

MAIN: Final = 254
LAST_METRIC: Final = 0xFFFF_FFFF
"""Loses to every other route to the same network."""
FIRST_METRIC: Final = 1
DHCP: Final = (17, 68, 67)
"""UDP from a client's port to a server's (RFC 2131 §4.1). A lease is renewed by plain sockets."""


class RouteKind(enum.Enum):
    """rtnetlink(7), ``rtm_type``."""

    UNICAST = 1
    UNREACHABLE = 7
    """Who sends there is told so at once."""
    THROW = 9
    """The table says nothing: the next rule is asked."""


@attrs.frozen(kw_only=True)
class Route:
    """One route of our table."""

    network: IpNetwork
    kind: RouteKind
    metric: int
    device: int | None = None
    """Number of the interface, of a unicast route."""
    table: int

    def as_json(self) -> dict[str, Any]:
        """Return it as the journal notes it."""
        return {**attrs.asdict(self), "network": str(self.network), "kind": self.kind.value}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Route:
        """Raises: TypeError, ValueError, KeyError — it is not what `as_json` returned."""
        network = ipaddress.ip_network(document["network"])
        return cls(**{**document, "network": network, "kind": RouteKind(document["kind"])})


@attrs.frozen(kw_only=True)
class Rule:
    """One rule of the routing policy (ip-rule(8))."""

    version: int
    priority: int
    table: int
    to: IpNetwork | None = None
    mark: int | None = None
    mask: int | None = None
    inverted: bool = False
    """Whether it is for packets that do not match."""
    suppress: bool = False
    """Whether a default route that the table has does not count."""
    flow: tuple[int, int, int] | None = None
    """IP protocol, source port and destination port."""

    def as_json(self) -> dict[str, Any]:
        """Return it as the journal notes it."""
        return {**attrs.asdict(self), "to": None if self.to is None else str(self.to)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Rule:
        """Raises: TypeError, ValueError, KeyError — it is not what `as_json` returned."""
        to, flow = document["to"], document["flow"]
        return cls(
            **{
                **document,
                "to": None if to is None else ipaddress.ip_network(to),
                "flow": None if flow is None else (int(flow[0]), int(flow[1]), int(flow[2])),
            }
        )


def plan_routes(plan: SystemPlan, device: int, *, versions: Sequence[int] = VERSIONS) -> list[Route]:
    """Return what our table holds; ``device`` is the TUN's number, ``versions`` what this machine speaks."""
    made: list[Route] = []
    for version in versions:
        inward = of_version(version, [*plan.routes, *plan.inner] if plan.everything else [*_all(version), *plan.inner])
        for network in inward:
            if version in plan.carried:
                made.append(_route(plan, network, RouteKind.UNICAST, FIRST_METRIC, device))
            made.append(_route(plan, network, RouteKind.UNREACHABLE, LAST_METRIC))
        made += [
            _route(plan, network, RouteKind.THROW, FIRST_METRIC)
            for network in of_version(version, plan.outside)
            if network not in inward
        ]
    return made


def plan_rules(plan: SystemPlan, *, versions: Sequence[int] = VERSIONS) -> list[Rule]:
    """Return who looks into our table, the first rule first."""
    made: list[Rule] = []
    marks = plan.marks
    for version in versions:
        first, second, third, last = range(plan.priority, plan.priority + 4)
        inner = of_version(version, plan.inner)
        made += [Rule(version=version, priority=first, table=plan.table, to=network) for network in inner]
        if plan.whole and version == 4:
            made.append(Rule(version=version, priority=second, table=MAIN, flow=DHCP))
        if plan.whole and plan.lan:
            made += [
                # Programs that speak to a group name the interface, to which the machine's default route leads.
                Rule(version=version, priority=third, table=MAIN, to=network, suppress=not network.is_multicast)
                for network in of_version(version, LAN)
            ]
        chosen = marks.outside if plan.everything else marks.inside
        made.append(
            Rule(
                version=version,
                priority=last,
                table=plan.table,
                mark=chosen,
                mask=marks.mask,
                inverted=plan.everything,
            )
        )
    return made


def _all(version: int) -> list[IpNetwork]:
    return [ipaddress.ip_network("0.0.0.0/0" if version == 4 else "::/0")]


def _route(plan: SystemPlan, network: IpNetwork, kind: RouteKind, metric: int, device: int | None = None) -> Route:
    return Route(network=network, kind=kind, metric=metric, device=device, table=plan.table)

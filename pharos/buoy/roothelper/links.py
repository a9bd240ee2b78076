"""Which lines make a tunnel's interface be as it should, given what `ip -json` says that it is (ip(8))."""

from __future__ import annotations

import json
from collections.abc import Collection
from ipaddress import ip_interface, ip_network
from typing import Any, Final

import attrs

from pharos.buoy.roothelper.acts import Interface, SetLink
from pharos.buoy.roothelper.checks import IPInterface, IPNetwork

# A route that this machine has to the same network already, with the kernel's own metric or a lower one, goes first.
METRIC: Final = 1024
_EVERYWHERE: Final = {4: "0.0.0.0/0", 6: "::/0"}


@attrs.frozen(kw_only=True)
class LinkSeen:
    """An interface as it is."""

    kind: str
    """As ip-link(8) spells it; ``tun`` where a program made it."""
    addresses: frozenset[IPInterface]
    """Without those that IPv6 gives to every link by itself."""


@attrs.frozen(kw_only=True)
class RouteSeen:
    """A route of the main table that leads into an interface."""

    network: IPNetwork
    metric: int
    ours: bool
    """Not the kernel's, who made it along with an address."""


def parse_link(text: str, interface: Interface) -> LinkSeen | None:
    """Read `ip -json -details address show`; None: there is no such interface.

    Raises: ValueError, KeyError, TypeError — it does not read as that.
    """
    for link in _documents(text):
        if link.get("ifname") == interface.value:
            return LinkSeen(
                kind=str(link.get("linkinfo", {}).get("info_kind", "")),
                addresses=frozenset(
                    ip_interface(f"{one['local']}/{one['prefixlen']}")
                    for one in link.get("addr_info", [])
                    if one.get("scope") != "link" and "local" in one
                ),
            )
    return None


def parse_routes(text: str, version: int) -> list[RouteSeen]:
    """Read `ip -json route show dev …` of one family.

    Raises: ValueError, KeyError, TypeError — it does not read as that.
    """
    return [
        RouteSeen(
            network=ip_network(_EVERYWHERE[version] if route["dst"] == "default" else route["dst"]),
            metric=int(route.get("metric", 0)),
            ours=route.get("protocol") != "kernel",
        )
        for route in _documents(text)
    ]


def link_lines(act: SetLink, seen: LinkSeen, routes: Collection[RouteSeen], *, ipv6: bool) -> list[str]:
    """Return the batch for ip(8) that makes the interface be what ``act`` says; ``ipv6``: whether it may have such."""
    name = act.interface.value
    addresses = {one for one in act.addresses if one.version == 4 or ipv6}
    networks = {one for one in act.networks if one.version == 4 or ipv6}
    # A network of an address of its own is the kernel's to route.
    theirs = {one.network for one in addresses}
    lines = [f"link set dev {name} mtu {act.mtu} up"]
    lines += [f"address add {one} dev {name}{_at_once(one)}" for one in _sorted(addresses - seen.addresses)]
    lines += [f"address delete {one} dev {name}" for one in _sorted(seen.addresses - addresses)]
    wanted = networks - theirs
    present = {route.network for route in routes if route.ours and route.metric == METRIC}
    lines += [f"route add {one} dev {name} proto static metric {METRIC}" for one in _sorted(wanted - present)]
    lines += [
        f"route delete {route.network} dev {name} metric {route.metric}"
        for route in routes
        if route.ours and (route.network not in wanted or route.metric != METRIC)
    ]
    return lines


def _at_once(address: IPInterface) -> str:
    # Nobody else is on this link whose address it might be.
    return " nodad" if address.version == 6 else ""


def _sorted(values: Collection[Any]) -> list[Any]:
    return sorted(values, key=lambda one: (one.version, one))


def _documents(text: str) -> list[dict[str, Any]]:
    # ip(8) writes nothing where there is nothing to say.
    found: list[dict[str, Any]] = json.loads(text or "[]")
    return found

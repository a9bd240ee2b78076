"""The kill switch's table of nftables, as nft's own JSON (libnftables-json(5)): one document, one transaction. Pure.

No text is put together: each value is an object of its own, and is an address, a network, a number, or the name of an
interface that `SystemPlan` has checked. The table is whole in each document, so that to change it is to put another in
its place, and at no instant is there none. What belongs to others, such as split tunnels by user, is in tables of its
own, and speaks to this one by marks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from pharos.caravel.system.plan import LAN, VERSIONS, IpAddress, IpNetwork, SystemPlan, of_version
from pharos.wire.nftwords import ACCEPT, DNS, DROP, PROTOCOL, Rule, Statement, any_of, match, meta, payload, ports

FAMILY: Final = "inet"
TABLE: Final = "pharos-caravel"
ENCRYPTED_DNS: Final = 853
WEB: Final = (80, 443)
PEOPLE: Final = (1000, 60_000)
"""Users who are people (login.defs(5), UID_MIN and UID_MAX), and no daemons."""
NEIGHBOURS: Final = ("nd-router-solicit", "nd-router-advert", "nd-neighbor-solicit", "nd-neighbor-advert")
"""RFC 4861; without them there is no link. Its redirects are no part: nobody on the link shall say where things go."""
LISTENERS: Final = ("mld-listener-query", "mld-listener-report", "mld-listener-done", "mld2-listener-report")
"""RFC 3810; without them a switch that snoops forwards no neighbour's questions."""
REFUSE: Final[Statement] = {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}
"""Programs are told at once, and try nothing else for a minute."""
TCP_RESET: Final[Statement] = {"reject": {"type": "tcp reset"}}
_ADDRESS_TYPE: Final = {4: "ipv4_addr", 6: "ipv6_addr"}

# (type, hook, priority): raw, mangle, filter and srcnat of nft(8), "Priority".
_CHAINS: Final[dict[str, tuple[str, str, int]]] = {
    "shielding": ("filter", "prerouting", -300),
    "restoring": ("filter", "prerouting", -150),
    "rerouting": ("route", "output", -150),
    "asking": ("nat", "output", -100),
    "sending": ("filter", "output", 0),
    "receiving": ("filter", "input", 0),
    "forwarding": ("filter", "forward", 0),
    "saving": ("filter", "postrouting", -150),
    "leaving": ("nat", "postrouting", 100),
}
_HOLDING: Final = frozenset({"sending", "receiving", "forwarding"})


@attrs.frozen(kw_only=True)
class Portal:
    """What is let out for somebody to log in to a network: what people's programs fetch, and questions for names."""

    resolvers: tuple[IpAddress, ...] = ()
    """The network's own, whom all questions go to meanwhile: nobody else knows the names of its pages."""


def nft_document(plan: SystemPlan, portal: Portal | None = None) -> dict[str, Any]:
    """Return what ``nft -j -f -`` takes to put this plan in the place of whatever the table was, at one go."""
    commands: list[Any] = [{"metainfo": {"json_schema_version": 1}}, *removal_document()["nftables"]]
    commands.append(_add("table", {"family": FAMILY, "name": TABLE}))
    commands += [_add("set", _set(name, version, networks)) for name, version, networks in _sets(plan)]
    commands += [_add("chain", _chain(name, plan)) for name in _CHAINS]
    for name, rules in _rules(plan, portal).items():
        commands += [_add("rule", {"family": FAMILY, "table": TABLE, "chain": name, "expr": rule}) for rule in rules]
    return {"nftables": commands}


def removal_document() -> dict[str, Any]:
    """Return what takes the table away, whether or not it is there."""
    table = {"family": FAMILY, "name": TABLE}
    # To delete what is not there fails all; to add what is there does nothing.
    return {"nftables": [_add("table", table), {"delete": {"table": table}}]}


def _add(kind: str, what: dict[str, Any]) -> dict[str, Any]:
    return {"add": {kind: what}}


def _sets(plan: SystemPlan) -> Iterable[tuple[str, int, Sequence[IpNetwork]]]:
    kinds: dict[str, Iterable[IpNetwork]] = {
        "own": [ipaddress.ip_network(address.ip) for address in plan.addresses],
        "inner": plan.inner,
        "lan": LAN if plan.lan else (),
        "outside": plan.outside,
        "routes": plan.routes,
    }
    return [(kind, version, of_version(version, list(each))) for kind, each in kinds.items() for version in VERSIONS]


def _set(name: str, version: int, networks: Sequence[IpNetwork]) -> dict[str, Any]:
    made: dict[str, Any] = {"family": FAMILY, "table": TABLE, "name": f"{name}{version}"}
    elements = [{"prefix": {"addr": str(one.network_address), "len": one.prefixlen}} for one in networks]
    return made | {"type": _ADDRESS_TYPE[version], "flags": ["interval"]} | ({"elem": elements} if elements else {})


def _chain(name: str, plan: SystemPlan) -> dict[str, Any]:
    kind, hook, priority = _CHAINS[name]
    policy = "drop" if name in _HOLDING and plan.kill_switch and plan.whole else "accept"
    return {
        "family": FAMILY,
        "table": TABLE,
        "name": name,
        "type": kind,
        "hook": hook,
        "prio": priority,
        "policy": policy,
    }


def _rules(plan: SystemPlan, portal: Portal | None) -> dict[str, list[Rule]]:
    holds = plan.kill_switch
    return {
        "shielding": _shielding(plan),
        "restoring": _restoring(plan),
        "rerouting": _rerouting(plan, portal),
        "asking": _asking(portal),
        "sending": [*_always(plan, "oifname"), *(_sending(plan) if holds else _dns(plan))],
        "receiving": _receiving(plan) if holds and plan.whole else [],
        "forwarding": [*_clamping(plan), *(_forwarding(plan) if holds else _dns(plan))],
        "saving": [*_saving(plan), *(_straying(plan) if holds and not plan.everything else [])],
        "leaving": _leaving(plan),
    }


def _shielding(plan: SystemPlan) -> list[Rule]:
    """Nobody beside the tunnel finds out what its addresses are, or speaks to them (CVE-2019-14899)."""
    beside = match(meta("iifname"), any_of([plan.device, "lo"]), "!=")
    return [[beside, _to("own", version), DROP] for version in VERSIONS]


def _restoring(plan: SystemPlan) -> list[Rule]:
    """What answers something marked is marked: it is judged by the way that it would be answered (rp_filter)."""
    bits = _set_bits(plan, meta("mark"))
    rules: list[Rule] = [[_is(plan, {"ct": {"key": "mark"}}, plan.marks.outside), bits]]
    if plan.serve:
        rules.append([_beside(plan, "iifname"), match(payload("tcp", "dport"), any_of(plan.serve)), bits])
    return rules


def _rerouting(plan: SystemPlan, portal: Portal | None) -> list[Rule]:
    bits = _set_bits(plan, meta("mark"))
    rules: list[Rule] = []
    if plan.serve:
        # Answers alone: whoever takes such a port to dial from gets no further than others.
        flags = match({"&": [payload("tcp", "flags"), ["syn", "ack"]]}, "syn", "!=")
        rules.append([match(payload("tcp", "sport"), any_of(plan.serve)), flags, bits])
    if portal is not None:
        people = match(meta("skuid"), {"range": list(PEOPLE)})
        rules.append([_not_loopback(), match(payload("tcp", "dport"), any_of(WEB)), people, bits])
        rules.append([_not_loopback(), *ports(DNS), bits])
    return rules


def _asking(portal: Portal | None) -> list[Rule]:
    rules: list[Rule] = []
    for version in VERSIONS if portal is not None else ():
        mine = [str(one) for one in (portal.resolvers if portal is not None else ()) if one.version == version]
        if mine:
            kind = match(meta("nfproto"), f"ipv{version}")
            there = {"dnat": {"family": PROTOCOL[version], "addr": mine[0]}}
            rules.append([_not_loopback(), kind, *ports(DNS), there])
    return rules


def _always(plan: SystemPlan, side: str) -> list[Rule]:
    """Return what is let through at either end of a rule's way, before anything else is asked."""
    return [[match(meta(side), any_of(["lo", plan.device])), ACCEPT]]


def _dns(plan: SystemPlan) -> list[Rule]:
    """Refuse questions for names that go neither by the tunnel nor, being marked, past it."""
    if not plan.guard_dns:
        return []
    unmarked = _is(plan, meta("mark"), 0)
    elsewhere = _beside(plan, "oifname")
    tcp = [elsewhere, unmarked, match(payload("tcp", "dport"), any_of([DNS, ENCRYPTED_DNS])), TCP_RESET]
    return [tcp, [elsewhere, unmarked, match(payload("udp", "dport"), any_of([DNS, ENCRYPTED_DNS])), REFUSE]]


def _sending(plan: SystemPlan) -> list[Rule]:
    if not plan.whole:
        return [*_dns(plan), *_partly(plan)]
    return [
        [_is(plan, meta("mark"), plan.marks.outside), ACCEPT],
        *_link("output"),
        # Before what the LAN may have: it may have claimed these.
        *([_to("inner", version), REFUSE] for version in VERSIONS),
        *_dns(plan),
        *([_to(kind, version), ACCEPT] for kind in ("lan", "outside") for version in VERSIONS),
        [match(meta("l4proto"), "tcp"), TCP_RESET],
        [REFUSE],
    ]


def _receiving(plan: SystemPlan) -> list[Rule]:
    return [
        *_always(plan, "iifname"),
        [_is(plan, {"ct": {"key": "mark"}}, plan.marks.outside), ACCEPT],
        *_link("input"),
        *([[match(payload("tcp", "dport"), any_of(plan.serve)), ACCEPT]] if plan.serve else []),
        *([_from("lan", version), ACCEPT] for version in VERSIONS),
        *([_from("outside", version), _answering(), ACCEPT] for version in VERSIONS),
    ]


def _forwarding(plan: SystemPlan) -> list[Rule]:
    """What containers and guests of this machine send is held as its own is."""
    if not plan.whole:
        return [*_dns(plan), *_partly(plan)]
    outward = match(meta("oifname"), plan.device)
    return [
        [outward, ACCEPT],
        [match(meta("iifname"), plan.device), _answering(), ACCEPT],
        [_is(plan, meta("mark"), plan.marks.outside), ACCEPT],
        *([_to("inner", version), REFUSE] for version in VERSIONS),
        *_dns(plan),
        *([_to(kind, version), ACCEPT] for kind in ("lan", "outside") for version in VERSIONS),
        *([_from(kind, version), _answering(), ACCEPT] for kind in ("lan", "outside") for version in VERSIONS),
        [match(meta("l4proto"), "tcp"), TCP_RESET],
        [REFUSE],
    ]


def _saving(plan: SystemPlan) -> list[Rule]:
    return [[_is(plan, meta("mark"), plan.marks.outside), _set_bits(plan, {"ct": {"key": "mark"}})]]


def _straying(plan: SystemPlan) -> list[Rule]:
    """Drop what is marked to go in and goes elsewhere. The chain before still sees the way from before the mark."""
    return [[_beside(plan, "oifname"), _is(plan, meta("mark"), plan.marks.inside), DROP]]


def _partly(plan: SystemPlan) -> list[Rule]:
    """Refuse what shall go in and is about to go elsewhere; the rest is none of our business."""
    elsewhere, marks = _beside(plan, "oifname"), plan.marks
    if not plan.everything:
        # What is marked to go in is judged when its way is known (`_straying`).
        return [[elsewhere, _to("inner", version), REFUSE] for version in VERSIONS]
    return [
        [_is(plan, meta("mark"), marks.outside), ACCEPT],
        *_link("output"),
        *([elsewhere, _to("inner", version), REFUSE] for version in VERSIONS),
        *([elsewhere, _to("outside", version), ACCEPT] for version in VERSIONS),
        *([elsewhere, _to("routes", version), REFUSE] for version in VERSIONS),
    ]


def _clamping(plan: SystemPlan) -> list[Rule]:
    # Guests do not know what the tunnel takes, and errors that say so get lost (RFC 2923 §2.1).
    size = {"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": {"rt": {"key": "mtu"}}}}
    opening = match({"&": [payload("tcp", "flags"), ["syn", "rst"]]}, "syn")
    return [[match(meta(side), plan.device), opening, size] for side in ("iifname", "oifname")]


def _leaving(plan: SystemPlan) -> list[Rule]:
    """Give what was routed anew after its source was chosen the address of its new way, so that it is answered."""
    inward = match(meta("oifname"), plan.device)
    masquerade: Statement = {"masquerade": None}
    return [
        *([_beside(plan, "oifname"), _from("own", version), masquerade] for version in VERSIONS),
        *([inward, _from("own", version, op="!="), masquerade] for version in sorted(plan.carried)),
    ]


def _link(hook: str) -> list[Rule]:
    """Return what a link needs to live: its addresses, and its neighbours."""
    near = {"prefix": {"addr": "fe80::", "len": 10}}
    limit = match(payload("ip6", "hoplimit"), 255)
    if hook == "output":
        client, server = payload("udp", "sport"), payload("udp", "dport")
        # To relays and servers of the link alone (RFC 8415 §7.1).
        far = match(payload("ip6", "daddr"), any_of([near, "ff02::1:2"]))
    else:
        client, server = payload("udp", "dport"), payload("udp", "sport")
        far = match(payload("ip6", "saddr"), near)
    return [
        [match(meta("nfproto"), "ipv4"), match(client, 68), match(server, 67), ACCEPT],
        [far, match(client, 546), match(server, 547), ACCEPT],
        # A router that is not on the link cannot have sent them (RFC 4861 §11.2).
        [match(payload("icmpv6", "type"), any_of(NEIGHBOURS)), limit, ACCEPT],
        [match(payload("icmpv6", "type"), any_of(LISTENERS)), match(payload("ip6", "hoplimit"), 1), ACCEPT],
    ]


def _is(plan: SystemPlan, left: dict[str, Any], value: int, *, op: str = "==") -> Statement:
    return match({"&": [left, plan.marks.mask]}, value, op)


def _set_bits(plan: SystemPlan, key: dict[str, Any]) -> Statement:
    value = {"|": [{"&": [key, plan.marks.others]}, plan.marks.outside]}
    return {"mangle": {"key": key, "value": value}}


def _beside(plan: SystemPlan, side: str) -> Statement:
    return match(meta(side), any_of([plan.device, "lo"]), "!=")


def _not_loopback() -> Statement:
    return match(meta("oifname"), "lo", "!=")


def _answering() -> Statement:
    return match({"ct": {"key": "state"}}, ["established", "related"], "in")


def _to(kind: str, version: int) -> Statement:
    return match(payload(PROTOCOL[version], "daddr"), f"@{kind}{version}")


def _from(kind: str, version: int, *, op: str = "==") -> Statement:
    return match(payload(PROTOCOL[version], "saddr"), f"@{kind}{version}", op)

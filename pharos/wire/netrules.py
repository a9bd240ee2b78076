"""The firewall's table of a plan, as nft's own JSON (libnftables-json(5)): one document, one transaction.

Nothing here puts text together. Each value is an object of its own in the document, so that none can end a rule and
begin another; and each is an address, a network, a number or a name that `NetworkPlan` has checked.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final

from pharos.wire.netpolicy import IpAddress, IpNetwork, NetworkPlan
from pharos.wire.netusers import confine, from_users
from pharos.wire.nftwords import (
    ACCEPT,
    DNS,
    DROP,
    PROTOCOL,
    REFUSE,
    REPLY,
    TCP_RESET,
    Rule,
    Statement,
    any_of,
    interface,
    match,
    meta,
    payload,
    ports,
    state,
    to,
)

FAMILY: Final = "inet"
TABLE: Final = "pharos"
# DNS over TLS (RFC 7858) and over QUIC (RFC 9250).
ENCRYPTED_DNS: Final = 853
NOT_THE_INTERNET: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            # RFC 6890 and its registries. Networks for documentation are nobody's, and need no lock.
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by a provider's customers
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local: where clouds give a machine its secrets
            "172.16.0.0/12",
            "192.168.0.0/16",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::/96",  # this host, loopback, IPv4-compatible
            "::ffff:0:0/96",  # IPv4-mapped
            "64:ff9b:1::/48",  # translated within a site
            "100::/64",
            "fc00::/7",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
        ),
    )
)
"""What devices reach through no node, as long as it is not another device's."""
_NAT64: Final = IPv6Address("64:ff9b::")
_6TO4: Final = IPv6Address("2002::")
_ADDRESS_TYPE: Final = {4: "ipv4_addr", 6: "ipv6_addr"}

# (type, hook, priority): those of nft's own names mangle, filter, dstnat and srcnat (nft(8), "Priority").
_CHAINS: Final[dict[str, tuple[str, str, int] | None]] = {
    "refused": None,
    "from_devices": None,
    "to_devices": None,
    "to_node": None,
    "ask_resolvers": None,
    "from_users": None,
    "clamping": ("filter", "forward", -150),
    "forwarding": ("filter", "forward", 0),
    "arriving": ("filter", "input", 0),
    "sending": ("filter", "output", 0),
    "catching": ("nat", "prerouting", -100),
    "leaving": ("nat", "postrouting", 100),
}


def nft_document(plan: NetworkPlan) -> dict[str, Any]:
    """Return what ``nft -j -f -`` takes to put this plan in the place of whatever the table was, at one go."""
    table = {"family": FAMILY, "name": TABLE}
    # To delete what is not there fails all; to add what is there does nothing.
    commands: list[Any] = [
        {"metainfo": {"json_schema_version": 1}},
        *removal_document()["nftables"],
        _add("table", table),
    ]
    commands += [_add("set", _set(name, networks)) for name, networks in _sets(plan).items()]
    commands += [_add("chain", _chain(name)) for name in _CHAINS]
    for name, rules in _rules(plan).items():
        commands += [_add("rule", {"family": FAMILY, "table": TABLE, "chain": name, "expr": rule}) for rule in rules]
    return {"nftables": commands}


def removal_document() -> dict[str, Any]:
    """Return what takes the table away, whether or not it is there."""
    table = {"family": FAMILY, "name": TABLE}
    return {"nftables": [_add("table", table), {"delete": {"table": table}}]}


def _add(kind: str, what: dict[str, Any]) -> dict[str, Any]:
    return {"add": {kind: what}}


def _set(name: str, networks: Sequence[IpNetwork]) -> dict[str, Any]:
    version = 4 if name.endswith("4") else 6
    made: dict[str, Any] = {"family": FAMILY, "table": TABLE, "name": name, "type": _ADDRESS_TYPE[version]}
    elements = [{"prefix": {"addr": str(one.network_address), "len": one.prefixlen}} for one in networks]
    return made | {"flags": ["interval"]} | ({"elem": elements} if elements else {})


def _sets(plan: NetworkPlan) -> dict[str, Sequence[IpNetwork]]:
    """Return the sets by name; the last digit of a name is the version of IP."""
    closed = [ipaddress.ip_network(text) for text in plan.policy.closed]
    kinds: dict[str, Iterable[IpNetwork]] = {
        "node": [ipaddress.ip_network(text) for text in plan.addresses],
        "resolvers": [ipaddress.ip_network(address) for address in plan.resolvers],
        "closed": _and_embedded(closed),
        "allowed": [ipaddress.ip_network(text) for text in plan.allowed],
        "machine": [ipaddress.ip_network(text) for text in plan.machine_resolvers],
        "users": [ipaddress.ip_network(text) for text in plan.allowed_users],
        "inside": [*_and_embedded(NOT_THE_INTERNET), *(ipaddress.ip_network(text) for text in plan.networks)],
    }
    return {f"{kind}{version}": _of(version, networks) for kind, networks in kinds.items() for version in (4, 6)}


def _of(version: int, networks: Iterable[IpNetwork]) -> Sequence[IpNetwork]:
    # nft refuses a set whose elements overlap.
    if version == 4:
        return list(ipaddress.collapse_addresses(one for one in networks if isinstance(one, IPv4Network)))
    return list(ipaddress.collapse_addresses(one for one in networks if isinstance(one, IPv6Network)))


def _and_embedded(networks: Sequence[IpNetwork]) -> list[IpNetwork]:
    """Return them, and the IPv6 networks by which a translator on the way would lead to those of IPv4 among them."""
    made: list[IpNetwork] = list(networks)
    for one in networks:
        if isinstance(one, IPv4Network):
            address, length = int(one.network_address), one.prefixlen
            # RFC 6052 §2.1, RFC 3056 §2.
            made.append(IPv6Network((int(_NAT64) | address, 96 + length)))
            made.append(IPv6Network((int(_6TO4) | address << 80, 16 + length)))
    return made


def _chain(name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"family": FAMILY, "table": TABLE, "name": name}
    place = _CHAINS[name]
    if place is not None:
        # Whatever is not of devices is left to the machine's other tables.
        made |= {"type": place[0], "hook": place[1], "prio": place[2], "policy": "accept"}
    return made


def _rules(plan: NetworkPlan) -> dict[str, list[Rule]]:
    return {
        "refused": [
            [match(meta("l4proto"), "tcp"), TCP_RESET],
            [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}],
        ],
        **(_tunnels(plan) if plan.interfaces else {}),
        "from_users": from_users(plan),
        "sending": confine(plan),
    }


def _tunnels(plan: NetworkPlan) -> dict[str, list[Rule]]:
    inward, outward = interface("iifname", plan.interfaces), interface("oifname", plan.interfaces)
    beyond = interface("oifname", plan.interfaces, op="!=")
    passing = [[beyond, interface("iifname", plan.interfaces, op="!="), DROP]]
    return {
        "from_devices": _from_devices(plan, outward),
        "to_devices": [[state("established", "related"), ACCEPT], [DROP]],
        "to_node": _to_node(plan),
        "ask_resolvers": _ask_resolvers(plan.resolvers),
        "clamping": [[side, *_CLAMP] for side in (inward, outward)],
        "forwarding": [
            [inward, {"jump": {"target": "from_devices"}}],
            [outward, {"jump": {"target": "to_devices"}}],
            *([] if plan.transit else passing),
        ],
        "arriving": [[inward, {"jump": {"target": "to_node"}}]],
        "catching": [[inward, *ports(DNS), {"jump": {"target": "ask_resolvers"}}]],
        "leaving": [[inward, beyond, {"masquerade": None}]],
    }


def _from_devices(plan: NetworkPlan, outward: Statement) -> list[Rule]:
    """Return what is forwarded of what comes out of a tunnel, packet by packet: what is closed ends what was open."""
    policy = plan.policy
    return [
        # Without a connection no source is replaced, and the inner address would leave.
        [state("invalid"), DROP],
        *([*ports(DNS, ENCRYPTED_DNS), to("resolvers", version), ACCEPT] for version in (4, 6)),
        # A resolver may be a device, and isolated from those that ask it in everything else.
        *(
            [REPLY, *ports(DNS, ENCRYPTED_DNS, field="sport"), to("resolvers", version, field="saddr"), ACCEPT]
            for version in (4, 6)
        ),
        [*ports(DNS), REFUSE],
        # Devices that encrypt when they can ask in clear then, and are caught. Without an operator's word it is theirs.
        *([[*ports(ENCRYPTED_DNS), REFUSE]] if policy.resolvers else []),
        *([to("closed", version), REFUSE] for version in (4, 6)),
        [outward, ACCEPT if policy.peer_to_peer else REFUSE],
        *([to("allowed", version), ACCEPT] for version in (4, 6)),
        *([to("inside", version), REFUSE] for version in (4, 6)),
        *([[interface("oifname", plan.egress), ACCEPT]] if policy.internet and plan.egress else []),
        [ACCEPT if policy.internet and not plan.egress else REFUSE],
    ]


def _to_node(plan: NetworkPlan) -> list[Rule]:
    """Return what of this machine devices reach: what answers them, and nothing that listens for itself."""
    relays = match(payload("tcp", "dport"), any_of(plan.node_ports))
    return [
        [state("invalid"), DROP],
        [state("related"), ACCEPT],
        [state("established"), REPLY, ACCEPT],
        [match(payload("icmp", "type"), "echo-request"), to("node", 4), ACCEPT],
        [match(payload("icmpv6", "type"), "echo-request"), to("node", 6), ACCEPT],
        *([*ports(DNS, ENCRYPTED_DNS), to("resolvers", version), ACCEPT] for version in (4, 6)),
        *([relays, to("inside", version, op="!="), ACCEPT] for version in (4, 6) if plan.node_ports),
        [REFUSE],
    ]


def _ask_resolvers(resolvers: Sequence[IpAddress]) -> list[Rule]:
    """Return how questions for others come to the resolvers; those of a version without one go on, and are refused."""
    rules: list[Rule] = []
    for version in (4, 6):
        mine = [str(address) for address in resolvers if address.version == version]
        if mine:
            # In turn: whoever asks again because one is away asks another.
            turn = {"numgen": {"mode": "inc", "mod": len(mine), "offset": 0}}
            address = (
                mine[0] if len(mine) == 1 else {"map": {"key": turn, "data": {"set": [*map(list, enumerate(mine))]}}}
            )
            rules.append([to("resolvers", version), ACCEPT])
            rules.append(
                [
                    match(meta("nfproto"), f"ipv{version}"),
                    {"dnat": {"family": PROTOCOL[version], "addr": address}},
                ]
            )
    return rules


# A path may take less than either end knows, and lose the errors that would say so (RFC 2923 §2.1). nft's `rt mtu` is
# what the smaller of the two ways leaves for a segment.
_CLAMP: Final[Rule] = [
    match({"&": [payload("tcp", "flags"), ["syn", "rst"]]}, "syn"),
    {"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": {"rt": {"key": "mtu"}}}},
]

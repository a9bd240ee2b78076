"""The table of nftables by which packets choose their side, as nft's own JSON. Pure.

It marks and nothing else: routes follow the marks, and the kill switch's table (`nft`) judges by them. What a
connection has chosen it keeps, whatever becomes known of its address later: it could not go on from elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from pharos.caravel.system.mark import ALL_BITS
from pharos.caravel.system.plan import VERSIONS, IpAddress, IpNetwork, SystemPlan, of_version
from pharos.caravel.system.split import SplitPlan
from pharos.wire.nftwords import ACCEPT, PROTOCOL, Rule, Statement, any_of, match, meta, payload

FAMILY: Final = "inet"
TABLE: Final = "pharos-caravel-split"
KEPT_OUTSIDE: Final = 0x0100_0000
KEPT_INSIDE: Final = 0x0200_0000
KEPT: Final = KEPT_OUTSIDE | KEPT_INSIDE
"""Of a connection's mark: which side it has chosen. They are none of `Marks`, which say of packets where they go now: a
login page may be fetched outside for a while, and its connection must not stay there."""
MAX_NAMED: Final = 8192
"""Addresses of names, of one version of IP; some hundred KiB of the kernel's."""
_ADDRESS_TYPE: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
_BY_ADDRESS: Final = ("names", "routes")
_RETURN: Final[Statement] = {"return": None}

# (type, hook, priority): after the kill switch's own marks, mangle + 1; before it judges. None: only jumped to.
_CHAINS: Final[dict[str, tuple[str, str, int] | None]] = {
    "chosen": None,
    "left": None,
    "grouping": None,
    "naming": None,
    "choosing": ("route", "output", -149),
    "passing": ("filter", "prerouting", -149),
    "fitting": ("filter", "postrouting", -149),
}


@attrs.frozen(kw_only=True)
class Named:
    """An address of a name, that is in the table."""

    address: IpAddress
    seconds: int
    """For which it stays."""


def split_document(
    plan: SplitPlan, system: SystemPlan, uids: Sequence[tuple[int, int]], named: Iterable[Named] = ()
) -> dict[str, Any]:
    """Return what puts the table of a plan in the place of the one there is; `group_rules` come after it.

    ``uids`` are the first and last number of each range of the plan's users.
    """
    commands: list[Any] = [{"metainfo": {"json_schema_version": 1}}, *removal_document()["nftables"]]
    commands.append(_add("table", {"family": FAMILY, "name": TABLE}))
    for version in VERSIONS:
        commands.append(_add("set", _networks("inner", version, system.inner)))
        commands.append(_add("set", _networks("routes", version, plan.routes if plan.includes else ())))
        commands.append(_add("set", _timed(version)))
    commands += [_add("chain", _chain(name)) for name in _CHAINS]
    for name, rules in _rules(plan, system, uids).items():
        commands += [_add("rule", {"family": FAMILY, "table": TABLE, "chain": name, "expr": rule}) for rule in rules]
    commands += _elements("add", named, timed=True)
    return {"nftables": commands}


def removal_document() -> dict[str, Any]:
    """Return what takes the table away, whether or not it is there."""
    table = {"family": FAMILY, "name": TABLE}
    return {"nftables": [_add("table", table), {"delete": {"table": table}}]}


def names_document(added: Collection[Named], removed: Iterable[IpAddress] = ()) -> dict[str, Any]:
    """Return what puts addresses of names into the table, with a new time for those that are there, and takes others
    out, whether or not they are there."""
    gone = [Named(address=address, seconds=1) for address in removed]
    commands = [*_elements("add", gone, timed=True), *_elements("delete", gone, timed=False)]
    # A kernel before 6.12 gives no new time to what is there: it is taken out, and nobody sees that it was.
    commands += _elements("add", added, timed=True)
    commands += [*_elements("delete", added, timed=False), *_elements("add", added, timed=True)]
    return {"nftables": commands}


def group_rules(cgroups: Iterable[str]) -> str:
    """Return, as nft's own text, what puts rules for these control groups into the place of those there are.

    They must be there. JSON has no word for it; `SplitPlan` has seen to it that a path is nothing but a path.
    """
    lines = [f"flush chain {FAMILY} {TABLE} grouping"]
    for path in cgroups:
        level = path.count("/") + 1
        lines.append(f'add rule {FAMILY} {TABLE} grouping socket cgroupv2 level {level} "{path}" goto chosen')
    return "".join(f"{line}\n" for line in lines)


def _add(kind: str, what: dict[str, Any]) -> dict[str, Any]:
    return {"add": {kind: what}}


def _networks(name: str, version: int, networks: Iterable[IpNetwork]) -> dict[str, Any]:
    elements = [
        {"prefix": {"addr": str(one.network_address), "len": one.prefixlen}} for one in of_version(version, networks)
    ]
    made: dict[str, Any] = {"family": FAMILY, "table": TABLE, "name": f"{name}{version}"}
    return made | {"type": _ADDRESS_TYPE[version], "flags": ["interval"]} | ({"elem": elements} if elements else {})


def _timed(version: int) -> dict[str, Any]:
    made = {"family": FAMILY, "table": TABLE, "name": f"names{version}", "type": _ADDRESS_TYPE[version]}
    return made | {"flags": ["timeout"], "size": MAX_NAMED}


def _chain(name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"family": FAMILY, "table": TABLE, "name": name}
    base = _CHAINS[name]
    if base is None:
        return made
    kind, hook, priority = base
    return made | {"type": kind, "hook": hook, "prio": priority, "policy": "accept"}


def _rules(plan: SplitPlan, system: SystemPlan, uids: Sequence[tuple[int, int]]) -> Mapping[str, list[Rule]]:
    marks = system.marks
    side = marks.outside if plan.excludes else marks.inside
    kept, left = (KEPT_OUTSIDE, KEPT_INSIDE) if plan.excludes else (KEPT_INSIDE, KEPT_OUTSIDE)
    packet, connection = meta("mark"), {"ct": {"key": "mark"}}
    # The fleet's own networks are in the tunnel by their nature, whoever asks.
    inner: list[Rule] = [[match(payload(PROTOCOL[v], "daddr"), f"@inner{v}"), _RETURN] for v in VERSIONS]
    marked: Rule = [match({"&": [packet, marks.mask]}, 0, "!="), _RETURN]
    users: list[Rule] = []
    if uids:
        numbers = [first if first == last else {"range": [first, last]} for first, last in uids]
        users.append([match(meta("skuid"), any_of(numbers)), _goto("chosen")])
    naming: list[Rule] = [
        # Answers go where the question came from.
        [match({"ct": {"key": "direction"}}, "reply"), _RETURN],
        [match({"&": [connection, KEPT]}, kept), _goto("chosen")],
        [match({"&": [connection, KEPT]}, left), _RETURN],
        *(
            [match(payload(PROTOCOL[v], "daddr"), f"@{kind}{v}"), _goto("chosen")]
            for kind in _BY_ADDRESS
            for v in VERSIONS
        ),
        [_goto("left")],
    ]
    return {
        "chosen": [[_set_bits(packet, side, marks.mask)], [_set_bits(connection, kept, KEPT)], [ACCEPT]],
        "left": [[_set_bits(connection, left, KEPT)]],
        "naming": naming,
        "choosing": [
            [match(meta("oifname"), "lo"), _RETURN],
            *inner,
            marked,
            *users,
            [_jump("grouping")],
            [_jump("naming")],
        ],
        # What guests of this machine send, such as containers, has no user of ours.
        "passing": [
            [match(meta("iifname"), any_of(["lo", system.device])), _RETURN],
            [
                match({"fib": {"result": "type", "flags": ["daddr"]}}, any_of(["local", "broadcast", "multicast"])),
                _RETURN,
            ],
            *inner,
            marked,
            [_jump("naming")],
        ],
        "fitting": _fitting(system) if plan.includes else [],
    }


def _fitting(system: SystemPlan) -> list[Rule]:
    """Who opens a connection takes the size of the way that its first packet would have gone, and is led elsewhere."""
    size = {"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": {"rt": {"key": "mtu"}}}}
    opening = match({"&": [payload("tcp", "flags"), ["syn", "rst"]]}, "syn")
    return [[match(meta("oifname"), system.device), opening, size]]


def _goto(chain: str) -> Statement:
    return {"goto": {"target": chain}}


def _jump(chain: str) -> Statement:
    return {"jump": {"target": chain}}


def _set_bits(key: dict[str, Any], value: int, mask: int) -> Statement:
    return {"mangle": {"key": key, "value": {"|": [{"&": [key, ALL_BITS & ~mask]}, value]}}}


def _elements(verb: str, named: Iterable[Named], *, timed: bool) -> list[dict[str, Any]]:
    commands: list[dict[str, Any]] = []
    known = list(named)
    for version in VERSIONS:
        mine = [one for one in known if one.address.version == version]
        if mine:
            values: list[Any] = [str(one.address) for one in mine]
            if timed:
                values = [{"elem": {"val": str(one.address), "timeout": max(1, one.seconds)}} for one in mine]
            what = {"family": FAMILY, "table": TABLE, "name": f"names{version}", "elem": values}
            commands.append({verb: {"element": what}})
    return commands

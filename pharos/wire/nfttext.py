"""The firewall's table of a plan as ``nft list table`` prints it, so that people read what machines are told. Pure.

It reads the document that nft is given (`pharos.wire.netrules`), and knows the words that stand in it and no others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.netrules import nft_document

# nft(8), "Priority".
_PRIORITIES: Final = {-150: "mangle", 0: "filter", -100: "dstnat", 100: "srcnat"}
# Of what is told by a number and listed by a name, in the order of the numbers (rtnetlink.h, netinet/in.h).
_IN_ORDER: Final = ("tcp", "udp", "local", "broadcast", "anycast", "multicast")
_NAMES: Final = frozenset({"iifname", "oifname"})
"""Keys that nft lists without saying ``meta``, and whose values it quotes."""
_PER_LINE: Final = {"ipv4_addr": 2, "ipv6_addr": 1}


def nft_text(plan: NetworkPlan) -> str:
    """Return what a machine lists once it holds a plan; the last line ends as every line does."""
    added = [command["add"] for command in nft_document(plan)["nftables"] if "add" in command]
    (table,) = {(one["table"]["family"], one["table"]["name"]) for one in added if "table" in one}
    rules: dict[str, list[str]] = {}
    for one in added:
        if "rule" in one:
            rules.setdefault(one["rule"]["chain"], []).append(" ".join(map(_statement, one["rule"]["expr"])))
    parts = [_block("set", one["set"]["name"], _set(one["set"])) for one in added if "set" in one]
    for one in added:
        if "chain" in one:
            name = one["chain"]["name"]
            parts.append(_block("chain", name, [*_hook(one["chain"]), *rules.get(name, ())]))
    return f"table {table[0]} {table[1]} {{\n" + "\n".join(parts) + "}\n"


def _block(kind: str, name: str, lines: Iterable[str]) -> str:
    return f"\t{kind} {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"


def _set(one: Mapping[str, Any]) -> Iterator[str]:
    yield f"type {one['type']}"
    yield f"flags {','.join(one['flags'])}"
    prefixes = [each["prefix"] for each in one.get("elem", ())]
    networks = sorted(ipaddress.ip_network((prefix["addr"], prefix["len"])) for prefix in prefixes)
    if networks:
        texts, count = [_network(network) for network in networks], _PER_LINE[one["type"]]
        rows = [", ".join(texts[at : at + count]) for at in range(0, len(texts), count)]
        yield "elements = { " + ",\n\t\t\t     ".join(rows) + " }"


def _network(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    address = _address(network.network_address)
    return address if network.prefixlen == network.max_prefixlen else f"{address}/{network.prefixlen}"


def _address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return it as inet_ntop(3) does, with an IPv4 address at the end of one of IPv6 in its own spelling."""
    upper, lower = divmod(int(address), 2**32)
    if address.version == 6 and (upper == 0xFFFF or (upper == 0 and lower >= 2**16)):
        return f"::{'ffff:' if upper else ''}{ipaddress.IPv4Address(lower)}"
    return str(address)


def _hook(chain: Mapping[str, Any]) -> Iterator[str]:
    if "hook" in chain:
        priority = _PRIORITIES[chain["prio"]]
        yield f"type {chain['type']} hook {chain['hook']} priority {priority}; policy {chain['policy']};"


def _statement(one: Mapping[str, Any]) -> str:
    ((kind, what),) = one.items()
    match kind:
        case "accept" | "drop" | "masquerade":
            return str(kind)
        case "goto" | "jump":
            return f"{kind} {what['target']}"
        case "reject":
            return f"reject with {what['type']}" + (f" {what['expr']}" if "expr" in what else "")
        case "dnat":
            return f"dnat {what['family']} to {_value(what['addr'])}"
        case "mangle":
            return f"{_left(what['key'])} set {_left(what['value'])}"
        case "match":
            return _match(what)
    raise ValueError(f"{kind!r} is no statement of ours")


def _match(what: Mapping[str, Any]) -> str:
    left, right, op = what["left"], what["right"], what["op"]
    if "&" in left:
        field, mask = left["&"]
        return f"{_left(field)} {right} / {','.join(mask)}"
    quoted = left.get("meta", {}).get("key") in _NAMES
    return f"{_left(left)} {'!= ' if op == '!=' else ''}{_value(right, quoted=quoted)}"


def _left(one: Mapping[str, Any]) -> str:
    ((kind, what),) = one.items()
    match kind:
        case "meta":
            return str(what["key"]) if what["key"] in _NAMES else f"meta {what['key']}"
        case "ct" | "rt":
            return f"{kind} {what['key']}"
        case "payload":
            return f"{what['protocol']} {what['field']}"
        case "fib":
            return f"fib {' . '.join(what['flags'])} {what['result']}"
        case "tcp option":
            return f"tcp option {what['name']} {what['field']}"
        case "numgen":
            return f"numgen {what['mode']} mod {what['mod']}"
    raise ValueError(f"{kind!r} is nothing that rules of ours look at")


def _value(one: Any, *, quoted: bool = False) -> str:
    if isinstance(one, dict):
        if "map" in one:
            pairs = ", ".join(f"{key} : {value}" for key, value in one["map"]["data"]["set"])
            return f"{_left(one['map']['key'])} map {{ {pairs} }}"
        return _one_of(one["set"], quoted=quoted)
    if isinstance(one, list):
        return ",".join(map(str, one))
    return f'"{one}"' if quoted else str(one)


def _one_of(values: Sequence[Any], *, quoted: bool) -> str:
    said = [_value(value, quoted=quoted) for value in sorted(values, key=_place)]
    return said[0] if len(said) == 1 else f"{{ {', '.join(said)} }}"


def _place(value: int | str) -> int:
    if isinstance(value, int):
        return value
    # A name's octets are one number to nft, the first the lowest, as on the machines there are.
    return _IN_ORDER.index(value) if value in _IN_ORDER else int.from_bytes(value.encode(), "little")

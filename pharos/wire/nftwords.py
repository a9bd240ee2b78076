"""What rules are made of, as nft's own JSON has it (libnftables-json(5)). Each value stands where a value stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

Statement: TypeAlias = dict[str, Any]
Rule: TypeAlias = list[Statement]

ACCEPT: Final[Statement] = {"accept": None}
DROP: Final[Statement] = {"drop": None}
REFUSE: Final[Statement] = {"goto": {"target": "refused"}}
TCP_RESET: Final[Statement] = {"reject": {"type": "tcp reset"}}
DNS: Final = 53
PROTOCOL: Final = {4: "ip", 6: "ip6"}


def match(left: Any, right: Any, op: str = "==") -> Statement:
    """A packet is meant if the two compare so."""
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str) -> dict[str, Any]:
    """What the kernel knows beside the packet."""
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    """A field of the packet."""
    return {"payload": {"protocol": protocol, "field": field}}


def any_of(values: Sequence[Any]) -> Any:
    """One of some values."""
    return {"set": list(values)}


def interface(side: str, names: Sequence[str], *, op: str = "==") -> Statement:
    """It comes in or goes out by one of these."""
    return match(meta(side), any_of(names), op)


def state(*states: str) -> Statement:
    """Its connection is in one of these states."""
    return match({"ct": {"key": "state"}}, list(states), "in")


def ports(*ports: int, field: str = "dport") -> Rule:
    """TCP or UDP, from or to one of these ports."""
    return [match(meta("l4proto"), any_of(["tcp", "udp"])), match(payload("th", field), any_of(ports))]


def to(kind: str, version: int, *, op: str = "==", field: str = "daddr") -> Statement:
    """To, or from, a network of the set of this kind and version of IP."""
    return match(payload(PROTOCOL[version], field), f"@{kind}{version}", op)


REPLY: Final = match({"ct": {"key": "direction"}}, "reply")

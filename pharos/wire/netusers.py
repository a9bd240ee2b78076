"""What the firewall refuses to programs that dial for others: Xray and our own server of REALITY, by their users.

Both have rules of their own, and Xray's hold for the beginning of a stream only (docs/guide/xray.md). These hold for
each packet.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from pharos.wire.netpolicy import NetworkPlan, Target
from pharos.wire.nftwords import ACCEPT, DNS, PROTOCOL, REFUSE, REPLY, Rule, any_of, match, meta, payload, ports, to

_WAY: Final[dict[str, Any]] = {"fib": {"result": "type", "flags": ["daddr"]}}
# Go lets every socket of datagrams broadcast; and a router takes for itself what is sent to the first address of an
# IPv6 network (RFC 4291 §2.6.1).
_OWN: Final = ("local", "broadcast", "anycast", "multicast")


def confine(plan: NetworkPlan) -> list[Rule]:
    """Return what leads packets of the plan's users to their rules."""
    return [[match(meta("skuid"), any_of(plan.confined)), {"jump": {"target": "from_users"}}]] if plan.confined else []


def from_users(plan: NetworkPlan) -> list[Rule]:
    """Return what they may send, packet by packet: what is closed ends what was open."""
    if not plan.confined:
        return []
    named = sorted({one.port for one in plan.targets if not one.address})
    to_named = [[match(payload("tcp", "dport"), any_of(named)), ACCEPT]] if named else []
    return [
        # They serve whoever dials them, from wherever.
        [REPLY, ACCEPT],
        *([*ports(DNS), to("machine", version), ACCEPT] for version in (4, 6)),
        *(_to_target(one) for one in plan.targets if one.address),
        *([to("closed", version), REFUSE] for version in (4, 6)),
        *([to("users", version), ACCEPT] for version in (4, 6)),
        [match(_WAY, any_of(_OWN)), REFUSE],
        *([to("inside", version), REFUSE] for version in (4, 6)),
        *([] if plan.policy.internet else [*to_named, [REFUSE]]),
    ]


def _to_target(one: Target) -> Rule:
    protocol = PROTOCOL[ipaddress.ip_address(one.address).version]
    return [match(payload(protocol, "daddr"), one.address), match(payload("tcp", "dport"), one.port), ACCEPT]

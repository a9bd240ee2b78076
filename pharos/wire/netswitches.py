"""The switches of the kernel that forwarding for devices takes, and the way back to what a machine had.

Names are paths below ``/proc/sys``: a dot may stand in the name of an interface.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from pharos.wire.netpolicy import NetworkPlan

IPV4_FORWARDING: Final = "net/ipv4/ip_forward"
IPV6_FORWARDING: Final = "net/ipv6/conf/all/forwarding"
GLOBAL: Final = (IPV4_FORWARDING, IPV6_FORWARDING)
_ON: Final = "1"
_ACCEPT_RA: Final = re.compile(r"net/ipv6/conf/(?P<interface>[^/]+)/accept_ra")
_FORWARDING: Final = re.compile(r".*/forwarding")
# Turning forwarding on or off for all sets it for every interface, and IPv4's acceptance of redirects with it.
_MOVED: Final = re.compile(
    r"net/ipv4/ip_forward"
    r"|net/ipv4/conf/all/accept_redirects"
    r"|net/ipv4/conf/[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,14}/(?:forwarding|send_redirects)"
    r"|net/ipv6/conf/[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,14}/(?:forwarding|accept_ra)"
)
_VALUE: Final = re.compile(r"-?[0-9]{1,4}")


def is_switch(path: object, value: object) -> bool:
    """Whether it is a switch that a plan can move, with a value that it can have; no other is ever written."""
    return isinstance(path, str) and isinstance(value, str) and bool(_MOVED.fullmatch(path) and _VALUE.fullmatch(value))


def sysctls(plan: NetworkPlan, before: Mapping[str, str]) -> dict[str, str]:
    """Return what each switch has to be, in the order in which they are to be set.

    ``before``: what the machine had of all switches for which `is_switch` holds. One that is not there is not wanted:
    a kernel without IPv6 has none of its. Without a tunnel nothing is forwarded, and none is moved.
    """
    if not plan.interfaces:
        return {}
    wanted = {}
    if before.get(IPV6_FORWARDING) == "0":
        # A router takes no router's advice (RFC 4861 §6.2.7), so a machine whose way out is advertised would lose it in
        # the moment it forwards: 2 means to take it nevertheless. First, for Linux drops the routes at once.
        for path, value in before.items():
            found = _ACCEPT_RA.fullmatch(path)
            if value == _ON and found and found["interface"] not in {"all", "default", *plan.interfaces}:
                wanted[path] = "2"
    # Of two devices at one interface the kernel believes that they could hear each other. It would tell them so, and
    # count that to what it may tell them at all: of a refusal they would not hear.
    quiet = (f"net/ipv4/conf/{name}/send_redirects" for name in ("all", *plan.interfaces))
    return wanted | {path: "0" for path in quiet if path in before} | {path: _ON for path in GLOBAL if path in before}


def first_seen(now: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Return what the machine had, with what is seen for the first time.

    Of an interface that came later only what forwarding does not move: it was born to forward, as all were then.
    """
    return {path: value for path, value in now.items() if not (before and _FORWARDING.fullmatch(path))} | dict(before)


def order_back(paths: Iterable[str]) -> list[str]:
    """Return switches in the order in which they go back: those first that move others along."""
    return sorted(paths, key=lambda path: (path not in GLOBAL, path))

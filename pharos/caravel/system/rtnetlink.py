"""Messages of Linux's routing socket for addresses, links, routes and rules, without I/O (rtnetlink(7), fib_rules.h).

All numbers are in the machine's own byte order, but for ports and addresses.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

import attrs

from pharos.caravel.system.plan import IpInterface
from pharos.caravel.system.routes import MAIN, Route, RouteKind, Rule
from pharos.wire.awg.netlink import read_attributes

NEWS_GROUPS: Final = 1 << 0 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 18
"""RTNLGRP_LINK, IPV4_ROUTE, IPV4_RULE, IPV6_ROUTE, IPV6_RULE: who listens hears of every change of these."""

_HEADER: Final = Struct("=IHHII")
"""Bytes of the message, its type, flags, sequence number, port."""
_ADDRESS: Final = Struct("=BBBBI")
"""Family, prefix length, flags, scope, index of the interface."""
_LINK: Final = Struct("=BxHiII")
"""Family, type, index, flags, mask of the flags to change."""
_ROUTE: Final = Struct("=BBBBBBBBI")
"""Family, lengths of destination and source, TOS, table, protocol, scope, type, flags."""
_RULE: Final = Struct("=BBBBBxxBI")
"""Family, lengths of destination and source, TOS, table, action, flags."""
_ATTRIBUTE: Final = Struct("=HH")
_U32: Final = Struct("=I")
_PORTS: Final = Struct("=HH")
_ERROR: Final = Struct("=i")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR = 16, 18, 20
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_NEWRULE, _RTM_DELRULE = 32, 33
_REQUEST, _ACKNOWLEDGE, _EXCLUSIVE, _CREATE, _DUMP = 0x1, 0x4, 0x200, 0x400, 0x300
_IFF_UP: Final = 0x1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200
_IFLA_MTU: Final = 4
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_RT_TABLE_UNSPEC, _RTPROT_STATIC, _SCOPE_UNIVERSE, _SCOPE_LINK = 0, 4, 0, 253
_FRA_DST, _FRA_PRIORITY, _FRA_FWMARK, _FRA_SUPPRESS, _FRA_TABLE, _FRA_FWMASK = 1, 6, 10, 14, 15, 16
_FRA_PROTOCOL, _FRA_IP_PROTO, _FRA_SPORTS, _FRA_DPORTS = 21, 22, 23, 24
_FR_ACT_TO_TBL, _FIB_RULE_INVERT = 1, 0x2
_FAMILIES: Final = {4: 2, 6: 10}
"""AF_INET and AF_INET6."""


@attrs.frozen
class Done:
    """The answer to a request is complete."""

    error: int
    """An errno; 0 is success."""


@attrs.frozen
class DefaultRoute:
    """A default route of the machine's own table."""

    version: int
    device: int
    gateway: bytes | None
    """Packed."""
    metric: int


@attrs.frozen
class Link:
    """An interface."""

    index: int
    mtu: int


def add_address(index: int, address: IpInterface) -> bytes:
    """Give an interface an address alone: no route comes with it, and nobody is asked whether it is his."""
    body = _ADDRESS.pack(_FAMILIES[address.version], address.max_prefixlen, 0, _SCOPE_UNIVERSE, index)
    packed = address.ip.packed
    body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
    body += _attribute(_IFA_FLAGS, _U32.pack(_IFA_F_NODAD | _IFA_F_NOPREFIXROUTE))
    return _message(_RTM_NEWADDR, _REQUEST | _ACKNOWLEDGE | _CREATE | _EXCLUSIVE, body)


def set_up(index: int) -> bytes:
    """Turn an interface on."""
    return _message(_RTM_NEWLINK, _REQUEST | _ACKNOWLEDGE, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP))


def add_route(route: Route) -> bytes:
    """Fails with EEXIST if there is one with that network and metric."""
    return _message(_RTM_NEWROUTE, _REQUEST | _ACKNOWLEDGE | _CREATE | _EXCLUSIVE, _route(route))


def remove_route(route: Route) -> bytes:
    """Fails with ESRCH if there is none."""
    return _message(_RTM_DELROUTE, _REQUEST | _ACKNOWLEDGE, _route(route))


def add_rule(rule: Rule) -> bytes:
    """Fails with EEXIST if there is the same."""
    return _message(_RTM_NEWRULE, _REQUEST | _ACKNOWLEDGE | _CREATE | _EXCLUSIVE, _rule(rule))


def remove_rule(rule: Rule) -> bytes:
    """Fails with ENOENT if there is none."""
    return _message(_RTM_DELRULE, _REQUEST | _ACKNOWLEDGE, _rule(rule))


def ask_routes(version: int) -> bytes:
    """Ask for every route of a version of IP."""
    return _message(_RTM_GETROUTE, _REQUEST | _DUMP, _ROUTE.pack(_FAMILIES[version], *[0] * 8))


def ask_links() -> bytes:
    """Ask for every interface."""
    return _message(_RTM_GETLINK, _REQUEST | _DUMP, _LINK.pack(0, 0, 0, 0, 0))


def parse_messages(data: bytes) -> list[Done | DefaultRoute | Link]:
    """Read what one read of the socket brought; what is of no interest is left out."""
    found: list[Done | DefaultRoute | Link] = []
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            break
        message = _parse(kind, data[at + _HEADER.size : at + size])
        if message is not None:
            found.append(message)
        at += _aligned(size)
    return found


def message_types(data: bytes) -> set[int]:
    """Return the types of the messages that one read of any netlink socket brought."""
    found: set[int] = set()
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            break
        found.add(kind)
        at += _aligned(size)
    return found


def _parse(kind: int, body: bytes) -> Done | DefaultRoute | Link | None:
    if kind == _NLMSG_DONE:
        return Done(0)
    if kind == _NLMSG_ERROR and len(body) >= _ERROR.size:
        return Done(-_ERROR.unpack_from(body)[0])
    if kind == _RTM_NEWLINK and len(body) >= _LINK.size:
        mtu = _number(dict(read_attributes(body[_LINK.size :])), _IFLA_MTU)
        return None if mtu is None else Link(_LINK.unpack_from(body)[2], mtu)
    if kind == _RTM_NEWROUTE and len(body) >= _ROUTE.size:
        return _default_route(body)
    return None


def _default_route(body: bytes) -> DefaultRoute | None:
    family, length, _, _, table, _, _, type_, _ = _ROUTE.unpack_from(body)
    attributes = dict(read_attributes(body[_ROUTE.size :]))
    device = _number(attributes, _RTA_OIF)
    version = next((version for version, value in _FAMILIES.items() if value == family), None)
    if length or type_ != RouteKind.UNICAST.value or device is None or version is None:
        return None
    if _number(attributes, _RTA_TABLE) not in (None, MAIN) or table != MAIN:
        return None
    return DefaultRoute(version, device, attributes.get(_RTA_GATEWAY), _number(attributes, _RTA_PRIORITY) or 0)


def _number(attributes: dict[int, bytes], which: int) -> int | None:
    value = attributes.get(which, b"")
    return int(_U32.unpack(value)[0]) if len(value) == _U32.size else None


def _route(route: Route) -> bytes:
    scope = _SCOPE_LINK if route.device is not None and route.network.version == 4 else _SCOPE_UNIVERSE
    body = _ROUTE.pack(
        _FAMILIES[route.network.version],
        route.network.prefixlen,
        0,
        0,
        _RT_TABLE_UNSPEC,
        _RTPROT_STATIC,
        scope,
        route.kind.value,
        0,
    )
    if route.network.prefixlen:
        body += _attribute(_RTA_DST, route.network.network_address.packed)
    if route.device is not None:
        body += _attribute(_RTA_OIF, _U32.pack(route.device))
    return body + _attribute(_RTA_PRIORITY, _U32.pack(route.metric)) + _attribute(_RTA_TABLE, _U32.pack(route.table))


def _rule(rule: Rule) -> bytes:
    length = 0 if rule.to is None else rule.to.prefixlen
    flags = _FIB_RULE_INVERT if rule.inverted else 0
    body = _RULE.pack(_FAMILIES[rule.version], length, 0, 0, _RT_TABLE_UNSPEC, _FR_ACT_TO_TBL, flags)
    body += _attribute(_FRA_PRIORITY, _U32.pack(rule.priority)) + _attribute(_FRA_TABLE, _U32.pack(rule.table))
    body += _attribute(_FRA_PROTOCOL, bytes([_RTPROT_STATIC]))
    if rule.to is not None:
        body += _attribute(_FRA_DST, rule.to.network_address.packed)
    if rule.mark is not None and rule.mask is not None:
        body += _attribute(_FRA_FWMARK, _U32.pack(rule.mark)) + _attribute(_FRA_FWMASK, _U32.pack(rule.mask))
    if rule.suppress:
        body += _attribute(_FRA_SUPPRESS, _U32.pack(0))
    if rule.flow is not None:
        protocol, source, destination = rule.flow
        body += _attribute(_FRA_IP_PROTO, bytes([protocol]))
        body += _attribute(_FRA_SPORTS, _PORTS.pack(source, source))
        body += _attribute(_FRA_DPORTS, _PORTS.pack(destination, destination))
    return body


def _attribute(kind: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(_aligned(size) - size)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _aligned(size: int) -> int:
    return (size + 3) & ~3

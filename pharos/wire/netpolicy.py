"""What a node does to its devices' packets, as one plan that crosses to the process that may set it up.

The plan is typed through and through: whatever is in it is a number, an address, a network, or a name of an interface
in a narrow alphabet. `pharos.wire.netrules` makes rules of it, `pharos.wire.netswitches` the kernel's switches.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final, Self, TypeAlias

import attrs

from pharos.wire.desired import MAX_ADDRESSES, MAX_CLOSED, MAX_PREVIOUS, Policy

IpAddress: TypeAlias = IPv4Address | IPv6Address
IpNetwork: TypeAlias = IPv4Network | IPv6Network

TUNNELS: Final = tuple(f"awg{number}" for number in range(10))
"""The interfaces that may be devices' tunnels, and no others."""
# 10,000 devices have two networks each where none lies beside another, and some a subnet of their own.
MAX_NETWORKS: Final = 32_768
# A machine has a way out for each version of IP, and a second provider.
MAX_EGRESS: Final = 8
# As many as a policy can close.
MAX_ALLOWED: Final = MAX_CLOSED
# A relay beside the node is on one port, or on two while it moves.
MAX_NODE_PORTS: Final = 8
# Xray and our own server, and each of them a second time while it is replaced.
MAX_CONFINED: Final = 4
# One of each key: of the one in use, and of those before it.
MAX_TARGETS: Final = 1 + MAX_PREVIOUS
RELAY_PORTS: Final = (443, 8443)
"""Where a relay is that shares the machine with a node, unless it was told otherwise."""
# Linux takes more (anything but a slash, a colon and white space), but `*` at the end means any name to nft.
_INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_POLICY_KEYS: Final = frozenset({"peer_to_peer", "internet", "closed", "resolvers"})


@attrs.frozen(kw_only=True)
class Target:
    """Where a server of REALITY passes strangers on to; it dials that itself, by TCP, whatever devices may reach."""

    address: str
    """Empty: it goes by a name, so whatever address of the Internet that has."""
    port: int

    def __attrs_post_init__(self) -> None:
        _check_port(self.port)
        if self.address != "":
            _usual_address(self.address)


@attrs.frozen(kw_only=True)
class NetworkPlan:
    """All that the kernel's firewall is to do for devices; whole, and silent on what was before.

    Raises, when it is made: ValueError — it is not a plan.
    """

    interfaces: tuple[str, ...]
    """Tunnels, of `TUNNELS`; at least one, or a confined user. Without any, nothing is forwarded."""
    networks: tuple[str, ...] = ()
    """Of all devices, CIDR. Packets to them never leave by another interface than a tunnel."""
    addresses: tuple[str, ...] = ()
    """The node's own inside the tunnel; they answer pings."""
    policy: Policy = attrs.field(factory=Policy)
    own_resolvers: tuple[str, ...] = ()
    """Resolvers that this machine asks itself: devices' questions go there where the policy names none."""
    egress: tuple[str, ...] = ()
    """Interfaces by which devices leave; empty: by whichever the machine's routes say, but no tunnel."""
    allowed: tuple[str, ...] = ()
    """Networks behind this machine that devices may reach though they are not of the Internet, CIDR."""
    node_ports: tuple[int, ...] = RELAY_PORTS
    """TCP ports of this machine's public addresses that devices may dial through the tunnel."""
    transit: bool = True
    """Whether the machine forwards for others than devices, as far as its other rules let it."""
    confined: tuple[int, ...] = ()
    """Users whose programs dial for devices: they reach what devices may, and not this machine; never root."""
    allowed_users: tuple[str, ...] = ()
    """Networks that those may reach though they are not of the Internet, or this machine's own; CIDR."""
    machine_resolvers: tuple[str, ...] = ()
    """Whom programs of this machine ask for names, on loopback included."""
    targets: tuple[Target, ...] = ()

    def __attrs_post_init__(self) -> None:
        _check_list(self.interfaces, len(TUNNELS), "interfaces", _check_tunnel)
        _check_list(self.confined, MAX_CONFINED, "confined users", _check_confined)
        if not self.interfaces and not self.confined:
            raise ValueError("a plan has a tunnel at least, or a user")
        _check_list(self.networks, MAX_NETWORKS, "networks", _device_network)
        _check_list(self.addresses, MAX_ADDRESSES, "addresses", _usual_address)
        _check_list(self.own_resolvers, MAX_ADDRESSES, "resolvers", _usual_address)
        _check_list(self.egress, MAX_EGRESS, "egress interfaces", _check_egress)
        _check_list(self.allowed, MAX_ALLOWED, "allowed networks", _usual_network)
        _check_list(self.node_ports, MAX_NODE_PORTS, "ports", _check_port)
        _check_flag(self.transit)
        _check_list(self.allowed_users, MAX_ALLOWED, "users' allowed networks", _usual_network)
        _check_list(self.machine_resolvers, MAX_ADDRESSES, "the machine's resolvers", _usual_address)
        _check_list(self.targets, MAX_TARGETS, "targets", _check_target)
        _check_policy(self.policy)

    @property
    def resolvers(self) -> tuple[IpAddress, ...]:
        """Whom devices' questions go to; empty: nobody is known, and they are refused."""
        named = self.policy.resolvers or self.own_resolvers
        return tuple(dict.fromkeys(address for address in map(_address, named) if _can_answer(address)))

    def as_json(self) -> dict[str, Any]:
        """Return the plan for a socket or a file."""
        return {
            "interfaces": list(self.interfaces),
            "networks": list(self.networks),
            "addresses": list(self.addresses),
            "policy": self.policy.as_json(),
            "own_resolvers": list(self.own_resolvers),
            "egress": list(self.egress),
            "allowed": list(self.allowed),
            "node_ports": list(self.node_ports),
            "transit": self.transit,
            "confined": list(self.confined),
            "allowed_users": list(self.allowed_users),
            "machine_resolvers": list(self.machine_resolvers),
            "targets": [[one.address, one.port] for one in self.targets],
        }

    @classmethod
    def from_json(cls, body: object) -> Self:
        """Read a plan: these members and no others, each of its own type.

        Raises: ValueError — it is none.
        """
        members = _members(body, {field.name for field in attrs.fields(cls)})
        policy = _members(members["policy"], _POLICY_KEYS)
        return cls(
            interfaces=_tuple(members["interfaces"]),
            networks=_tuple(members["networks"]),
            addresses=_tuple(members["addresses"]),
            policy=Policy(
                peer_to_peer=_check_flag(policy["peer_to_peer"]),
                internet=_check_flag(policy["internet"]),
                closed=_texts(policy["closed"]),
                resolvers=_texts(policy["resolvers"]),
            ),
            own_resolvers=_tuple(members["own_resolvers"]),
            egress=_tuple(members["egress"]),
            allowed=_tuple(members["allowed"]),
            node_ports=_tuple(members["node_ports"]),
            transit=members["transit"],
            confined=_tuple(members["confined"]),
            allowed_users=_tuple(members["allowed_users"]),
            machine_resolvers=_tuple(members["machine_resolvers"]),
            targets=tuple(Target(address=address, port=port) for address, port in _pairs(members["targets"])),
        )


def _check_list(values: object, most: int, what: str, check: Callable[[Any], object]) -> None:
    if not isinstance(values, tuple) or len(values) > most:
        raise ValueError(f"{what} are at most {most}")
    for value in values:
        check(value)
    if len(set(values)) != len(values):
        raise ValueError(f"{what} are each named once")


def _check_tunnel(name: object) -> None:
    if type(name) is not str or name not in TUNNELS:
        raise ValueError(f"{name!r} is not a tunnel: {TUNNELS[0]} to {TUNNELS[-1]}")


def _check_egress(name: object) -> None:
    if type(name) is not str or not _INTERFACE.fullmatch(name) or name in TUNNELS:
        raise ValueError(f"{name!r} is no interface that devices could leave by")


def _check_port(port: object) -> None:
    if type(port) is not int or not 0 < port < 65536:
        raise ValueError(f"{port!r} is no port")


def _check_confined(uid: object) -> None:
    if type(uid) is not int or not 0 <= uid < 2**32 - 1:
        raise ValueError(f"{uid!r} is no user's number")
    if uid == 0:
        raise ValueError("root cannot be confined: who gave the order would lock the machine up")


def _check_target(one: object) -> None:
    if not isinstance(one, Target):
        raise ValueError(f"{one!r} is no target")


def _check_flag(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _check_policy(policy: object) -> None:
    if not isinstance(policy, Policy):
        raise ValueError("the policy is none")
    _check_flag(policy.peer_to_peer)
    _check_flag(policy.internet)
    _check_list(policy.closed, MAX_CLOSED, "closed networks", _usual_network)
    # Their spelling is the operator's.
    _check_list(policy.resolvers, MAX_ADDRESSES, "resolvers", _address)


def _address(text: object) -> IpAddress:
    # The standard library takes anything at all as the zone of an address.
    if type(text) is not str or "%" in text:
        raise ValueError(f"{text!r} is no address")
    return ipaddress.ip_address(text)


def _usual_address(text: object) -> IpAddress:
    address = _address(text)
    if str(address) != text:
        raise ValueError(f"{text!r} is not the usual spelling of an address")
    return address


def _usual_network(text: object) -> IpNetwork:
    if type(text) is not str or "%" in text:
        raise ValueError(f"{text!r} is no network")
    network = ipaddress.ip_network(text)
    if str(network) != text:
        raise ValueError(f"{text!r} is not the usual spelling of a network")
    return network


def _device_network(text: object) -> None:
    if _usual_network(text).prefixlen == 0:
        raise ValueError(f"{text!r} is everything there is, and no device's network")


def _can_answer(address: IpAddress) -> bool:
    """Whether packets of others can be sent there: a loopback or link-local address is each machine's own."""
    own = address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped is not None
    return not own and not mapped


def _members(body: object, names: Iterable[str]) -> Mapping[str, Any]:
    if not isinstance(body, dict) or body.keys() != set(names):
        raise ValueError(f"a plan has the members {', '.join(sorted(names))}")
    return body


def _tuple(values: object) -> tuple[Any, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{values!r} is no list")
    return tuple(values)


def _pairs(values: object) -> tuple[list[Any], ...]:
    pairs = _tuple(values)
    if any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise ValueError(f"{values!r} are not pairs")
    return pairs


def _texts(values: object) -> tuple[str, ...]:
    texts = _tuple(values)
    if any(type(text) is not str for text in texts):
        raise ValueError(f"{values!r} are not texts")
    return texts

"""What fits into a field of an act: validators for attrs, each raising ValueError."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_network
from typing import Any, Final, TypeAlias

import attrs

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPInterface: TypeAlias = IPv4Interface | IPv6Interface
IPNetwork: TypeAlias = IPv4Network | IPv6Network

KEY_SIZE: Final = 32
# Where devices have their addresses: private (RFC 1918), shared (RFC 6598) and unique local (RFC 4193) space. A route
# to any other place would lead the node's own traffic into the tunnel.
DEVICE_SPACE: Final[tuple[IPNetwork, ...]] = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)


def is_a(kind: type) -> Any:
    return attrs.validators.instance_of(kind)


def number(low: int, high: int) -> Any:
    def check(_: object, field: attrs.Attribute[int], value: int) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"{field.name} must be a whole number from {low} to {high}")

    return check


def key(_: object, field: attrs.Attribute[bytes], value: bytes) -> None:
    # The message never shows the key, for it may be a secret one.
    if type(value) is not bytes or len(value) != KEY_SIZE:
        raise ValueError(f"{field.name} must be {KEY_SIZE} bytes")


def many(most: int, *kinds: type) -> Any:
    def check(_: object, field: attrs.Attribute[tuple[object, ...]], values: tuple[object, ...]) -> None:
        if type(values) is not tuple or len(values) > most or not all(type(value) in kinds for value in values):
            raise ValueError(f"{field.name} must be at most {most}, each a {' or '.join(k.__name__ for k in kinds)}")
        check_scopes(values)

    return check


def check_scopes(values: Iterable[object]) -> None:
    # Behind the percent sign of an IPv6 address Python takes any text, and a network has its address within.
    addresses = (getattr(value, "network_address", value) for value in values)
    if any(getattr(address, "scope_id", None) is not None for address in addresses):
        raise ValueError("an address must not have a scope")


def device_networks(most: int) -> Any:
    fits = many(most, IPv4Network, IPv6Network)

    def check(act: object, field: attrs.Attribute[tuple[IPNetwork, ...]], values: tuple[IPNetwork, ...]) -> None:
        fits(act, field, values)
        check_space(values)

    return check


def check_space(networks: Iterable[IPNetwork]) -> None:
    for network in networks:
        if not any(network.version == space.version and network.subnet_of(space) for space in DEVICE_SPACE):  # type: ignore[arg-type]
            raise ValueError(f"{network} is neither private nor shared nor unique local")


def lines(most: int, longest: int) -> Any:
    def check(_: object, field: attrs.Attribute[tuple[str, ...]], values: tuple[str, ...]) -> None:
        fit = type(values) is tuple and len(values) <= most
        if not fit or not all(type(one) is str and len(one) <= longest and one.isprintable() for one in values):
            raise ValueError(f"{field.name} must be at most {most} lines of at most {longest} characters")

    return check

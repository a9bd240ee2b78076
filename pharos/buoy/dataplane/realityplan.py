"""What a REALITY server of ours is told to become a plan's endpoint. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final

import attrs

from pharos.buoy.dataplane.base import RealityEndpoint, RealityPlan, RealityUser
from pharos.wire.desired import Policy
from pharos.wire.ids import DeviceId
from pharos.wire.reality.control import Change, UserChange
from pharos.wire.reality.vless import Flow

EVERY_IPV4: Final = "0.0.0.0"  # noqa: S104 -- as an operator says it
EVERY_IPV6: Final = "::"
_BITS: Final = 8


@attrs.frozen(kw_only=True)
class Place:
    """What is the node's own of a server."""

    hosts: tuple[str, ...]
    """Addresses to listen on."""
    allowed: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that users may reach beside the Internet."""


@attrs.frozen(kw_only=True)
class Told:
    """What one server was told last."""

    endpoint: RealityEndpoint | None = None
    policy: Policy = attrs.field(factory=Policy)
    users: Mapping[DeviceId, RealityUser] = attrs.field(factory=dict)


def hosts_of(host: str) -> tuple[str, ...]:
    """Return what to bind for a host of the settings: for all of IPv4 also all of IPv6."""
    return (EVERY_IPV4, EVERY_IPV6) if host == EVERY_IPV4 else (host,)


def assigned(endpoints: Sequence[RealityEndpoint], told: Sequence[Told | None]) -> list[RealityEndpoint | None]:
    """Return which server is to be which endpoint: the first is the one in use, and a port stays where it is.

    So no server has to wait for another one to leave a port.
    """
    found: list[RealityEndpoint | None] = [None] * len(told)
    found[: min(1, len(endpoints))] = endpoints[:1]
    ports = {one.endpoint.port: index for index, one in enumerate(told) if index and one and one.endpoint}
    others = list(endpoints[1:])
    for endpoint in [one for one in others if one.port in ports]:
        found[ports[endpoint.port]] = endpoint
        others.remove(endpoint)
    free = [index for index in range(1, len(told)) if found[index] is None]
    for index, endpoint in zip(free, others, strict=False):
        found[index] = endpoint
    return found


def change_of(endpoint: RealityEndpoint | None, plan: RealityPlan, told: Told | None, place: Place) -> Change | None:
    """Return what makes the server that was ``told`` so much, or nothing yet, be ``endpoint``; None: it is that."""
    if endpoint is None:
        return None if told is None or told.endpoint is None else Change(listen=(), replace_users=True)
    before = {} if told is None or told.endpoint is None else told.users
    users = tuple(_user_changes(before, plan.users))
    whole = told is None or told.endpoint is None
    if told is not None and told.endpoint == endpoint and told.policy == plan.policy:
        return Change(users=users) if users else None
    return Change(
        private_key=endpoint.private_key,
        target=endpoint.parameters.target,
        server_names=endpoint.parameters.server_names,
        short_ids=endpoint.parameters.short_ids,
        listen=tuple((host, endpoint.port) for host in place.hosts),
        allowed_networks=place.allowed,
        closed_networks=tuple(ipaddress.ip_network(network) for network in plan.policy.closed),
        internet=plan.policy.internet,
        replace_users=whole,
        users=users,
    )


def _user_changes(before: Mapping[DeviceId, RealityUser], now: Mapping[DeviceId, RealityUser]) -> Iterator[UserChange]:
    for device_id, user in now.items():
        if before.get(device_id) is not user:
            rate = user.rate_limit // _BITS
            yield UserChange(name=device_id, user_id=user.user_id, flow=Flow.VISION, send_rate=rate, receive_rate=rate)
    for device_id in before.keys() - now.keys():
        yield UserChange(name=device_id, remove=True)

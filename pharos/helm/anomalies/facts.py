"""What the rules read, and what they find. Times are microseconds since 1970."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

import attrs

from pharos.helm.model.alerts import Severity
from pharos.helm.model.sessions import Session
from pharos.wire.ids import DeviceId, NodeId

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# What one household or one office has: neighbours in it are no two places.
_PREFIX: Final = {4: 24, 6: 48}
# Where a file names no radius, MaxMind's own advice is to think of a city and its outskirts.
USUAL_ACCURACY_KM: Final = 50.0


@attrs.frozen
class Stay:
    """A device's session at a node, from one outer address."""

    device_id: DeviceId
    node_id: NodeId
    opened_at: int
    seen_at: int
    """Its last sign of life."""
    address: Address
    network: tuple[int, int]
    """Version and network of the address, comparable."""


@attrs.frozen
class Sign:
    """One handshake as a node told of it."""

    device_id: DeviceId
    at: int
    network: tuple[int, int]
    address: Address


@attrs.frozen
class Place:
    """A spot on Earth, in degrees."""

    latitude: float
    longitude: float
    label: str
    accuracy_km: float = USUAL_ACCURACY_KM


@attrs.frozen(kw_only=True)
class Finding:
    """Something odd, for an alert."""

    kind: str
    subject: str
    """Id of the record it is about, or a name that somebody tried."""
    noun: str
    text: str
    at: int
    """The last moment that shows it: what was resolved after it is not raised again."""
    severity: Severity = Severity.WARNING
    evidence: Mapping[str, str | int | float] = attrs.field(factory=dict)


def stay_of(session: Session) -> Stay | None:
    """Return a session as the rules read it; None where no event told from where it came."""
    address = address_of(session.endpoint)
    if address is None:
        return None
    return Stay(session.device_id, session.node_id, session.opened_at, session.seen_at, address, network_of(address))


def address_of(endpoint: str) -> Address | None:
    """Return the address of ``203.0.113.5:4711`` or ``[2001:db8::1]:4711``; None if it is neither."""
    host = endpoint.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def network_of(address: Address) -> tuple[int, int]:
    """Return what addresses of one place have in common."""
    return address.version, int(address) >> (address.max_prefixlen - _PREFIX[address.version])

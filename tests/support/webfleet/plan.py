"""What a fleet for browsers consists of before helm starts."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.helm.model.fleet import Posture
from pharos.helm.model.users import QuotaPeriod

FEW: Final = 3
"""Nodes of a fleet without groups."""
# Cities far enough from each other that a map shows them apart, in the order in which a fleet grows.
_CITIES: Final = (
    ("Frankfurt", 50.11, 8.68),
    ("New York", 40.71, -74.01),
    ("Singapore", 1.35, 103.82),
    ("Tokyo", 35.68, 139.69),
    ("São Paulo", -23.55, -46.63),
    ("Johannesburg", -26.2, 28.05),
    ("Sydney", -33.87, 151.21),
    ("Helsinki", 60.17, 24.94),
    ("Dubai", 25.2, 55.27),
    ("San Jose", 37.34, -121.89),
)


@attrs.frozen(kw_only=True)
class PlannedNode:
    """A node whose buoy is simulated."""

    name: str
    address: str = ""
    """A host name; it leads to this machine. Empty: this machine's address."""
    place: str = ""
    latitude: float | None = None
    longitude: float | None = None
    tags: tuple[str, ...] = ()
    engines: tuple[tuple[str, str], ...] = (("amneziawg", "kernel"), ("reality", "embedded"))
    """Protocol and driver of each."""
    load: float = 0.4
    version: str = "0.1.0"
    """Of its buoy."""


@attrs.frozen(kw_only=True)
class PlannedDevice:
    """A device that has been enrolled."""

    name: str
    node: str = ""
    """Where it is connected; empty: nowhere."""
    down: int = 0
    """Bits a second that it gets."""
    up: int = 0
    protocol: str = "amneziawg"
    used_bytes: int = 0
    """Of its traffic so far."""
    state: str = "active"
    quota_bytes: int | None = None
    expires_in_days: int | None = None
    last_seen_hours: float | None = None
    """Of one that is not connected: how long ago it was."""


@attrs.frozen(kw_only=True)
class PlannedUser:
    """A person, or what stands for one, with devices."""

    name: str
    email: str | None = None
    groups: tuple[str, ...] = ()
    devices: tuple[PlannedDevice, ...] = ()
    quota_bytes: int | None = None
    quota_period: QuotaPeriod = QuotaPeriod.MONTH
    note: str = ""


@attrs.frozen(kw_only=True)
class Plan:
    """A fleet."""

    nodes: tuple[PlannedNode, ...] = ()
    users: tuple[PlannedUser, ...] = ()
    groups: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Tags of the nodes that members may use, by the group's name."""
    posture: Posture = Posture.PERSONAL
    with_past: bool = False
    """Whether there are charts of the day before."""

    def with_posture(self, posture: Posture) -> Plan:
        return attrs.evolve(self, posture=posture)


def crowd(*, nodes: int, devices: int, users: int = 0) -> Plan:
    """Return a fleet of so many: each node has its part of the users and devices; of a few nodes all may use all."""
    owners = users or max(nodes, min(devices, 10))
    planned = tuple(
        PlannedNode(
            name=f"node-{number:03}",
            place=_CITIES[number % len(_CITIES)][0],
            latitude=_CITIES[number % len(_CITIES)][1] + number // len(_CITIES) * 1.5,
            longitude=_CITIES[number % len(_CITIES)][2] + number // len(_CITIES) * 1.5,
            tags=(f"t{number}",),
        )
        for number in range(nodes)
    )
    people = tuple(
        PlannedUser(
            name=f"User {owner:04}",
            email=f"user{owner:04}@example.org",
            groups=(f"group-{owner % nodes}",) if nodes > FEW else (),
            devices=tuple(
                PlannedDevice(name=f"device-{number:05}") for number in range(devices) if number % owners == owner
            ),
        )
        for owner in range(owners if devices or users else 0)
    )
    allowed: dict[str, tuple[str, ...]] = {}
    if nodes > FEW:
        allowed = {f"group-{number}": (f"t{number}",) for number in range(nodes)}
    return Plan(nodes=planned, users=people, groups=allowed)

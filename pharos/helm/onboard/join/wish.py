"""What an operator wants a machine to become."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from pharos.helm.onboard.join.parts import BESIDE_PORT, DEFAULT_PORTS, REALITY_PORT, Part, Port
from pharos.helm.onboard.remote import Destination


@attrs.frozen(kw_only=True)
class Wish:
    """One machine, and what it shall be."""

    destination: Destination
    parts: tuple[Part, ...]
    """The buoy first, where it is to be both."""
    name: str = ""
    """Empty: as the machine calls itself."""
    address: str = ""
    """By which helm and devices reach it; empty: as ssh does."""
    place: str = ""
    latitude: float | None = None
    longitude: float | None = None
    deb: Path | None = None
    """The package of the one part, instead of the one that helm came with."""
    readopts: str = ""
    """Id of the record that it is to be again; empty: it is to be a new one."""
    new_keys: bool = False
    """It lost its tunnel keys, and may make others."""
    ports: Mapping[str, int] = attrs.field(factory=dict)
    """Those of its record; what is not here is as the packages have it."""

    @property
    def is_called(self) -> str:
        """``node``, ``relay`` or ``node and relay``."""
        return " and ".join(part.agent.is_called for part in self.parts)

    def port(self, key: str) -> int:
        """Return a port by its key in the settings and the record."""
        if key not in self.ports and key == "ingress_port" and len(self.parts) > 1:
            return BESIDE_PORT
        return self.ports.get(key, DEFAULT_PORTS[key])

    def ports_of(self, part: Part) -> tuple[Port, ...]:
        """Return where a part will listen."""
        if part is Part.BUOY:
            return (
                Port(number=self.port("control_port"), protocol="tcp", of="helm"),
                Port(number=REALITY_PORT, protocol="tcp", of="devices"),
                Port(number=self.port("awg_port"), protocol="udp", of="devices"),
            )
        return (
            Port(number=self.port("tunnel_port"), protocol="tcp", of="helm"),
            Port(number=self.port("ingress_port"), protocol="tcp", of="devices"),
        )

    @property
    def all_ports(self) -> tuple[Port, ...]:
        """Return where all of them will."""
        return tuple(port for part in self.parts for port in self.ports_of(part))

    def settings(self, part: Part) -> dict[str, int]:
        """Return the keys of its TOML file that are not as the package has them."""
        return {key: self.port(key) for key in _KEYS[part] if self.port(key) != DEFAULT_PORTS[key]}

    def record(self, part: Part) -> dict[str, Any]:
        """Return what REST takes of a new node or relay, its request and its host key apart."""
        known = {"name": self.name, "address": self.address, "ssh_destination": str(self.destination)}
        stands = {"place": self.place, "latitude": self.latitude, "longitude": self.longitude}
        return known | stands | {key: self.port(key) for key in _KEYS[part]}


_KEYS: Final = {Part.BUOY: ("control_port", "awg_port"), Part.BEACON: ("ingress_port", "tunnel_port")}


def name_of(destination: Destination, hostname: str) -> str:
    """Return what to call a machine that nobody named: by its own name, unless that says nothing."""
    label = hostname.strip().split(".")[0]
    if label and label not in ("localhost", "debian", "ubuntu"):
        return label
    try:
        ipaddress.ip_address(destination.host)
    except ValueError:
        return destination.host.split(".")[0]
    return destination.host.replace(":", "-").strip("-")

"""What a machine can be made into, and where the parts of that lie on it."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from pharos.wire.pki.roles import Role

DEFAULT_PORTS: Final = {"control_port": 7443, "awg_port": 443, "ingress_port": 443, "tunnel_port": 7444}
"""Of the packages' own settings, by their keys."""
REALITY_PORT: Final = 443
BESIDE_PORT: Final = 8443
"""TCP, where devices reach a beacon that shares a machine with a buoy: 443 is REALITY's."""


@attrs.frozen(kw_only=True)
class Port:
    """One that an agent listens on."""

    number: int
    protocol: str
    """``tcp`` or ``udp``."""
    of: str
    """Who comes there: ``helm``, ``devices``."""

    def __str__(self) -> str:
        return f"{self.protocol}/{self.number}"


@attrs.frozen(kw_only=True)
class Agent:
    """What one part consists of on a machine."""

    role: Role
    program: str
    package: str
    noun: str
    """Of REST and of the commands: ``nodes``."""
    is_called: str
    processes: frozenset[str]
    """As who they are seen to listen."""

    @property
    def settings(self) -> str:
        """Its TOML file."""
        return f"/etc/pharos/{self.program}.toml"

    @property
    def state(self) -> str:
        """The directory of its identity."""
        return f"/var/lib/{self.package}"

    @property
    def identity(self) -> str:
        """What makes it a member."""
        return f"{self.state}/identity.json"


class Part(enum.Enum):
    """One of the two."""

    BUOY = "buoy"
    BEACON = "beacon"

    @property
    def agent(self) -> Agent:
        """What it consists of."""
        return _AGENTS[self]


_AGENTS: Final = {
    Part.BUOY: Agent(
        role=Role.NODE,
        program="buoy",
        package="pharos-buoy",
        noun="nodes",
        is_called="node",
        processes=frozenset({"buoy", "pharos-awg", "pharos-reality", "xray", "amneziawg-go"}),
    ),
    Part.BEACON: Agent(
        role=Role.RELAY,
        program="beacon",
        package="pharos-beacon",
        noun="relays",
        is_called="relay",
        processes=frozenset({"beacon"}),
    ),
}

"""A beacon as helm records it; its states are those of a node (`pharos.helm.model.nodes`)."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.helm.model.nodes import NodeState
from pharos.wire.ids import RelayId

TUNNELLED: Final = frozenset({NodeState.ACTIVE, NodeState.DRAINING})
"""helm dials the tunnel of a relay in one of these: nothing passes through a disabled one."""

NO_TUNNEL: Final = 0
"""The tunnel port of the relay that helm carries aboard: nothing is dialled, for both ends are in one process."""


@attrs.frozen(kw_only=True)
class Relay:
    """A relay's record."""

    id: RelayId
    name: str
    address: str
    """Host name or IP address, without a port."""
    ingress_port: int
    """Where clients arrive."""
    tunnel_port: int
    """Where helm dials in to be reached; `NO_TUNNEL` for the one aboard."""
    note: str = ""
    place: str = ""
    """Where it stands, as people say it."""
    latitude: float | None = None
    """Degrees north; with ``longitude``, or neither."""
    longitude: float | None = None
    """Degrees east."""
    state: NodeState = NodeState.ACTIVE
    spki: bytes = attrs.field(repr=False)
    """SHA-256 of the public key of its certificate."""
    certificate: bytes = attrs.field(repr=False)
    """DER, the newest."""
    ssh_destination: str = ""
    """How helm's own hand reaches it, ``[user@]host[:port]``; empty: it joined by files."""
    ssh_host_key: str = ""
    """What it showed then, ``SHA256:…``."""
    version: int = 1
    created_at: int = 0
    """Microseconds since 1970."""
    updated_at: int = 0
    updated_by: str = ""

    @property
    def aboard(self) -> bool:
        """Whether it is the one in helm's own process."""
        return self.tunnel_port == NO_TUNNEL

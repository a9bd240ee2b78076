"""A beacon as helm records it."""

from __future__ import annotations

import attrs

from pharos.helm.model.nodes import NodeState
from pharos.wire.ids import RelayId


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
    """Where helm dials in to be reached."""
    state: NodeState
    version: int
    created_at: int
    """Microseconds since 1970."""

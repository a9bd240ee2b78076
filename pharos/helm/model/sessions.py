"""A device's stay at a node."""

from __future__ import annotations

import attrs

from pharos.wire.ids import DeviceId, NodeId


@attrs.frozen(kw_only=True)
class Session:
    """From the first sign of life to a disconnect or to silence; all times by the node's clock, in microseconds."""

    id: str
    """UUIDv7, the same whenever the same session is worked out again."""
    node_id: NodeId
    device_id: DeviceId
    opened_at: int
    seen_at: int
    """The last sign of life."""
    until_at: int
    """When it ended; while it lives, when it will have ended if nothing more is heard."""
    reason: str
    """As the node named it; empty where silence ends it."""
    endpoint: str
    """The device's outer address and port, as seen last; empty where no event told it."""
    protocol: str
    """``amneziawg`` or ``reality``, by which it was seen last; empty where the node did not say."""

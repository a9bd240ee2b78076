"""A peer that a node serves and a restored record does not know: kept, until somebody says what it is."""

from __future__ import annotations

import enum
from typing import Any

import attrs

from pharos.wire.desired import Fence, Peer
from pharos.wire.ids import DeviceId, NodeId


class AdoptionState(enum.Enum):
    """What became of it."""

    WAITING = "waiting"
    """The node goes on serving it."""
    ADOPTED = "adopted"
    """It is a device of the record again."""
    REFUSED = "refused"
    """It was taken off, and is denied everywhere."""


@attrs.frozen(kw_only=True)
class Inventory:
    """What a node has, as it tells a helm that was restored."""

    applied: Fence
    """The newest order that it obeyed."""
    peers: tuple[Peer, ...] = ()
    deny_list: bytes = b""
    """Signed, as it keeps it; empty for none."""
    checkpoint: bytes = b""
    """The largest of the audit that it was shown; empty for none."""


@attrs.frozen(kw_only=True)
class Adoption:
    """One unknown peer at one node."""

    id: str
    node_id: NodeId
    device_id: DeviceId
    """As the node calls it: ids are given by helm, so it is the device's own."""
    peer: dict[str, Any]
    """`pharos.wire.desired.Peer` as JSON."""
    state: AdoptionState = AdoptionState.WAITING
    version: int = 1
    created_at: int = 0
    """Microseconds since 1970."""
    updated_at: int = 0
    updated_by: str = ""

    def as_peer(self) -> Peer:
        """Return the peer as it was served."""
        return Peer.from_json(self.peer)

"""A buoy as helm records it."""

from __future__ import annotations

import enum

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.ids import NodeId


class NodeState(enum.Enum):
    """What an admin decided about a node or relay; whether it answers is seen, not recorded."""

    ACTIVE = "active"
    DISABLED = "disabled"
    REVOKED = "revoked"


@attrs.frozen(kw_only=True)
class Node:
    """A node's record."""

    id: NodeId
    name: str
    address: str
    """Host name or IP address, without a port."""
    control_port: int
    awg_port: int
    tags: tuple[str, ...]
    state: NodeState
    awg_key: bytes
    """AmneziaWG public key, 32 bytes."""
    derive_key: bytes
    """X25519 public key for the blind derivation, 32 bytes."""
    awg_parameters: ObfuscationParameters
    version: int
    created_at: int
    """Microseconds since 1970."""

"""A buoy as helm records it, and what an admin can make of it."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import Final

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.ids import NodeId
from pharos.wire.reality.params import RealityParameters


class NodeState(enum.Enum):
    """What an admin decided about a node or relay; whether it answers is seen, not recorded."""

    JOINING = "joining"
    """It is being set up; nobody is told of it yet."""
    ACTIVE = "active"
    DRAINING = "draining"
    """It serves who is there, and new profiles leave it out."""
    DISABLED = "disabled"
    """It serves nobody, until it is enabled again."""
    REVOKED = "revoked"
    """For ever."""


class NodeAct(enum.Enum):
    """What can be done about the state of a node or relay."""

    JOIN = "join"
    DRAIN = "drain"
    RESUME = "resume"
    DISABLE = "disable"
    ENABLE = "enable"
    REVOKE = "revoke"

    @property
    def past(self) -> str:
        """As the audit and the feed tell it: ``drained``."""
        return {"join": "joined", "drain": "drained"}.get(self.value, self.value.removesuffix("e") + "ed")


TRANSITIONS: Final = MappingProxyType(
    {
        (NodeState.JOINING, NodeAct.JOIN): NodeState.ACTIVE,
        (NodeState.JOINING, NodeAct.REVOKE): NodeState.REVOKED,
        (NodeState.ACTIVE, NodeAct.DRAIN): NodeState.DRAINING,
        (NodeState.ACTIVE, NodeAct.DISABLE): NodeState.DISABLED,
        (NodeState.ACTIVE, NodeAct.REVOKE): NodeState.REVOKED,
        (NodeState.DRAINING, NodeAct.RESUME): NodeState.ACTIVE,
        (NodeState.DRAINING, NodeAct.DISABLE): NodeState.DISABLED,
        (NodeState.DRAINING, NodeAct.REVOKE): NodeState.REVOKED,
        (NodeState.DISABLED, NodeAct.ENABLE): NodeState.ACTIVE,
        (NodeState.DISABLED, NodeAct.REVOKE): NodeState.REVOKED,
    }
)
"""What each act makes of each state, for nodes and relays alike; a pair that is not here is refused."""

LINKED: Final = frozenset({NodeState.ACTIVE, NodeState.DRAINING, NodeState.DISABLED})
"""A node in one of these is kept linked: a disabled one has to hear that it has no peers any more."""

PUSHED: Final = "pushed"
"""The verb of an act that changes nothing of a node: its link begins anew."""


# One of those that large sites serve HTTPS and QUIC on, so that networks let it through. A beacon beside it has 8443.
SPARE_PORT: Final = 2053


@attrs.frozen(kw_only=True)
class Node:
    """A node's record."""

    id: NodeId
    name: str
    address: str
    """Host name or IP address, without a port."""
    control_port: int
    awg_port: int
    spare_ports: tuple[int, ...] = (SPARE_PORT,)
    """On which it serves what its profile lists beside the first: replaced parameters, for instance. UDP, and TCP."""
    tags: tuple[str, ...] = ()
    note: str = ""
    place: str = ""
    """Where it stands, as people say it."""
    latitude: float | None = None
    """Degrees north; with ``longitude``, or neither."""
    longitude: float | None = None
    """Degrees east."""
    state: NodeState = NodeState.ACTIVE
    awg_key: bytes
    """AmneziaWG public key, 32 bytes."""
    derive_key: bytes
    """X25519 public key for the blind derivation, 32 bytes."""
    awg_parameters: ObfuscationParameters
    reality: RealityParameters | None = None
    """None: it gets none, and serves no REALITY."""
    spki: bytes = attrs.field(repr=False)
    """SHA-256 of the public key of its certificate."""
    certificate: bytes = attrs.field(repr=False)
    """DER, the newest."""
    key_proof: bytes | None = attrs.field(default=None, repr=False)
    """The key that it had before says that these two follow it (`pharos.wire.seal.successor`)."""
    lock_signature: bytes | None = attrs.field(default=None, repr=False)
    """The owner's offline key says that these two keys are this node's (`pharos.wire.seal.lock`)."""
    ssh_destination: str = ""
    """How helm's own hand reaches it, ``[user@]host[:port]``; empty: it joined by files."""
    ssh_host_key: str = ""
    """What it showed then, ``SHA256:…``."""
    version: int = 1
    created_at: int = 0
    """Microseconds since 1970."""
    updated_at: int = 0
    updated_by: str = ""

"""What a node says: of itself when it is asked, and of its devices as things happen."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.desired import MAX_PREVIOUS, Fence, Policy, PreviousEndpoint
from pharos.wire.ids import DeviceId, NodeId
from pharos.wire.reality.params import MAX_GENERATION, RealityParameters

KEY_SIZE: Final = 32
PROOF_SIZE: Final = 64
# Of the parameters in use, and of as many before them as a node serves.
MAX_REALITY_KEYS: Final = 1 + MAX_PREVIOUS
# One for each protocol, and room for those of newer nodes.
MAX_ENGINES: Final = 8
AMNEZIAWG: Final = "amneziawg"
REALITY: Final = "reality"
"""What a node tells traffic apart by, as helm grants it; empty is not known."""


class EventKind(enum.Enum):
    """What a node reports about a device."""

    HANDSHAKE = "handshake"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    GAP = "gap"


@attrs.frozen(kw_only=True)
class TunnelEvent:
    """One live event of a node."""

    sequence: int
    at: int
    """Microseconds since 1970, by the node's clock."""
    kind: EventKind
    device_id: DeviceId | None
    detail: str
    """Endpoint, reason or the number of events dropped."""
    protocol: str = ""
    """`AMNEZIAWG` or `REALITY`; empty from a node of an earlier version."""


@attrs.frozen(kw_only=True)
class PeerReport:
    """What a node says of one of its peers."""

    device_id: DeviceId
    awg_key: bytes
    last_handshake: int
    """Microseconds since 1970, 0 for never."""
    received: int
    """Bytes."""
    sent: int
    """Bytes."""
    commitment: bytes
    """HMAC(PSK, "commit")[:8]."""
    generation: int = 0
    """Of the derived secret in use."""
    quota_used: int = 0
    """Octets of its quota lease."""
    digest: bytes = b""
    """`Peer.digest`; empty from a node of an earlier version."""
    reality_received: int = 0
    """What of ``received`` came through REALITY; likewise the next one."""
    reality_sent: int = 0
    reality_handshake: int = 0
    """When its latest connection there began, microseconds since 1970, 0 for never."""


@attrs.frozen(kw_only=True)
class PeerSummary:
    """What a node says of all its peers where it names only those of which there is something new."""

    count: int
    digest: bytes
    """`peers_digest` of them."""
    sessions: int
    """Peers with a handshake within the last 180 s, by the node's clock."""


@attrs.frozen(kw_only=True)
class RealityKey:
    """A REALITY key of a node, and the node's word that it is its own (`pharos.wire.seal.realitykey`)."""

    generation: int
    public_key: bytes
    """X25519, 32 bytes."""
    proof: bytes = attrs.field(repr=False)
    """64 bytes."""

    def __attrs_post_init__(self) -> None:
        if not 0 < self.generation <= MAX_GENERATION:
            raise ValueError(f"generation {self.generation} of a REALITY key does not fit")
        if len(self.public_key) != KEY_SIZE or len(self.proof) != PROOF_SIZE:
            raise ValueError(f"REALITY key {self.generation} or its proof has another length")


@attrs.frozen(kw_only=True)
class RealityReport:
    """What a node says of its REALITY."""

    parameters: RealityParameters | None = None
    """None until it was told some."""
    keys: tuple[RealityKey, ...] = ()
    """Of the parameters in use and of those before them; in a report with a ``summary`` none where they were told."""
    port: int = 0
    """TCP, where an engine serves it; 0: none does."""

    def __attrs_post_init__(self) -> None:
        if len(self.keys) > MAX_REALITY_KEYS or len({key.generation for key in self.keys}) != len(self.keys):
            raise ValueError(f"a node has up to {MAX_REALITY_KEYS} REALITY keys, each of another generation")
        if not 0 <= self.port < 65536:
            raise ValueError(f"{self.port} is no port of REALITY")


@attrs.frozen(kw_only=True)
class EngineReport:
    """What carries one protocol, and how it is."""

    protocol: str
    driver: str
    trouble: str = ""
    """What keeps it from being what was ordered; empty: it is that."""


@attrs.frozen(kw_only=True)
class MachineReport:
    """How a node's machine is; 0 is not known."""

    load: float = 0.0
    """Processes that ran or wanted to, of the last minute."""
    load5: float = 0.0
    """Likewise, of the last five."""
    processors: int = 0
    """That share the load."""
    memory: int = 0
    """Octets; likewise the next three."""
    memory_available: int = 0
    disk: int = 0
    """Where the state is kept."""
    disk_free: int = 0


@attrs.frozen(kw_only=True)
class NodeReport:
    """What a node says of itself."""

    node_id: NodeId
    version: str
    applied: Fence
    started_at: int
    """Microseconds since 1970."""
    awg_key: bytes
    derive_key: bytes
    awg_port: int
    awg: ObfuscationParameters | None
    addresses: tuple[str, ...]
    """The node's own, inside the tunnel."""
    peers: tuple[PeerReport, ...]
    """All of them; with a ``summary`` those of which there is something new."""
    deny_list: tuple[int, int] = (0, 0)
    """(epoch, version) of the deny list in force; zeros for none."""
    manifest_version: int = 0
    """Of the trust manifest in use; 0 for none."""
    certificate: bytes = b""
    """SHA-256 of the certificate that new handshakes show."""
    now: int = 0
    """Microseconds since 1970, by the node's clock."""
    checkpoint: bytes = b""
    """The largest audit checkpoint it was given, as helm signed it."""
    policy: Policy | None = None
    previous: tuple[PreviousEndpoint, ...] = ()
    token: bytes = b""
    """Names this report, so that a later one need not repeat it; empty from a node that always tells all."""
    summary: PeerSummary | None = None
    reality: RealityReport | None = None
    """None from a node of an earlier version, which knows no REALITY."""
    engines: tuple[EngineReport, ...] = ()
    machine: MachineReport | None = None
    """None from a node of an earlier version."""
    throttles: bool = True
    """Whether it slows peers down at the end of a lease; one of an earlier version can only cut them."""
    tells_protocols: bool = False
    """Whether it says what came through REALITY; of one of an earlier version the zeros say nothing."""

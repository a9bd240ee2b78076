"""What happens to a connection, as typed facts. Each carries ``at``, seconds since 1970."""

from __future__ import annotations

import enum
from typing import Any, ClassVar

import attrs

from pharos.wire.world import wall_seconds


class Phase(enum.Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    UP = "up"
    SWITCHING = "switching"
    """The node is silent and another is being tried; what the kill switch holds, it holds."""
    OFFLINE = "offline"
    """This machine has no network."""
    CAPTIVE = "captive"
    """A network that wants to be logged in to first."""
    WAITING = "waiting"
    """Every node was tried in vain; it goes on with pauses."""
    DOWN = "down"


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened."""

    kind: ClassVar[str] = "event"
    at: float = attrs.field(factory=wall_seconds)

    def as_json(self) -> dict[str, Any]:
        """Return it as a document with ``kind``."""
        return {
            "kind": self.kind,
            **{k: v.value if isinstance(v, enum.Enum) else v for k, v in attrs.asdict(self).items()},
        }


@attrs.frozen(kw_only=True)
class PhaseChanged(Event):
    kind: ClassVar[str] = "phase"
    phase: Phase
    detail: str = ""


@attrs.frozen(kw_only=True)
class Trying(Event):
    """A way is being probed or opened."""

    kind: ClassVar[str] = "trying"
    node: str
    name: str
    protocol: str


@attrs.frozen(kw_only=True)
class Failed(Event):
    """A way did not lead in."""

    kind: ClassVar[str] = "failed"
    node: str
    name: str
    protocol: str
    why: str


@attrs.frozen(kw_only=True)
class Connected(Event):
    """A node lets us in and carries what is sent."""

    kind: ClassVar[str] = "connected"
    node: str
    name: str
    protocol: str
    seconds: float
    """Since it was first dialled."""


@attrs.frozen(kw_only=True)
class Lost(Event):
    kind: ClassVar[str] = "lost"
    node: str
    name: str
    protocol: str
    why: str


@attrs.frozen(kw_only=True)
class Rebound(Event):
    """The same session goes on from another address or port of ours."""

    kind: ClassVar[str] = "rebound"
    why: str


@attrs.frozen(kw_only=True)
class ProfileChanged(Event):
    kind: ClassVar[str] = "profile"
    epoch: int
    revision: int


@attrs.frozen(kw_only=True)
class Stale(Event):
    """helm was not heard for more than seven days."""

    kind: ClassVar[str] = "stale"


@attrs.frozen(kw_only=True)
class NodeUnknown(Event):
    """No known node answers, and there are some that this device does not know yet: somebody has to say yes."""

    kind: ClassVar[str] = "unknown-node"
    names: tuple[str, ...]


@attrs.frozen(kw_only=True)
class CaptivePortal(Event):
    kind: ClassVar[str] = "captive-portal"
    url: str
    """Where it wants to be logged in to; may be empty."""


@attrs.frozen(kw_only=True)
class Leak(Event):
    """Something of this machine goes or went outside the tunnel."""

    kind: ClassVar[str] = "leak"
    detail: str

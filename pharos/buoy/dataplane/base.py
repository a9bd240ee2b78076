"""What the agent asks of its engines, whoever they are: plans in, counters and events out.

The agent makes a plan from what helm ordered and what this node derives (`pharos.buoy.dataplane.plans`); a driver makes
an engine be that. Plans are whole and say nothing of what was before: a driver finds out itself what differs, and
peers that stay keep their sessions. What a plan holds was checked: a driver refuses none for its contents.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, NoReturn, Protocol, TypeAlias

import attrs
import trio

from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.convert import EventKind
from pharos.wire.desired import Policy
from pharos.wire.errors import WireError
from pharos.wire.ids import DeviceId
from pharos.wire.reality.params import RealityParameters

Restart: TypeAlias = Callable[[], Awaitable[None]]
"""Has an engine's process begin anew. Raises: EngineError."""
NO_REASONS: Final[Mapping[DeviceId, str]] = MappingProxyType({})
# What the event of a peer says that helm took away.
REMOVED: Final = "removed"
# And of one that went by itself, or was not heard of for so long that its session ended.
SILENT: Final = "silent"
# And of one whose session an admin ended; it may come again.
ENDED: Final = "ended by an admin"


class EngineError(WireError):
    """An engine cannot be told, or asked: its process is away, or it answered that it will not."""


@attrs.frozen(kw_only=True)
class PeerCounters:
    """What an engine knows of one peer."""

    device_id: DeviceId
    last_handshake: int
    """Microseconds since 1970, 0 for never."""
    received: int
    """Bytes of inner packets."""
    sent: int
    """Bytes of inner packets."""
    reality_received: int = 0
    """What of ``received`` came through REALITY, where engines are asked as one; likewise the next one."""
    reality_sent: int = 0
    reality_handshake: int = 0
    """When the latest connection there began; likewise."""


@attrs.frozen(kw_only=True)
class AwgEndpoint:
    """One UDP port and what is spoken there."""

    port: int
    parameters: ObfuscationParameters


@attrs.frozen(kw_only=True)
class AwgPeer:
    """One device as an AmneziaWG engine has to know it."""

    device_id: DeviceId
    public_key: bytes
    preshared_key: bytes = attrs.field(repr=False)
    addresses: tuple[str, ...]
    """Its allowed IPs, CIDR."""
    rate_limit: int = 0
    """Bits per second in each direction; 0: no limit."""


@attrs.frozen(kw_only=True)
class AwgPlan:
    """All that the node's AmneziaWG is to be."""

    private_key: bytes = attrs.field(repr=False)
    endpoints: tuple[AwgEndpoint, ...] = ()
    """The one in use, then those before it, each with parameters of its own; empty: nothing is served."""
    addresses: tuple[str, ...] = ()
    """The node's own inside the tunnel."""
    networks: tuple[str, ...] = ()
    """Of all devices, CIDR: what is routed into the tunnel."""
    peers: Mapping[DeviceId, AwgPeer] = attrs.field(factory=dict)
    policy: Policy = attrs.field(factory=Policy)
    """What devices may reach, for an engine that dials for them; elsewhere the firewall sees to it."""


@attrs.frozen(kw_only=True)
class RealityEndpoint:
    """One TCP port, how it looks from outside, and its key."""

    port: int
    parameters: RealityParameters
    private_key: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class RealityUser:
    """One device as a REALITY server has to know it."""

    device_id: DeviceId
    user_id: bytes = attrs.field(repr=False)
    """Of VLESS, 16 octets."""
    rate_limit: int = 0
    """Bits per second in each direction; 0: no limit."""


@attrs.frozen(kw_only=True)
class RealityPlan:
    """All that the node's REALITY is to be."""

    endpoints: tuple[RealityEndpoint, ...] = ()
    """The one in use, then those before it; empty: nothing is served."""
    users: Mapping[DeviceId, RealityUser] = attrs.field(factory=dict)
    policy: Policy = attrs.field(factory=Policy)
    """What users may reach; private networks are closed to them in any case."""


class Publish(Protocol):
    """How the agent takes what its drivers tell, each of its own protocol."""

    def __call__(self, kind: EventKind, *, at: int, device_id: DeviceId, detail: str, protocol: str) -> None:
        """``protocol``: as in `pharos.wire.reports`; the others as in `OnEvent`."""
        ...


class OnEvent(Protocol):
    """How a driver tells of a device; called between two checkpoints, so it only queues."""

    def __call__(self, kind: EventKind, *, at: int, device_id: DeviceId, detail: str) -> None:
        """``at``: microseconds since 1970. ``detail``: the device's address and port, or why it went."""
        ...


class AwgDriver(Protocol):
    """One AmneziaWG engine under the agent's hand."""

    @property
    def name(self) -> str:
        """As it is chosen and reported: kernel, userspace or embedded."""
        ...

    @property
    def port(self) -> int:
        """The UDP port in use, 0 while none is served."""
        ...

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Watch the engine until cancelled: tell its events, and tell it the last plan again when it came back empty.

        ``started`` is called when the engine can be told a plan. Raises: EngineError — it is not to be had at all.
        """
        ...

    async def apply(self, plan: AwgPlan, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Make the engine be ``plan``; peers that stay keep their sessions.

        ``reasons`` say why peers that go are gone, for their events; whoever is not named was removed by helm.

        Raises: EngineError — it could not be told; the plan is kept and told as soon as it can be.
        """
        ...

    async def read_counters(self) -> list[PeerCounters]:
        """Return what the engine knows of every peer; what was known last while it does not answer."""
        ...

    async def restart(self) -> None:
        """Have the engine begin anew, as the last resort; its sessions end.

        Raises: EngineError — that could not be done.
        """
        ...


class RealityDriver(Protocol):
    """One REALITY server under the agent's hand; the verbs are those of `AwgDriver`."""

    @property
    def name(self) -> str:
        """As it is chosen and reported: xray, userspace or embedded."""
        ...

    @property
    def port(self) -> int:
        """The TCP port in use, 0 while none is served."""
        ...

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn: ...

    async def apply(self, plan: RealityPlan, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None: ...

    async def read_counters(self) -> list[PeerCounters]: ...

    async def restart(self) -> None: ...

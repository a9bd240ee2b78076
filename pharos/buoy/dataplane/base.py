"""What the control service asks of any engine."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

import attrs

from pharos.wire.desired import Desired
from pharos.wire.ids import DeviceId

NO_REASONS: Final[Mapping[DeviceId, str]] = MappingProxyType({})


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


class DataPlane(Protocol):
    """An engine under the agent's hand."""

    @property
    def port(self) -> int:
        """The UDP port that is served, 0 while none is."""
        ...

    @property
    def reality_port(self) -> int:
        """The TCP port on which REALITY is served, 0 while it is not."""
        ...

    def check(self, desired: Desired) -> None:
        """Make sure that ``apply`` could not fail, before anything is kept.

        Raises: RemoteProtocolError — a key cannot be used; the message names the device.
        """
        ...

    async def apply(self, desired: Desired, *, reasons: Mapping[DeviceId, str] = NO_REASONS) -> None:
        """Make the engine serve exactly ``desired``; peers that stay keep their sessions.

        ``reasons`` say why peers that go are gone, for their events; whoever is not named was removed by helm.
        """
        ...

    def counters(self) -> list[PeerCounters]:
        """Return what is known of every peer."""
        ...

    def commitment(self, device_id: DeviceId) -> bytes:
        """Return HMAC(PSK, "commit")[:8] of a peer, so that helm can compare both ends."""
        ...

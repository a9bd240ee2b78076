"""A user's device as helm records it: public keys only."""

from __future__ import annotations

import enum

import attrs

from pharos.wire.ids import DeviceId


class DeviceState(enum.Enum):
    """Whether a device may use the fleet."""

    ACTIVE = "active"
    REVOKED = "revoked"


@attrs.frozen(kw_only=True)
class DeviceKeys:
    """The public keys that a device proved at enrolment, 32 bytes each; each is unique over all devices ever."""

    sealing: bytes
    derive: bytes
    noise: bytes
    awg: bytes

    def in_order(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Return sealing, derive, Noise and AmneziaWG key, the order in which they are hashed and compared."""
        return self.sealing, self.derive, self.noise, self.awg


@attrs.frozen(kw_only=True)
class Device:
    """A device's record."""

    id: DeviceId
    name: str
    state: DeviceState
    keys: DeviceKeys
    address4: str
    """Its IPv4 address inside the tunnel, the same on every node."""
    address6: str
    """Its IPv6 ULA inside the tunnel, the same on every node."""
    version: int
    created_at: int
    """Microseconds since 1970."""

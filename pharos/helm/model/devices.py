"""A user's device as helm records it, public keys only, and what an admin can make of it."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import Final

import attrs

from pharos.wire.ids import DeviceId


class DeviceState(enum.Enum):
    """Whether a device may use the fleet."""

    ACTIVE = "active"
    DISABLED = "disabled"
    """Kept out until it is enabled again; it keeps its certificate and its addresses."""
    REVOKED = "revoked"
    """For ever: its keys can never enrol again."""


class DeviceAct(enum.Enum):
    """What can be done about a device's state."""

    DISABLE = "disable"
    ENABLE = "enable"
    REVOKE = "revoke"

    @property
    def past(self) -> str:
        """As the audit and the feed tell it: ``revoked``."""
        return self.value + "d"


TRANSITIONS: Final = MappingProxyType(
    {
        (DeviceState.ACTIVE, DeviceAct.DISABLE): DeviceState.DISABLED,
        (DeviceState.ACTIVE, DeviceAct.REVOKE): DeviceState.REVOKED,
        (DeviceState.DISABLED, DeviceAct.ENABLE): DeviceState.ACTIVE,
        (DeviceState.DISABLED, DeviceAct.REVOKE): DeviceState.REVOKED,
    }
)
"""What each act makes of each state; a pair that is not here is refused."""


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
    user_id: str | None = None
    """Whose it is; None: nobody's in particular."""
    state: DeviceState = DeviceState.ACTIVE
    note: str = ""
    sealing_key: bytes = attrs.field(repr=False)
    derive_key: bytes = attrs.field(repr=False)
    noise_key: bytes = attrs.field(repr=False)
    awg_key: bytes = attrs.field(repr=False)
    address4: str
    """Its IPv4 address inside the tunnel, the same on every node."""
    address6: str
    """Its IPv6 ULA inside the tunnel, the same on every node."""
    expires_at: int | None = None
    """Microseconds since 1970; from then on it is kept out."""
    quota_bytes: int | None = None
    """Octets in both directions, per period of its user; None: only the user's own quota counts."""
    rate_limit: int | None = None
    """Bits per second in each direction; None: no limit."""
    exported: bool = False
    """Its keys were made in a browser, for another program than caravel: it has no certificate and no profile."""
    outdated_at: int | None = None
    """Microseconds since 1970: since then something of what it was exported with is otherwise; None: nothing is."""
    version: int = 1
    created_at: int = 0
    """Microseconds since 1970."""
    updated_at: int = 0
    updated_by: str = ""

    @property
    def keys(self) -> DeviceKeys:
        """The four public keys."""
        return DeviceKeys(sealing=self.sealing_key, derive=self.derive_key, noise=self.noise_key, awg=self.awg_key)

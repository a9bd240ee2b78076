"""A one-time enrolment ticket as helm records it: enough to check it, not enough to use it."""

from __future__ import annotations

import enum

import attrs

from pharos.wire.ids import DeviceId


class TicketState(enum.Enum):
    """What has become of a ticket; it follows from its times and is kept nowhere."""

    OPEN = "open"
    USED = "used"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


@attrs.frozen(kw_only=True)
class Ticket:
    """A ticket's record."""

    id: str
    """The 8 bytes that the link carries, in hexadecimal."""
    device_name: str
    """What the device will be called unless it brings a name of its own."""
    user_id: str | None = None
    """Whose device it will be."""
    psk: bytes = attrs.field(repr=False)
    """First half of the expanded secret, wrapped by the data key."""
    proof: bytes = attrs.field(repr=False)
    """SHA-256 of the second half, which only the holder of the link can show."""
    expires_at: int
    """Microseconds since 1970."""
    created_by: str = ""
    used_at: int | None = None
    used_keys: bytes | None = attrs.field(default=None, repr=False)
    """Hash of the device keys that consumed it: the same keys may repeat the claim after a lost reply."""
    device_id: DeviceId | None = None
    """What enrolled with it."""
    withdrawn_at: int | None = None
    version: int = 1
    created_at: int = 0
    updated_at: int = 0
    updated_by: str = ""

    def state(self, at: int) -> TicketState:
        """Return what has become of it, as of ``at`` in microseconds since 1970."""
        if self.used_at is not None:
            return TicketState.USED
        if self.withdrawn_at is not None:
            return TicketState.WITHDRAWN
        return TicketState.EXPIRED if self.expires_at <= at else TicketState.OPEN

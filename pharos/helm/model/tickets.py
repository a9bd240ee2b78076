"""A one-time enrolment ticket as helm records it: enough to check it, not enough to use it."""

from __future__ import annotations

import attrs

from pharos.wire.ids import DeviceId, TicketId


@attrs.frozen(kw_only=True)
class Ticket:
    """A ticket's record."""

    id: TicketId
    device_name: str
    """What the device will be called unless it brings a name of its own."""
    psk: bytes = attrs.field(repr=False)
    """First half of the expanded secret, wrapped by the data key."""
    proof: bytes = attrs.field(repr=False)
    """SHA-256 of the second half, which only the holder of the link can show."""
    expires_at: int
    """Microseconds since 1970."""
    used_keys: bytes | None
    """Hash of the device keys that consumed it: the same keys may repeat the claim after a lost reply."""
    device_id: DeviceId | None

"""The desk from elsewhere: which device is an admin's, and how a request that came over its passage says so."""

from __future__ import annotations

from typing import Any, Final

import attrs

from pharos.wire.ids import DeviceId

EXTENSION: Final = "pharos.desk"
"""Key of the `AdminDevice` in the extensions of an ASGI scope. No header becomes an extension."""


@attrs.frozen(kw_only=True)
class AdminDevice:
    """A device that an owner has given to an admin."""

    device_id: DeviceId
    admin_id: str
    until: int | None = None
    """When device or user expire, in microseconds since 1970; None: never."""

    @property
    def bound(self) -> str:
        """What a session that began over this device's passage is bound to."""
        return f"device:{self.device_id}"


def desk_of(scope: Any) -> AdminDevice | None:
    """Return whose passage an ASGI scope came over; None for one of helm's own machine."""
    found: AdminDevice | None = (scope.get("extensions") or {}).get(EXTENSION)
    return found

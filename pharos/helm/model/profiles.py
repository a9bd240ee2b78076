"""What helm knows of a device's sealed profile: all but what is in it."""

from __future__ import annotations

import enum

import attrs


class ProfileState(enum.Enum):
    """Whether the device goes by what the record says."""

    SYNCED = "synced"
    """The device holds the newest bundle, and nothing that profiles are made of has changed since."""
    STALE = "stale"
    """The device has not fetched the newest bundle, or a change since has made it due to be sealed anew."""


@attrs.frozen(kw_only=True)
class Profile:
    """A profile's record, a view of the bundles table."""

    id: str
    """That of its device."""
    name: str
    """Of its device."""
    epoch: int
    revision: int
    """Of this device's bundles; grows by one each time its profile changes."""
    size: int
    """Octets, sealed."""
    hash: bytes
    """SHA-256 of the profile, behind the public half of the key that signed it."""
    state: ProfileState
    sealed_at: int
    synced_at: int | None
    """When the device was last told that this is the newest."""
    version: int
    created_at: int
    updated_at: int
    updated_by: str

"""How a device stands and how its profile does, said once in SQL for whatever counts, orders or shows devices.

A statement begins WITH `MOMENT`, or WITH `BRIEF` where it looks at all devices; its first value is the time, in
microseconds since 1970. The names ``moment``, ``fleet``, ``devices``, ``users`` and ``brief`` are those of `OF_ALL` and
`OF_SOME`.
"""

from __future__ import annotations

import enum
from typing import Final

from pharos.helm.model.devices import DeviceState
from pharos.helm.model.users import UserState


class Standing(enum.Enum):
    """Whether a device may use the fleet, by its own record and that of its user."""

    ACTIVE = "active"
    DISABLED = "disabled"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ProfileStand(enum.Enum):
    """How far a device's profile is."""

    SYNCED = "synced"
    """The device holds the newest, and nothing that it is made of has changed since."""
    SENDING = "sending"
    """There is a newer one, or there will be."""
    STALE = "stale"
    """There has been a newer one for `STALE_AFTER`; of an exported device, what it was given is not so any more."""
    NONE = "none"
    """It has none, or may not use it."""


# ui.md: a profile that is behind for seven days is one that a person should look at.
STALE_AFTER: Final = 7 * 86_400 * 1_000_000
"""Microseconds."""

MOMENT: Final = "moment (at) AS (VALUES (?))"
# Read by its index once: looked up for each device, the ciphertext's pages would be read along.
BRIEF: Final = (
    f"{MOMENT}, brief AS MATERIALIZED (SELECT device_id, epoch, revision, held_epoch, held_revision, checked_revision,"  # noqa: S608
    " behind_at, sealed_at, synced_at FROM bundles)"
)
OF_ALL: Final = (
    "moment CROSS JOIN fleet CROSS JOIN devices LEFT JOIN users ON users.id = devices.user_id"
    " LEFT JOIN brief ON brief.device_id = devices.id"
)
OF_SOME: Final = (
    "moment CROSS JOIN fleet CROSS JOIN devices LEFT JOIN users ON users.id = devices.user_id"
    " LEFT JOIN bundles AS brief ON brief.device_id = devices.id"
)

STANDING: Final = (
    f"CASE WHEN devices.state = '{DeviceState.REVOKED.value}' THEN '{Standing.REVOKED.value}'"
    f" WHEN devices.state = '{DeviceState.DISABLED.value}' OR users.state = '{UserState.DISABLED.value}'"
    f" THEN '{Standing.DISABLED.value}'"
    " WHEN devices.expires_at <= moment.at OR users.expires_at <= moment.at"
    f" THEN '{Standing.EXPIRED.value}' ELSE '{Standing.ACTIVE.value}' END"
)
USER_STANDING: Final = (
    f"CASE WHEN users.state = '{UserState.DISABLED.value}' THEN '{Standing.DISABLED.value}'"
    f" WHEN users.expires_at <= moment.at THEN '{Standing.EXPIRED.value}' ELSE '{Standing.ACTIVE.value}' END"
)
PROFILE: Final = (
    f"CASE WHEN {STANDING} <> '{Standing.ACTIVE.value}' THEN '{ProfileStand.NONE.value}'"
    " WHEN devices.exported = 1 THEN CASE WHEN devices.outdated_at IS NULL"
    f" THEN '{ProfileStand.SYNCED.value}' ELSE '{ProfileStand.STALE.value}' END"
    f" WHEN brief.device_id IS NULL THEN '{ProfileStand.NONE.value}'"
    " WHEN brief.epoch = fleet.epoch AND brief.checked_revision >= fleet.profiles_revision"
    " AND brief.held_epoch = brief.epoch AND brief.held_revision = brief.revision"
    f" THEN '{ProfileStand.SYNCED.value}'"
    f" WHEN brief.behind_at <= moment.at - {STALE_AFTER} THEN '{ProfileStand.STALE.value}'"
    f" ELSE '{ProfileStand.SENDING.value}' END"
)
SINCE: Final = (
    "CASE WHEN devices.exported = 1 THEN devices.outdated_at WHEN brief.behind_at IS NOT NULL THEN brief.behind_at"
    " ELSE brief.synced_at END"
)
"""Since when the profile is as it is, in microseconds since 1970; NULL where nobody knows."""

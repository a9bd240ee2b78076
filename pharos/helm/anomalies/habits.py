"""The rule over traffic: a device that sends far more than it ever did."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import attrs

from pharos.helm.anomalies.facts import Finding
from pharos.wire.ids import DeviceId
from pharos.wire.units import GIB, MIB

UPLOAD: Final = "upload_above_habit"

# A photo library that is backed up for the first time is some gigabytes; a habit takes a week to be one.
LEAST_BYTES: Final = 1 * GIB
LEAST_DAYS: Final = 7
HABIT_DAYS: Final = 28
TIMES_MEDIAN: Final = 10
TIMES_MOST: Final = 2


@attrs.frozen(kw_only=True)
class Upload:
    """What a device sent, in bytes."""

    device_id: DeviceId
    today: int
    """Within the last 24 hours."""
    days: Sequence[int]
    """Of each 24 hours before, newest first, from the first on which it sent anything."""
    until: int
    """The moment of the newest count, in microseconds since 1970."""


def upload_above_habit(upload: Upload) -> Finding | None:
    """Tell whether a day is far above all days before: ten times the usual one and twice the largest."""
    if upload.today < LEAST_BYTES or len(upload.days) < LEAST_DAYS:
        return None
    usual = statistics.median(upload.days)
    if upload.today < TIMES_MEDIAN * usual or upload.today < TIMES_MOST * max(upload.days):
        return None
    return Finding(
        kind=UPLOAD,
        subject=upload.device_id,
        noun="device",
        text=f"sent {upload.today // MIB:,} MiB within a day, and usually sends {usual / MIB:,.0f} MiB",
        at=upload.until,
        evidence={"bytes": upload.today, "median": int(usual), "most": max(upload.days), "days": len(upload.days)},
    )

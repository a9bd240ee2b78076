"""Units, so that a number never stands alone: ``3 * SECONDS``, ``64 * KIB``."""

from typing import Final

SECONDS: Final = 1.0
MILLISECONDS: Final = SECONDS / 1000
MINUTES: Final = 60 * SECONDS
HOURS: Final = 60 * MINUTES
DAYS: Final = 24 * HOURS

BYTES: Final = 1
KIB: Final = 1024 * BYTES
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

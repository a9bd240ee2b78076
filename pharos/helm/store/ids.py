"""Ids of new records."""

from __future__ import annotations

import os
import time

from pharos.wire.ids import uuid7


def fresh_id() -> str:
    """Return a new UUIDv7: later ones sort later."""
    return uuid7(time.time_ns(), os.urandom(10))

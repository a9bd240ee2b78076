"""Times of the record: whole microseconds since 1970 inside, RFC 3339 outside."""

from __future__ import annotations

import datetime
import math
from typing import Final


def microseconds(seconds: float) -> int:
    """Return a wall-clock time in whole microseconds, as every table keeps it."""
    return math.floor(seconds * 1_000_000)


def moment(at: int) -> datetime.datetime:
    """Return a time of the record as certificates take it."""
    return _EPOCH + datetime.timedelta(microseconds=at)


def rfc3339(at: int) -> str:
    """Return a time as RFC 3339 in UTC."""
    return datetime.datetime.fromtimestamp(at / 1e6, datetime.UTC).isoformat().replace("+00:00", "Z")


_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

"""Types that request bodies share."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Final

import msgspec

Unset = msgspec.UnsetType
UNSET: Final = msgspec.UNSET
"""A member that a change leaves out: the value stays."""

Time = Annotated[datetime.datetime, msgspec.Meta(tz=True)]
"""RFC 3339 with its offset."""


def given(body: msgspec.Struct) -> dict[str, Any]:
    """Return the members that a body gives, as the record keeps them: times in microseconds, lists as tuples."""
    members: dict[str, Any] = {}
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if value is not UNSET:
            members[name] = _kept(value)
    return members


def _kept(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return (value - _EPOCH) // datetime.timedelta(microseconds=1)
    return tuple(value) if isinstance(value, list) else value


_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

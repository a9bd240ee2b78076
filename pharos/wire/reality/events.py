"""What a node tells whoever watches it: which user's connections begin and end."""

from __future__ import annotations

from typing import TypeAlias

import attrs


@attrs.frozen(kw_only=True)
class UserConnected:
    """A device has shown a user's id; each of its connections is told by itself."""

    name: str
    session: int
    """Counts the node's sessions, from 1."""
    source: str
    """The IP address it comes from."""
    at_ns: int
    """Unix time."""


@attrs.frozen(kw_only=True)
class UserDisconnected:
    """A session has ended, and these are all of its octets."""

    name: str
    session: int
    received_bytes: int
    """Payload from the device, without VLESS, Vision and TLS around it; likewise the next."""
    sent_bytes: int
    kicked: bool
    """Whether it was ended by us."""
    at_ns: int


Event: TypeAlias = UserConnected | UserDisconnected

"""What a leg of REALITY goes by: the ways to one node, and the ids by which it may know this device."""

from __future__ import annotations

import attrs

from pharos.caravel.tunnel.reality import Way


@attrs.frozen(kw_only=True)
class RealityPlan:
    """How one node is reached."""

    name: str
    """For people."""
    identity: bytes
    """The node's, by a key that does not change with its ways in."""
    access: tuple[object, ...]
    """What the profile says of each way. Two plans are equal if these and the ids are."""
    ways: tuple[Way, ...] = attrs.field(eq=False)
    """The same, with what was drawn for each. In the order in which they are tried; at least one."""
    user_ids: tuple[bytes, ...] = attrs.field(repr=False)
    """16 octets each, in the order in which they are tried."""

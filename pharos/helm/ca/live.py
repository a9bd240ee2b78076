"""The authority of a running helm: whoever signs or dials asks here, so that a rotation or a renewal reaches all."""

from __future__ import annotations

import attrs
import trio

from pharos.helm.ca.authority import Authority
from pharos.helm.trust.denylist import DenyLists


@attrs.define(eq=False)
class LiveAuthority:
    """Holds the authority that is in use."""

    current: Authority
    changes: int = attrs.field(default=0, init=False)
    """How often it was replaced."""
    deny_lists: DenyLists = attrs.field(factory=DenyLists, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    def replace(self, authority: Authority) -> None:
        """Put another one into use; the record names it already."""
        self.current = authority
        self.changes += 1
        self._changed.set()
        self._changed = trio.Event()

    async def wait_changed(self, seen: int) -> int:
        """Return the number of replacements once it is larger than ``seen``."""
        while self.changes <= seen:
            await self._changed.wait()
        return self.changes

"""One helm at a time: what a run of helm calls itself when it commands a node.

The term orders two helms of one record, and a node refuses the lower for ever. That is not enough where a copy of the
record is started elsewhere: its term may be the higher, and both would command in turns. So a node obeys one holder
until its lease has run out, and only the helm that took the record over from that holder, or waited, gets the node.
"""

from __future__ import annotations

from typing import Final, Self

import attrs

from pharos.helm.store.database import Database
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.leases import HOLDER_SIZE, MAX_EARLIER
from pharos.wire.units import SECONDS
from pharos.wire.world import random_bytes

# Two heartbeats of 30 s, and their answers: a helm that is there never loses it, and a stand-by waits for a minute.
LEASE: Final = 75 * SECONDS


@attrs.frozen(kw_only=True)
class Lease:
    """The name of this run of helm, and of those before it."""

    holder: bytes = attrs.field(repr=False)
    previous: bytes = attrs.field(repr=False)
    earlier: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    """Those before ``previous``, newest first: which of them a node knows, nobody can say."""
    term: int

    @classmethod
    def take(cls, db: Database) -> Self:
        """Begin a new term by a new name, in the caller's transaction; helm does so once at each start."""
        row = db.execute("SELECT lease_holder FROM fleet").fetchone()
        known = row["lease_holder"] or b""
        before = tuple(known[at : at + HOLDER_SIZE] for at in range(0, len(known), HOLDER_SIZE))
        holder = random_bytes(HOLDER_SIZE)
        names = b"".join((holder, *before[:MAX_EARLIER]))
        term = db.execute("UPDATE fleet SET term = term + 1, lease_holder = ? RETURNING term", (names,)).fetchone()[0]
        return cls(holder=holder, previous=b"".join(before[:1]), earlier=before[1 : 1 + MAX_EARLIER], term=term)

    def message(self) -> pb.Lease:
        """Return it as it is said to a node."""
        return pb.Lease(holder=self.holder, previous=self.previous, earlier=self.earlier, seconds=round(LEASE))

"""One helm at a time: what a run of helm calls itself when it commands a node.

The term orders two helms of one record, and a node refuses the lower for ever. That is not enough where a copy of the
record is started elsewhere: its term may be the higher, and both would command in turns. So a node obeys one holder
until its lease has run out, and only the helm that took the record over from that holder, or waited, gets the node.
"""

from __future__ import annotations

import secrets
from typing import Final, Self

import attrs

from pharos.helm.store.database import Database
from pharos.wire.gen.pharos.buoy.v1 import control_pb2 as pb
from pharos.wire.units import SECONDS

HOLDER_SIZE: Final = 16
# Two heartbeats of 30 s, and their answers: a helm that is there never loses it, and a stand-by waits for a minute.
LEASE: Final = 75 * SECONDS


@attrs.frozen(kw_only=True)
class Lease:
    """The name of this run of helm, and of the one before it."""

    holder: bytes = attrs.field(repr=False)
    previous: bytes = attrs.field(repr=False)
    term: int

    @classmethod
    def take(cls, db: Database) -> Self:
        """Begin a new term by a new name, in the caller's transaction; helm does so once at each start."""
        row = db.execute("SELECT lease_holder FROM fleet").fetchone()
        holder = secrets.token_bytes(HOLDER_SIZE)
        term = db.execute("UPDATE fleet SET term = term + 1, lease_holder = ? RETURNING term", (holder,)).fetchone()[0]
        return cls(holder=holder, previous=row["lease_holder"] or b"", term=term)

    def message(self) -> pb.Lease:
        """Return it as it is said to a node."""
        return pb.Lease(holder=self.holder, previous=self.previous, seconds=round(LEASE))

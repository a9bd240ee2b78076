"""What the peers of one device share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pharos.wire.awg.events import Output
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.keys import StaticKey, generate_private_key
from pharos.wire.awg.randomness import Random, uniform
from pharos.wire.awg.session import Session
from pharos.wire.awg.tai64n import TimestampSource, WallClock
from pharos.wire.awg.timers import DeadlineQueue
from pharos.wire.awg.timing import HANDSHAKE_JITTER, Timing
from pharos.wire.units import MILLISECONDS

if TYPE_CHECKING:
    from pharos.wire.awg.peer import Peer


@attrs.define(eq=False, kw_only=True)
class Context:
    """The device's key, its settings, its tables of indices and where its output gathers."""

    static: StaticKey
    framing: Framing
    timing: Timing
    mtu: int
    random: Random
    wall_clock: WallClock
    timestamps: TimestampSource
    output: Output = attrs.Factory(Output)
    deadlines: DeadlineQueue[Peer] = attrs.Factory(DeadlineQueue)
    pending: dict[int, Peer] = attrs.Factory(dict)
    """Who waits for a response, by the index in it."""
    sessions: dict[int, tuple[Peer, Session]] = attrs.Factory(dict)
    """Whose session a transport message is on, by the index in it."""

    def new_index(self) -> int:
        """An index that names neither a session nor a pending initiation; unguessable, so junk misses."""
        while True:
            index = int.from_bytes(self.random(4), "little")
            if index not in self.sessions and index not in self.pending:
                return index

    def new_ephemeral(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(generate_private_key(self.random))

    def new_jitter(self) -> float:
        """Seconds, drawn anew for each initiation."""
        return uniform(self.random, 0, round(HANDSHAKE_JITTER / MILLISECONDS)) * MILLISECONDS

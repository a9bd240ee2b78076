"""What the peers of one device share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from pharos.wire.awg.events import Output
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.keys import StaticKey, generate_private_key
from pharos.wire.awg.randomness import Random, uniform
from pharos.wire.awg.sending import OutgoingBuffer, Sealer
from pharos.wire.awg.session import Session
from pharos.wire.awg.tai64n import TimestampSource, WallClock
from pharos.wire.awg.timers import DeadlineQueue
from pharos.wire.awg.timing import HANDSHAKE_JITTER, Timing
from pharos.wire.units import MILLISECONDS

if TYPE_CHECKING:
    from pharos.wire.awg.line import Line
    from pharos.wire.awg.peer import Peer

MAIN_FACE: Final = 0
"""The number of the face that every device has."""


@attrs.define(eq=False, kw_only=True)
class Context:
    """The device's key, its settings, its tables of indices and where its output gathers."""

    static: StaticKey
    faces: dict[int, Framing]
    """How datagrams look on each local port, by its number."""
    timing: Timing
    mtu: int
    random: Random
    wall_clock: WallClock
    timestamps: TimestampSource
    output: Output = attrs.Factory(Output)
    sealer: Sealer = attrs.Factory(Sealer)
    outgoing: OutgoingBuffer = attrs.Factory(OutgoingBuffer)
    """Where peers seal what they send of their own accord; ``collect_sealed`` empties it."""
    deadlines: DeadlineQueue[Line] = attrs.Factory(DeadlineQueue)
    pending: dict[int, Peer] = attrs.Factory(dict)
    """Who waits for a response, by the index in it."""
    sessions: dict[int, tuple[Peer, Session]] = attrs.Factory(dict)
    """Whose session a transport message is on, by the index in it."""

    @property
    def framing(self) -> Framing:
        """That of the main face."""
        return self.faces[MAIN_FACE]

    def face(self, number: int) -> Framing:
        """The framing of a face; a peer whose face was taken away is spoken to on the main one."""
        return self.faces.get(number) or self.faces[MAIN_FACE]

    def collect_sealed(self) -> None:
        """Move what stands in ``outgoing`` to the output, as bytes that stay."""
        for batch in self.outgoing.take():
            batch.data = bytes(batch.data)
            self.output.batches.append(batch)

    def new_index(self) -> int:
        """An index that names neither a session nor a pending initiation; unguessable, so junk misses."""
        while True:
            index = int.from_bytes(self.random(4), "little")
            if index not in self.sessions and index not in self.pending:
                return index

    def new_ephemeral(self) -> bytes:
        """An X25519 private key for one handshake."""
        return generate_private_key(self.random)

    def new_jitter(self) -> float:
        """Seconds, drawn anew for each initiation."""
        return uniform(self.random, 0, round(HANDSHAKE_JITTER / MILLISECONDS)) * MILLISECONDS

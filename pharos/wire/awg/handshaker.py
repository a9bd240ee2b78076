"""Handshakes with one peer: what may be begun or answered, and when (wireguard.pdf §5.1, §6)."""

from typing import Final

import attrs

from pharos.wire.awg.context import Context
from pharos.wire.awg.cookies import MacStamper
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.handshake import (
    AuthenticInitiation,
    PendingInitiation,
    RemoteStatic,
    TransportKeys,
    create_initiation,
)
from pharos.wire.awg.messages import MessageKind
from pharos.wire.awg.tai64n import BEFORE_ALL
from pharos.wire.awg.timers import NEVER
from pharos.wire.awg.timing import MIN_INITIATION_GAP

_COUNTER_BYTES: Final = 4
_NS_PER_SECOND: Final = 10**9


@attrs.define(eq=False, kw_only=True, repr=False)
class Handshaker:
    """Makes and takes handshake messages; sessions, timers and sending are the peer's.

    A pending initiation of ours and an answer to the peer's stand apart, so that two ends which begin at the same
    moment both end up with a session instead of undoing each other's.
    """

    context: Context
    stamper: MacStamper
    pending: PendingInitiation | None = None
    """Ours that has no response yet; the owner keeps its index in the context's table."""
    attempts: int = 0
    """Initiations sent since something other than a timer asked for one."""
    jitter: float = 0.0
    """Seconds, drawn anew for each initiation."""
    _allowed_attempts: int = 0
    _last_sent: float = -NEVER
    _last_received: float = -NEVER
    _last_timestamp: bytes = BEFORE_ALL

    def may_begin_at(self) -> float:
        """When our last handshake message is long enough ago."""
        return self._last_sent + self.context.timing.initiation_gap

    def may_repeat(self) -> bool:
        """Whether another initiation is worth its while after those that had no response."""
        return self.attempts < self._allowed_attempts

    def begin(self, remote: RemoteStatic, framing: Framing, now: float, *, width: int) -> tuple[list[bytes], bytes]:
        """Begin a handshake: what to send before, and the datagram of the initiation, now ``pending``."""
        context = self.context
        if not self.attempts:
            self._allowed_attempts = context.timing.max_attempts.pick(context.random)
        self.attempts += 1
        self.jitter = context.new_jitter()
        message, self.pending = create_initiation(
            context.static,
            remote,
            header=framing.header(MessageKind.INITIATION),
            index=context.new_index(),
            ephemeral=context.new_ephemeral(),
            timestamp=context.timestamps.next(),
        )
        opening = framing.opening(
            unix_time=context.wall_clock() // _NS_PER_SECOND,
            counter=int.from_bytes(context.random(_COUNTER_BYTES), "little"),
        )
        return opening, self._dress(MessageKind.INITIATION, message, framing, now, width)

    def answer(
        self, initiation: AuthenticInitiation, framing: Framing, now: float, *, width: int
    ) -> tuple[bytes, TransportKeys] | None:
        """Make the datagram of the response; None for an old initiation or one on the heels of another.

        Raises: DecryptError — the peer's ephemeral key is a point of small order.
        """
        # A clock that goes back shuts nobody out.
        if initiation.timestamp <= self._last_timestamp or 0 <= now - self._last_received <= MIN_INITIATION_GAP:
            return None
        context = self.context
        message, keys = initiation.respond(
            header=framing.header(MessageKind.RESPONSE),
            index=context.new_index(),
            ephemeral=context.new_ephemeral(),
        )
        self._last_timestamp, self._last_received = initiation.timestamp, now
        return self._dress(MessageKind.RESPONSE, message, framing, now, width), keys

    def _dress(self, kind: MessageKind, message: bytes, framing: Framing, now: float, width: int) -> bytes:
        self._last_sent = now
        return framing.wrap(kind, self.stamper.stamp(message, now), width=width)

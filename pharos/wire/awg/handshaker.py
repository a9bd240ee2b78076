"""Handshakes with one peer: what may be begun or answered, and when (wireguard.pdf §5.1, §6)."""

import attrs

from pharos.wire.awg.context import Context
from pharos.wire.awg.cookies import MacStamper
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
    _last_sent: float = -NEVER
    _last_received: float = -NEVER
    _last_timestamp: bytes = BEFORE_ALL

    def may_begin_at(self) -> float:
        """When our last handshake message is long enough ago."""
        return self._last_sent + self.context.timing.rekey_timeout

    def begin(self, remote: RemoteStatic, now: float) -> tuple[list[bytes], bytes]:
        """Begin a handshake: the junk to send before, and the datagram of the initiation, now ``pending``."""
        context = self.context
        self.attempts += 1
        self.jitter = context.new_jitter()
        message, self.pending = create_initiation(
            context.static,
            remote,
            header=context.framing.header(MessageKind.INITIATION),
            index=context.new_index(),
            ephemeral=context.new_ephemeral(),
            timestamp=context.timestamps.next(),
        )
        return context.framing.junk(), self._dress(MessageKind.INITIATION, message, now)

    def answer(self, initiation: AuthenticInitiation, now: float) -> tuple[bytes, TransportKeys] | None:
        """Make the datagram of the response; None for an old initiation or one on the heels of another.

        Raises: DecryptError — the peer's ephemeral key is a point of small order.
        """
        if initiation.timestamp <= self._last_timestamp or now - self._last_received <= MIN_INITIATION_GAP:
            return None
        context = self.context
        message, keys = initiation.respond(
            header=context.framing.header(MessageKind.RESPONSE),
            index=context.new_index(),
            ephemeral=context.new_ephemeral(),
        )
        self._last_timestamp, self._last_received = initiation.timestamp, now
        return self._dress(MessageKind.RESPONSE, message, now), keys

    def _dress(self, kind: MessageKind, message: bytes, now: float) -> bytes:
        self._last_sent = now
        return self.context.framing.wrap(kind, self.stamper.stamp(message, now))

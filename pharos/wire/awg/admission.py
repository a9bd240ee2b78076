"""Which handshake messages are worth a handshake's cost, and the queue of those that are (wireguard.pdf §5.3)."""

from collections import deque
from typing import Final

import attrs

from pharos.wire.awg.context import Context
from pharos.wire.awg.cookies import MacChecker
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.load import BUSY_BACKLOG, LoadGauge, NetworkLimiter
from pharos.wire.awg.messages import COOKIE_REPLY, MessageKind

MAX_QUEUED: Final = 1024
"""Admitted messages that wait, about 300 kB and a quarter of a second of work; what comes beyond is lost, as in
wireguard-go, and repeated by whoever meant it."""


@attrs.frozen(eq=False)
class Arrived:
    """A handshake message on its way to its peer."""

    kind: MessageKind
    message: bytes
    """Without padding and trailer."""
    size: int
    """Of its datagram."""
    source: Address
    framing: Framing
    """The face it came in on, and is answered on."""


class Admission:
    """Stands between the socket and the handshakes; junk and floods end here, at the price of a hash each."""

    def __init__(self, context: Context) -> None:
        self.queue: deque[Arrived] = deque()
        self._context = context
        self._macs = MacChecker(context.static.public, context.random)
        self._load = LoadGauge()
        # Of messages whose source nobody has proved, where cookies are disabled.
        self._unproven = LoadGauge()
        self._limiter = NetworkLimiter()

    def enqueue(self, arrived: Arrived, now: float) -> bool:
        """Keep a message until there is time for it, if it is admitted; say whether it is a handshake message at all.

        One that only looks like it by size and type field may be something else by chance.
        """
        if not self._is_genuine(arrived):
            return False
        if len(self.queue) < MAX_QUEUED and self.admit(arrived, now):
            self.queue.append(arrived)
        return True

    def _is_genuine(self, arrived: Arrived) -> bool:
        if arrived.kind is MessageKind.COOKIE_REPLY:
            _, index, _, _ = COOKIE_REPLY.unpack(arrived.message)
            return index in self._context.pending or index in self._context.sessions
        return self._macs.mac1_matches(arrived.message)

    def admit(self, arrived: Arrived, now: float) -> bool:
        """Whether to spend a handshake's cost on this message; in its stead the sender may get a cookie."""
        if arrived.kind is MessageKind.COOKIE_REPLY:
            return True
        if not self._load.arrival(now) and len(self.queue) < BUSY_BACKLOG:
            return True
        macs, message, source = self._macs, arrived.message, arrived.source
        framing = arrived.framing
        if framing.parameters.disable_cookies:
            # Nobody can prove an address, so each network has its share, and all together what can be worked off.
            return self._limiter.allow(source, now) and self._unproven.take(now)
        if macs.mac2_matches(message, source, now):
            return self._limiter.allow(source, now)
        reply = macs.make_reply(message, source, now, header=framing.header(MessageKind.COOKIE_REPLY))
        # Its source may be forged, so no trailer makes the answer longer than what was asked.
        datagram = framing.wrap(MessageKind.COOKIE_REPLY, reply, width=arrived.size)
        self._context.output.add(datagram, source, framing.number)
        return False

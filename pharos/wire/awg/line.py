"""Where one peer is, and what travels there."""

from abc import ABC, abstractmethod
from typing import Final

import attrs

from pharos.wire.awg.context import Context
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.events import PeerEndpointChanged
from pharos.wire.awg.framing import FIRST_WIDTH, Framing
from pharos.wire.awg.limits import TokenBucket, make_bucket
from pharos.wire.awg.timers import NEVER, PeerTimers
from pharos.wire.awg.timing import Span

NO_KEEPALIVE: Final = Span(0.0, 0.0)


@attrs.define(eq=False, kw_only=True, repr=False)
class Line(ABC):
    """The way to a peer: its address, its face, its counters, its limits, and the timers that traffic moves."""

    context: Context
    public_key: bytes
    endpoint: Address | None = None
    face: int = 0
    width: int = FIRST_WIDTH
    """Bytes of the largest datagram seen or sent at this endpoint, which random trailers may reach."""
    received_bytes: int = 0
    sent_bytes: int = 0
    receive_bucket: TokenBucket | None = None
    send_bucket: TokenBucket | None = None
    timers: PeerTimers = attrs.Factory(PeerTimers)
    wakes_at: float = NEVER
    persistent_keepalive: Span = NO_KEEPALIVE

    @property
    def framing(self) -> Framing:
        """How datagrams to it look."""
        return self.context.face(self.face)

    def move(self, endpoint: Address) -> None:
        """Send to ``endpoint`` from now on; what paths take there is to be learnt anew."""
        if endpoint != self.endpoint:
            self.endpoint = endpoint
            self.width = FIRST_WIDTH

    def limit(self, send_rate: float, receive_rate: float, now: float) -> None:
        """Set the limits. A bucket that stays as it was keeps its tokens, or any change would be worth a burst."""
        if send_rate != (self.send_bucket.rate if self.send_bucket else 0):
            self.send_bucket = make_bucket(send_rate, now)
        if receive_rate != (self.receive_bucket.rate if self.receive_bucket else 0):
            self.receive_bucket = make_bucket(receive_rate, now)

    def emit(self, datagram: bytes, framing: Framing) -> None:
        """Send one datagram as it is."""
        assert self.endpoint is not None
        self.context.output.add(datagram, self.endpoint, framing.number)

    def note_sent(self, octets: int, largest: int, now: float) -> None:
        """Count authentic messages, which also save a keepalive."""
        self.sent_bytes += octets
        self.width = max(self.width, largest)
        self.timers.keepalive = NEVER
        self.note_traversed(now)

    def note_heard(self, octets: int, largest: int, source: Address, face: int, now: float) -> None:
        """Count authentic messages and follow the peer to where they came from."""
        self.received_bytes += octets
        self.timers.no_answer = NEVER
        self.face = face
        if source != self.endpoint:
            previous = self.endpoint
            self.move(source)
            self.context.output.events.append(
                PeerEndpointChanged(peer=self.public_key, endpoint=source, previous=previous)
            )
        self.width = max(self.width, largest)
        self.note_traversed(now)

    def note_traversed(self, now: float) -> None:
        """An authentic message went either way: the NATs between have seen it."""
        if self.persistent_keepalive is not NO_KEEPALIVE:
            self.timers.persistent_keepalive = now + self.persistent_keepalive.draw(self.context.random)
            self.schedule(self.timers.persistent_keepalive)

    @abstractmethod
    def fire_timers(self, now: float) -> None:
        """Do what has come due."""

    def schedule(self, deadline: float) -> None:
        """Have the timers looked at by ``deadline``, which one of them was set to."""
        self.context.deadlines.schedule(self, deadline)

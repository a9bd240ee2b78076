"""One end of a connection as its peer sees it: what segments do to it (RFC 9293 §3.10.7, RFC 5961)."""

from __future__ import annotations

import errno
import math
from typing import Final

from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.handshake import Terms, agree, offer, payload_size
from pharos.wire.awg.netstack.tcp.options import Block, build_syn_options
from pharos.wire.awg.netstack.tcp.receiving import Receiver
from pharos.wire.awg.netstack.tcp.rtt import RoundTrips
from pharos.wire.awg.netstack.tcp.segment import ACK, FIN, RST, SYN, PacketWriter, Segment
from pharos.wire.awg.netstack.tcp.sending import Sender
from pharos.wire.awg.netstack.tcp.sequence import MASK, unwrap
from pharos.wire.awg.netstack.tcp.states import RECEIVING, State, Step, following
from pharos.wire.units import SECONDS

_CHALLENGES: Final = 10
_CHALLENGE_PERIOD: Final = 1 * SECONDS
"""So many answers to what is out of place in so long (RFC 5961 §7): a connection's own, which tells others nothing."""
_FIRST_WINDOW: Final = 0xFFFF


class Endpoint:
    """State, and the two halves once the peer's SYN has come. Sequence numbers do not wrap here."""

    __slots__ = (
        "_abandoned",
        "_challenged_at",
        "_challenges",
        "_config",
        "_heard_at",
        "_isn",
        "_linger_at",
        "_mtu",
        "_out",
        "_probes",
        "_receiver",
        "_sender",
        "_stamp_offset",
        "_syn",
        "_syn_at",
        "_syn_due",
        "_syn_sent_at",
        "_terms",
        "_trips",
        "_writer",
        "_wrote_eof",
        "failure",
        "flow",
        "state",
    )

    def __init__(self, flow: Flow, config: TcpConfig, *, isn: int, now: float, timestamp_offset: int) -> None:
        self.flow = flow
        self.state = State.SYN_SENT
        self.failure: OSError | None = None
        """Why it ended, if not by itself: refused, reset, aborted, timed out, or what ICMP said."""
        self._config = config
        self._mtu = config.mtu
        self._isn = isn
        self._stamp_offset = timestamp_offset
        self._writer = PacketWriter(flow)
        self._out: list[bytes] = []
        self._trips = RoundTrips()
        self._sender: Sender | None = None
        self._receiver: Receiver | None = None
        self._terms: Terms | None = None
        self._syn: Segment | None = None
        """The peer's, until the handshake is over."""
        self._syn_due, self._syn_at = True, math.inf
        """Whether to send our SYN now, and when to send it again."""
        self._syn_sent_at = now
        self._heard_at = now
        self._probes = 0
        """Of keepalive, that were not answered."""
        self._linger_at = math.inf
        """When what is left of a closed connection ends."""
        self._wrote_eof = False
        self._abandoned = False
        """Whether nobody reads or writes any more."""
        self._challenges, self._challenged_at = 0, now

    def receive(self, segment: Segment, now: float) -> None:
        """Take a segment of this flow; nothing in it raises."""
        sender, receiver = self._sender, self._receiver
        if self.state is State.CLOSED:
            return
        if sender is None or receiver is None:
            self._receive_first(segment, now)
            return
        flags = segment.flags
        start = unwrap(segment.seq, receiver.parts.next)
        if flags & SYN and self._is_repeated_syn(segment):
            flags, start = flags & ~SYN, start + 1
            if not flags & ACK:
                # Ours was lost, or crossed it.
                self._syn_due = True
                return
        if not self._is_acceptable(segment, start, flags, receiver, now):
            return
        if not flags & ACK:
            return
        ack = unwrap(segment.ack, sender.una)
        if self.state is State.SYN_RECEIVED and not self._finish_handshake(segment, start, ack, sender, now):
            return
        # RFC 5961 §5.2.
        if not sender.una - sender.largest_window <= ack <= sender.nxt:
            self._challenge(now)
            return
        self._heard_at, self._probes = now, 0
        if segment.timestamp is not None and receiver.recent_stamp is not None:
            receiver.note_stamp(segment.timestamp, start, now)
        self._receive_ack(segment, start, ack, sender, now)
        if segment.payload or flags & FIN:
            self._receive_text(segment, start, flags, receiver, now)

    # The handshake.

    def _receive_first(self, segment: Segment, now: float) -> None:
        """RFC 9293 §3.10.7.3."""
        flags = segment.flags
        answers = bool(flags & ACK)
        if answers and segment.ack != (self._isn + 1) & MASK:
            if not flags & RST:
                self._out.append(self._writer.write(segment.ack, 0, RST, 0, b""))
            return
        if flags & RST:
            if answers:
                self._end(ConnectionRefusedError(errno.ECONNREFUSED, "the connection was refused"))
            return
        if not flags & SYN:
            return
        receiver = self._meet(segment, now)
        self._step(Step.RECEIVED_SYN_ACK if answers else Step.RECEIVED_SYN)
        if not answers:
            self._syn_due = True
            return
        # Our SYN has offered a window already.
        receiver.offer(scaled=False)
        receiver.sent_ack()
        self._establish(segment, receiver.next - 1, now)
        receiver.ack_now = True
        if segment.payload or flags & FIN:
            self._receive_text(segment, receiver.next, flags, receiver, now)

    def _meet(self, syn: Segment, now: float) -> Receiver:
        """Agree on terms with the sender of a SYN."""
        config, local = self._config, self.flow.local
        self._syn = syn
        self._terms = terms = agree(config, local, syn)
        size = payload_size(terms, self._mtu, local)
        self._receiver = receiver = Receiver(syn.seq + 1, config, scale=terms.our_scale, segment_size=size)
        if syn.timestamp is not None:
            receiver.note_stamp(syn.timestamp, syn.seq, now)
        self._sender = Sender(
            self._isn + 1,
            size,
            sack=terms.sack,
            nagle=config.nagle,
            user_timeout=config.user_timeout,
            trips=self._trips,
        )
        self._heard_at = now
        return receiver

    def _is_repeated_syn(self, segment: Segment) -> bool:
        """Whether it is the SYN that made the connection, once more or with the acknowledgement that it lacked."""
        syn = self._syn
        return self.state is State.SYN_RECEIVED and syn is not None and segment.seq == syn.seq

    def _finish_handshake(self, segment: Segment, start: int, ack: int, sender: Sender, now: float) -> bool:
        if ack != sender.nxt:
            self._out.append(self._writer.write(segment.ack, 0, RST, 0, b""))
            return False
        self._step(Step.RECEIVED_ACK_OF_SYN)
        self._establish(segment, start, now)
        return True

    def _establish(self, segment: Segment, start: int, now: float) -> None:
        """Our SYN is acknowledged."""
        sender, terms = self._sender, self._terms
        assert sender is not None
        assert terms is not None
        if not self._trips.backoff:
            self._trips.measure(max(now - self._syn_sent_at, 0.0), now)
        elif self._trips.backoff > 1:
            # A path that loses so much gets little to begin with (RFC 5681 §3.1).
            sender.cubic.window = sender.segment_size
        self._trips.backoff = 0
        # The window of a SYN is never scaled (RFC 7323 §2.2).
        shift = 0 if segment.flags & SYN else terms.peer_scale
        sender.update_window(start, sender.una, segment.window << shift)
        sender.eof = self._wrote_eof
        self._syn, self._syn_due, self._syn_at = None, False, math.inf

    # Everything else.

    def _is_acceptable(self, segment: Segment, start: int, flags: int, receiver: Receiver, now: float) -> bool:
        """Look at sequence number, timestamp, RST and SYN (RFC 9293 §3.10.7.4, RFC 7323 §5.3, RFC 5961 §3 and §4)."""
        following = receiver.next
        end = start + len(segment.payload) + (flags & FIN)
        if not flags & RST and receiver.recent_stamp is not None:
            if segment.timestamp is None:
                return False
            if receiver.is_old(segment, now):
                self._challenge(now)
                return False
        if start != following:
            edge = receiver.edge
            # An empty one may stand at the edge: it says something in its acknowledgement.
            if not (following <= start <= edge if end == start else start < edge and end > following):
                if not flags & RST:
                    self._answer_stranger(segment, start, end, receiver, now)
                return False
        if flags & RST:
            if start == following:
                self._reset()
            else:
                self._challenge(now)
            return False
        if flags & SYN:
            self._challenge(now)
            return False
        return True

    def _answer_stranger(self, segment: Segment, start: int, end: int, receiver: Receiver, now: float) -> None:
        """Answer what is outside the window: most often something that we have, or a question whether we live."""
        size = len(segment.payload)
        if size and end <= receiver.next:
            receiver.take_again(start, start + size)
            receiver.ack_now = True
        else:
            self._challenge(now)
        if self.state is State.TIME_WAIT and segment.flags & FIN:
            self._linger_at = now + self._config.time_wait

    def _challenge(self, now: float) -> None:
        """Say where we are, within bounds: whoever is who he should be will know what to do (RFC 5961 §7)."""
        assert self._receiver is not None
        if now - self._challenged_at >= _CHALLENGE_PERIOD:
            self._challenges, self._challenged_at = 0, now
        if self._challenges < _CHALLENGES:
            self._challenges += 1
            self._receiver.ack_now = True

    def _reset(self) -> None:
        if self.state in (State.CLOSING, State.LAST_ACK, State.TIME_WAIT):
            # All was said on both sides.
            self._end(None if self.state is State.TIME_WAIT else _reset_error())
        elif self.state is State.SYN_RECEIVED:
            self._end(ConnectionRefusedError(errno.ECONNREFUSED, "the connection was refused"))
        else:
            self._end(_reset_error())

    def _receive_ack(self, segment: Segment, start: int, ack: int, sender: Sender, now: float) -> None:
        terms = self._terms
        assert terms is not None
        if ack >= sender.una:
            sender.update_window(start, ack, segment.window << terms.peer_scale)
        blocks: list[Block] = []
        duplicate = None
        if segment.blocks and terms.sack:
            blocks, duplicate = _read_blocks(segment.blocks, ack, sender)
        echo = segment.timestamp[1] if segment.timestamp is not None and terms.timestamps else None
        sender.acknowledge(max(ack, sender.una), blocks, duplicate, echo, now)
        if not self._abandoned:
            sender.heard(now)
        if sender.fin_sent and sender.una == sender.nxt:
            self._finish_sending(now)

    def _finish_sending(self, now: float) -> None:
        """Our FIN is acknowledged."""
        if self.state is State.FIN_WAIT_1:
            self._step(Step.RECEIVED_ACK_OF_FIN)
            if self._abandoned:
                self._linger_at = now + self._config.fin_wait_2
        elif self.state is State.CLOSING:
            self._step(Step.RECEIVED_ACK_OF_FIN)
            self._linger_at = now + self._config.time_wait
        elif self.state is State.LAST_ACK:
            self._step(Step.RECEIVED_ACK_OF_FIN)
            self._linger_at = math.inf

    def _receive_text(self, segment: Segment, start: int, flags: int, receiver: Receiver, now: float) -> None:
        if self.state not in RECEIVING:
            return
        payload = segment.payload
        if self._abandoned and payload and start + len(payload) > receiver.next:
            # Nobody reads it, and its sender has to know (RFC 9293 §3.6, RFC 2525 §2.17).
            self._send_reset()
            self._end(ConnectionAbortedError(errno.ECONNABORTED, "data came after the connection was closed"))
            return
        if flags & FIN:
            receiver.take_fin(start + len(payload))
        if payload:
            receiver.take(start, payload, now)
        if receiver.parts.next == receiver.fin:
            self._step(Step.RECEIVED_FIN)
            if self.state is State.TIME_WAIT:
                self._linger_at = now + self._config.time_wait

    # Endings.

    def _step(self, step: Step) -> None:
        self.state = following(self.state, step)

    def _end(self, failure: OSError | None) -> None:
        self._step(Step.ENDED)
        self.failure = self.failure or failure
        self._syn_due, self._syn_at, self._linger_at = False, math.inf, math.inf

    def _send_reset(self) -> None:
        """Tell the peer that the connection is no more (RFC 9293 §3.10.5)."""
        if self._sender is not None and self._receiver is not None:
            seq, ack = self._sender.nxt & MASK, self._receiver.next & MASK
            self._out.append(self._writer.write(seq, ack, RST | ACK, 0, b""))

    def _write_syn(self, now: float) -> None:
        """Send our SYN, with an acknowledgement if the peer's has come (RFC 9293 §3.5)."""
        config, syn, receiver = self._config, self._syn, self._receiver
        self._syn_due = False
        self._syn_sent_at = now if not self._trips.backoff else self._syn_sent_at
        self._syn_at = now + self._trips.rto
        options = offer(config, self.flow.local, answered=syn)
        stamp = self._stamp(now)
        if syn is None or receiver is None:
            window = min(_FIRST_WINDOW, config.receive_window)
            packed = build_syn_options(options, (stamp, 0))
            self._out.append(self._writer.write(self._isn, 0, SYN, window, packed))
            return
        timestamp = (stamp, syn.timestamp[0]) if syn.timestamp is not None else None
        packed = build_syn_options(options, timestamp)
        window = receiver.offer(scaled=False)
        self._out.append(self._writer.write(self._isn, receiver.next & MASK, SYN | ACK, window, packed))
        receiver.sent_ack()

    def _stamp(self, now: float) -> int:
        """Return the time in milliseconds, of a clock of this connection's own (RFC 7323 §5.4 and §7.1)."""
        return (int(now * 1000) + self._stamp_offset) & MASK


def _reset_error() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "the connection was reset by the other end")


def _read_blocks(blocks: tuple[Block, ...], ack: int, sender: Sender) -> tuple[list[Block], Block | None]:
    """Return what is told to be there, and what came twice (RFC 2018 §3, RFC 2883 §4); nonsense is left out."""
    una, nxt = max(ack, sender.una), sender.nxt
    whole = []
    for left, right in blocks:
        start, end = unwrap(left, una), unwrap(right, una)
        if start < end <= nxt:
            whole.append((start, end))
    duplicate = None
    if whole:
        start, end = whole[0]
        inside = len(whole) > 1 and whole[1][0] <= start and end <= whole[1][1]
        if end <= ack or inside:
            duplicate = whole.pop(0)
    return [block for block in whole if block[0] > una], duplicate

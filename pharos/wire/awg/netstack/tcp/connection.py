"""A TCP connection without I/O, for the program that has it: what it writes, reads and waits for (RFC 9293 §3.9.1)."""

from __future__ import annotations

import errno
import math
import sys

from pharos.wire.awg.netstack.tcp.config import TcpConfig
from pharos.wire.awg.netstack.tcp.endpoint import Endpoint
from pharos.wire.awg.netstack.tcp.flow import Flow
from pharos.wire.awg.netstack.tcp.handshake import payload_size
from pharos.wire.awg.netstack.tcp.options import MAX_BLOCKS, build_blocks, build_timestamp
from pharos.wire.awg.netstack.tcp.receiving import Receiver
from pharos.wire.awg.netstack.tcp.rtt import RoundTrips
from pharos.wire.awg.netstack.tcp.segment import ACK, Header, Segment
from pharos.wire.awg.netstack.tcp.sending import Sender
from pharos.wire.awg.netstack.tcp.sequence import MASK, is_before
from pharos.wire.awg.netstack.tcp.states import SENDING, SYNCHRONIZED, State, Step
from pharos.wire.units import MILLISECONDS

_UNMEASURED_TRIP = 100 * MILLISECONDS


class Connection(Endpoint):
    """One end of a connection.

    After any call that may have changed something `take` gives the packets to send, and `next_deadline` says when
    `tick` wants to be called. Many segments may be received before one `take`: they are acknowledged together.
    ``now`` is any clock in seconds that does not go back. What was received can be read after the end, too.
    """

    __slots__ = ()

    @classmethod
    def dial(cls, flow: Flow, config: TcpConfig, *, isn: int, now: float, timestamp_offset: int = 0) -> Connection:
        """Begin a connection; the next `take` gives its SYN.

        The two numbers are 32 bits of which nobody knows anything beforehand (RFC 9293 §3.4.1, RFC 7323 §7.1).
        """
        return cls(flow, config, isn=isn, now=now, timestamp_offset=timestamp_offset)

    @classmethod
    def accept(
        cls, flow: Flow, syn: Segment, config: TcpConfig, *, isn: int, now: float, timestamp_offset: int = 0
    ) -> Connection:
        """Answer a SYN that a listener got, which has neither ACK nor RST."""
        connection = cls(flow, config, isn=isn, now=now, timestamp_offset=timestamp_offset)
        connection._meet(syn, now)
        connection._step(Step.RECEIVED_SYN)
        return connection

    # What is known.

    @property
    def is_established(self) -> bool:
        """Whether the handshake is over and the connection is not."""
        return self.state in SYNCHRONIZED

    @property
    def readable(self) -> int:
        """Octets that `read` would give."""
        return self._receiver.parts.readable if self._receiver is not None else 0

    @property
    def at_eof(self) -> bool:
        """Whether everything that the peer sent was read, and its FIN has come."""
        receiver = self._receiver
        return receiver is not None and receiver.parts.next == receiver.fin and not receiver.parts.readable

    @property
    def writable(self) -> int:
        """Octets that `write` would take."""
        if self._sender is None or self._wrote_eof or self.state not in SENDING:
            return 0
        return self._sender.room(self._config.send_buffer)

    @property
    def unsent(self) -> int:
        """Octets that were written and are not known to have arrived; an unacknowledged FIN counts as one."""
        return self._sender.unacknowledged if self._sender is not None else 0

    def is_outstanding(self, seq: int) -> bool:
        """Whether a number that ICMP quotes is of something that we sent and nobody acknowledged (RFC 5927 §4.1)."""
        if self._sender is None or self._syn_at < math.inf:
            return seq == self._isn & MASK
        return (seq - self._sender.una) & MASK < max(self._sender.nxt - self._sender.una, 1)

    def may_be_replaced_by(self, syn: Segment) -> bool:
        """Whether a SYN is of a new connection while this one only waits out its time (RFC 6191 §2)."""
        receiver = self._receiver
        if self.state is not State.TIME_WAIT or receiver is None:
            return False
        recent = receiver.recent_stamp
        if syn.timestamp is not None and recent is not None and syn.timestamp[0] != recent:
            return is_before(recent, syn.timestamp[0])
        return is_before((receiver.next - 1) & MASK, syn.seq)

    # What the program does.

    def write(self, data: bytes | bytearray | memoryview, now: float) -> int:
        """Take octets to send, as many as there is room for, and return how many.

        Raises: OSError — `failure`, or BrokenPipeError after `write_eof` or the end.
        """
        if self.failure is not None:
            raise self.failure
        if self._wrote_eof or self.state is State.CLOSED:
            raise BrokenPipeError(errno.EPIPE, "the end was sent already")
        room = self.writable
        if room <= 0 or self._sender is None:
            return 0
        size = len(data)
        if size > room:
            data, size = memoryview(data)[:room], room
        self._sender.write(data)
        return size

    def write_eof(self, now: float) -> None:
        """Send a FIN behind all that was written; once is enough."""
        self._wrote_eof = True
        if self._sender is not None and self.state in SENDING:
            self._sender.eof = True

    def read(self, limit: int, now: float) -> bytes:
        """Return octets that have come, at most ``limit``; nothing where there are none."""
        receiver = self._receiver
        if receiver is None:
            return b""
        data = receiver.parts.read(limit)
        if data and self.state in SYNCHRONIZED and receiver.fin is None:
            receiver.opened(len(data), now, self._trip())
        return data

    def _trip(self) -> float:
        sender = self._sender
        smoothed = sender.trips.smoothed if sender is not None else None
        return _UNMEASURED_TRIP if smoothed is None else smoothed

    def close(self, now: float) -> None:
        """Nobody reads or writes any more: what was written is still delivered, and then the FIN.

        If there is anything unread, or comes, the peer gets a RST. Drive it until it is CLOSED. Once is enough.
        """
        if self._abandoned or self.state is State.CLOSED:
            self._abandoned = True
            return
        receiver = self._receiver
        if receiver is None or self.state is State.SYN_SENT:
            self._end(None)
        elif receiver.parts.readable or receiver.parts.early:
            self.abort(now)
        else:
            self._abandoned = receiver.discarding = True
            self.write_eof(now)
            if self.state is State.FIN_WAIT_2:
                self._linger_at = now + self._config.fin_wait_2
        self._abandoned = True

    def abort(self, now: float) -> None:
        """End it at once; the peer gets a RST."""
        if self.state is State.CLOSED:
            return
        if self.state is not State.TIME_WAIT:
            self._send_reset()
        self._end(ConnectionAbortedError(errno.ECONNABORTED, "the connection was aborted"))

    # What the path says.

    def set_mss(self, mtu: int) -> None:
        """The path takes packets of ``mtu`` bytes at most: what is larger and under way is sent again, in pieces."""
        self._mtu = min(self._mtu, mtu)
        if self._sender is not None and self._terms is not None:
            size = payload_size(self._terms, self._mtu, self.flow.local)
            if size < self._sender.segment_size:
                self._sender.resize(size)

    def unreachable(self, error: OSError) -> None:
        """ICMP says that the peer cannot be reached: that ends what is not established, and nothing else (RFC 5927)."""
        if self.state in (State.SYN_SENT, State.SYN_RECEIVED):
            self._end(error)

    def path_changed(self, now: float) -> None:
        """The packets take another path: send again at once, and forget what was measured of the old one."""
        self._trips = RoundTrips()
        if self._syn_at < math.inf:
            self._trips.backoff = 1
            self._syn_due = True
        if self._sender is not None and self.state is not State.CLOSED:
            self._sender.restart(now)

    # Packets.

    def take(self, now: float, limit: int | None = None) -> list[bytes]:
        """Return the packets to send now. There are ``limit`` of them at most, or a few more; if so many, ask again."""
        if self._syn_due:
            self._write_syn(now)
        out, self._out = self._out, []
        sender, receiver = self._sender, self._receiver
        if sender is not None and receiver is not None and self.state in SYNCHRONIZED:
            self._take(out, sender, receiver, now, sys.maxsize if limit is None else limit)
        return out

    def _take(self, out: list[bytes], sender: Sender, receiver: Receiver, now: float, limit: int) -> None:
        stamp = self._stamp(now)
        recent = receiver.recent_stamp
        options = b"" if recent is None else build_timestamp((stamp, recent))
        header = Header(self._writer, receiver.next & MASK, receiver.offer(), options, stamp)
        before = len(out)
        if receiver.ack_now and receiver.has_blocks and self._terms is not None and self._terms.sack:
            blocks = receiver.blocks(MAX_BLOCKS if recent is None else MAX_BLOCKS - 1)
            out.append(self._write_ack(sender.acceptable, header, build_blocks(blocks)))
        sender.emit(out, header, now, limit)
        if receiver.ack_now and len(out) == before:
            out.append(self._write_ack(sender.acceptable, header))
        if len(out) > before:
            receiver.sent_ack()
        if sender.fin_sent and self.state in SENDING:
            self._step(Step.SENT_FIN)

    def _write_ack(self, seq: int, header: Header, blocks: bytes = b"") -> bytes:
        return self._writer.write(seq & MASK, header.ack, ACK, header.window, header.options + blocks)

    # Time.

    def next_deadline(self) -> float:
        """When to call `tick`; infinity for never. The packets of `take` are not waited for."""
        state = self.state
        if state is State.CLOSED:
            return math.inf
        sender, receiver = self._sender, self._receiver
        if sender is None or receiver is None or state is State.SYN_RECEIVED:
            return min(self._syn_at, self._heard_at + self._config.connect_timeout)
        at = min(sender.deadline, receiver.ack_at, self._linger_at)
        if state is not State.TIME_WAIT:
            at = min(at, self._keepalive_at(sender))
        return at

    def _keepalive_at(self, sender: Sender) -> float:
        config = self._config
        if config.keepalive_idle is None or sender.unacknowledged:
            return math.inf
        return self._heard_at + config.keepalive_idle + self._probes * config.keepalive_interval

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.state is State.CLOSED:
            return
        sender, receiver = self._sender, self._receiver
        if sender is None or receiver is None or self.state is State.SYN_RECEIVED:
            self._tick_handshake(now)
            return
        if now >= receiver.ack_at:
            receiver.ack_now = True
            receiver.ack_at = math.inf
        if now >= self._linger_at:
            self._step(Step.WAITED)
            self._linger_at = math.inf
        elif sender.tick(now):
            self._give_up()
        elif now >= self._keepalive_at(sender) and self.state is not State.TIME_WAIT:
            self._ask_alive(sender, receiver, now)

    def _tick_handshake(self, now: float) -> None:
        if now >= self._heard_at + self._config.connect_timeout:
            self._send_reset()
            self._end(TimeoutError(errno.ETIMEDOUT, "the other end does not answer"))
        elif now >= self._syn_at:
            self._trips.backoff += 1
            self._syn_due = True

    def _ask_alive(self, sender: Sender, receiver: Receiver, now: float) -> None:
        if self._probes >= self._config.keepalive_probes:
            self._give_up()
            return
        self._probes += 1
        recent = receiver.recent_stamp
        options = b"" if recent is None else build_timestamp((self._stamp(now), recent))
        seq = (sender.una - 1) & MASK
        self._out.append(self._writer.write(seq, receiver.next & MASK, ACK, receiver.offer(), options))

    def _give_up(self) -> None:
        self._send_reset()
        self._end(TimeoutError(errno.ETIMEDOUT, "the other end does not answer any more"))

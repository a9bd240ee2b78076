"""One peer of a device: its sessions, its handshakes and its timers (wireguard.pdf §6)."""

from collections.abc import Sequence
from typing import Final

import attrs

from pharos.wire.awg.allowedips import Place
from pharos.wire.awg.batches import Packet
from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.events import (
    HandshakeCompleted,
    HandshakeGaveUp,
    PeerStatus,
    SessionEnded,
)
from pharos.wire.awg.framing import Framing
from pharos.wire.awg.handshake import AuthenticInitiation, RemoteStatic, TransportKeys
from pharos.wire.awg.handshaker import Handshaker
from pharos.wire.awg.line import NO_KEEPALIVE, Line
from pharos.wire.awg.sending import OutgoingBuffer
from pharos.wire.awg.session import Session, Sessions
from pharos.wire.awg.timers import NEVER
from pharos.wire.awg.timing import MAX_STAGED, REKEY_AFTER_MESSAGES, to_span
from pharos.wire.errors import DecryptError

_KEEPALIVE: Final = (b"",)


@attrs.define(eq=False, kw_only=True, repr=False)
class Peer(Line):
    """The device routes to it; what it has to say goes into the context's output."""

    remote: RemoteStatic
    config: PeerConfig
    """As it was given last, but without its networks; the endpoint and the face may have changed since."""
    handshaker: Handshaker
    places: tuple[Place, ...] = ()
    """The networks it was given; others may have taken some of them since."""
    sessions: Sessions = attrs.Factory(Sessions)
    last_handshake_ns: int | None = None

    _staged: tuple[bytes, ...] | list[bytes] = ()
    # Set when a further packet arrives while the passive keepalive is already due.
    _keepalive_again: bool = False
    # The handshake that receiving brings about happens once per session, however much arrives.
    _rekeyed_on_receive: bool = False

    def __repr__(self) -> str:
        return f"<Peer {self.public_key.hex()[:8]}… at {self.endpoint}>"

    # What the operator wants

    def configure(self, config: PeerConfig, remote: RemoteStatic, now: float) -> None:
        """Take a configuration. Sessions live on unless a key is another one."""
        if remote != self.remote:
            self.drop_sessions()
        if config.face != self.config.face:
            self.face = config.face
        self.remote, self.config = remote, config
        if config.endpoint is not None:
            self.move(config.endpoint)
        self.limit(config.send_rate, config.receive_rate, now)
        persistent_keepalive = to_span(config.persistent_keepalive)
        if persistent_keepalive == NO_KEEPALIVE:
            self.persistent_keepalive, self.timers.persistent_keepalive = NO_KEEPALIVE, NEVER
        elif persistent_keepalive != self.persistent_keepalive:
            self.persistent_keepalive, self.timers.persistent_keepalive = persistent_keepalive, NEVER
            self.send_keepalive(now)

    def drop_sessions(self) -> None:
        """Let every session, pending handshake and staged packet go, at once."""
        self._release(self.sessions.clear())
        self._forget_pending()
        self._staged = ()
        if self.timers.expire != NEVER:
            self._ended()
        self.timers.stop_all_but_persistent()

    def status(self, now: float) -> PeerStatus:
        session = self._sendable(now)
        return PeerStatus(
            public_key=self.public_key,
            endpoint=self.endpoint,
            last_handshake_ns=self.last_handshake_ns,
            session_age=None if session is None else now - session.created_at,
            received_bytes=self.received_bytes,
            sent_bytes=self.sent_bytes,
            unanswered=self.timers.no_answer != NEVER,
        )

    # Packets out

    def send(self, packets: Sequence[Packet], outgoing: OutgoingBuffer, now: float, *, one_size: bool = False) -> None:
        """Seal inner packets into ``outgoing``, or stage them while a handshake makes a session.

        ``one_size`` promises that they are.
        """
        if self.endpoint is None:
            return  # Nobody knows where to; kept packets would only arrive absurdly late.
        session = self._sendable(now)
        if session is None:
            self._stage(packets)
            self.initiate(now)
            return
        if self.send_bucket is not None:
            packets = self.send_bucket.admit(packets, now)
            one_size = False
        if packets:
            self._seal(session, packets, outgoing, now, one_size=one_size)
            if self.timers.no_answer == NEVER:
                context = self.context
                self.timers.no_answer = now + context.timing.draw_no_answer(context.random) + self.handshaker.jitter
                self.schedule(self.timers.no_answer)

    def send_keepalive(self, now: float) -> None:
        """Send an empty message; without a session begin a handshake, which says as much."""
        session = self._sendable(now)
        if session is None or self.endpoint is None:
            self.initiate(now)
        else:
            self._seal(session, _KEEPALIVE, self.context.outgoing, now)
            self.context.collect_sealed()

    def _sendable(self, now: float) -> Session | None:
        session = self.sessions.current
        return session if session is not None and session.usable(now) else None

    def _stage(self, packets: Sequence[Packet]) -> None:
        self._staged = [*self._staged, *map(bytes, packets)][-MAX_STAGED:]

    def _flush_staged(self, now: float) -> None:
        staged, self._staged = self._staged, ()
        if staged:
            self.send(staged, self.context.outgoing, now)
            self.context.collect_sealed()

    def _seal(
        self,
        session: Session,
        packets: Sequence[Packet],
        outgoing: OutgoingBuffer,
        now: float,
        *,
        one_size: bool = False,
    ) -> None:
        assert self.endpoint is not None
        context, before = self.context, outgoing.size
        seal = context.sealer.seal_segments if one_size else context.sealer.seal_packets
        largest = seal(
            packets,
            session=session,
            framing=self.framing,
            mtu=context.mtu,
            width=self.width,
            address=self.endpoint,
            outgoing=outgoing,
        )
        self.note_sent(outgoing.size - before, largest, now)
        if session.sent_count > REKEY_AFTER_MESSAGES or now > session.rekey_at:
            self.initiate(now)

    # Packets in

    def accept_run(
        self,
        session: Session,
        *,
        octets: int,
        largest: int,
        carries_data: bool,
        source: Address,
        face: int,
        now: float,
    ) -> None:
        """Take note of authentic transport messages on one session, ``octets`` in all; keepalives carry no data."""
        self.note_heard(octets, largest, source, face, now)
        if session is self.sessions.next:
            self._release(self.sessions.confirm_next())
            self._completed(session, now)
            self._flush_staged(now)
        current = self.sessions.current
        if current is not None and now > current.rekey_on_receive_at and not self._rekeyed_on_receive:
            self._rekeyed_on_receive = True
            self.initiate(now)
        if carries_data:
            if self.timers.keepalive == NEVER:
                self._arm_keepalive(now)
            else:
                self._keepalive_again = True

    def _arm_keepalive(self, now: float) -> None:
        context = self.context
        self.timers.keepalive = now + context.timing.keepalive.draw(context.random)
        self.schedule(self.timers.keepalive)

    # Handshakes

    def initiate(self, now: float, *, retry: bool = False) -> None:
        """Send an initiation, or have it sent once the last is old enough; only a retry counts towards giving up."""
        if self.endpoint is None:
            return
        context = self.context
        if not retry:
            self.handshaker.attempts = 0
            may_begin_at = self.handshaker.may_begin_at()
            if now < may_begin_at:
                if self.timers.repeat_initiation == NEVER:
                    self._arm_repeat(may_begin_at)
                return
        self._forget_pending()
        framing = self.framing
        opening, initiation = self.handshaker.begin(self.remote, framing, now, width=self.width)
        assert self.handshaker.pending is not None
        context.pending[self.handshaker.pending.index] = self
        for datagram in opening:
            self.emit(datagram, framing)
        self.emit(initiation, framing)
        self.note_sent(len(initiation), len(initiation), now)
        self._arm_repeat(now + context.timing.rekey_timeout.draw(context.random) + self.handshaker.jitter)

    def _arm_repeat(self, deadline: float) -> None:
        self.timers.repeat_initiation = deadline
        self.schedule(deadline)

    def accept_initiation(
        self, initiation: AuthenticInitiation, size: int, source: Address, framing: Framing, now: float
    ) -> None:
        """Answer the peer's initiation, unless it is an old one or comes on the heels of another.

        Raises: DecryptError — its ephemeral key is a point of small order.
        """
        answer = self.handshaker.answer(initiation, framing, now, width=self.width)
        if answer is None:
            return
        response, keys = answer
        session = self._new_session(keys, now)
        self._release(self.sessions.install_answered(session))
        self._adopt(session, now)
        self.note_heard(size, size, source, framing.number, now)
        self.emit(response, framing)
        self.note_sent(len(response), len(response), now)

    def accept_response(self, message: bytes, size: int, source: Address, framing: Framing, now: float) -> None:
        """Take the response to our initiation and use the session at once, which tells the peer so.

        Raises: DecryptError — it is not a response to it.
        """
        if self.handshaker.pending is None:
            raise DecryptError("a response to nothing")
        keys = self.handshaker.pending.finish(message)
        self._forget_pending()
        session = self._new_session(keys, now)
        self._release(self.sessions.install_initiated(session))
        self._adopt(session, now)
        self.note_heard(size, size, source, framing.number, now)
        self._completed(session, now)
        if self._staged:
            self._flush_staged(now)
        else:
            self.send_keepalive(now)

    def _new_session(self, keys: TransportKeys, now: float) -> Session:
        timing, random = self.context.timing, self.context.random
        return Session(
            keys,
            now=now,
            reject_after=timing.session_lifetime,
            rekey_after=timing.rekey_after.draw(random),
            rekey_on_receive_after=timing.draw_rekey_on_receive(random),
        )

    def _adopt(self, session: Session, now: float) -> None:
        self.context.sessions[session.local_index] = (self, session)
        self._arm_forget(now)

    def _completed(self, session: Session, now: float) -> None:
        """Both ends are known to hold ``session``."""
        context = self.context
        self.handshaker.attempts = 0
        self._rekeyed_on_receive = False
        self.timers.repeat_initiation = NEVER
        self.timers.expire = session.expires_at
        self.schedule(self.timers.expire)
        self.last_handshake_ns = context.wall_clock()
        assert self.endpoint is not None
        context.output.events.append(
            HandshakeCompleted(
                peer=self.public_key,
                endpoint=self.endpoint,
                initiator=session.initiator,
                at_ns=self.last_handshake_ns,
            )
        )

    def _forget_pending(self) -> None:
        if self.handshaker.pending is not None:
            del self.context.pending[self.handshaker.pending.index]
            self.handshaker.pending = None

    def _release(self, sessions: list[Session]) -> None:
        for session in sessions:
            del self.context.sessions[session.local_index]

    def _arm_forget(self, now: float) -> None:
        self.timers.forget = now + self.context.timing.forget_after
        self.schedule(self.timers.forget)

    # Timers

    def fire_timers(self, now: float) -> None:
        """Do what has come due; every timer that fires is cleared or moved on."""
        timers = self.timers
        if timers.expire <= now:
            timers.expire = NEVER
            self._ended()
        if timers.forget <= now:
            timers.forget = NEVER
            self._release(self.sessions.clear())
            if timers.repeat_initiation == NEVER:
                self._forget_pending()
        if timers.repeat_initiation <= now:
            timers.repeat_initiation = NEVER
            self._repeat_initiation(now)
        if timers.keepalive <= now:
            timers.keepalive = NEVER
            self.send_keepalive(now)
            if self._keepalive_again:
                self._keepalive_again = False
                self._arm_keepalive(now)
        if timers.no_answer <= now:
            timers.no_answer = NEVER
            self.initiate(now)
        if timers.persistent_keepalive <= now:
            timers.persistent_keepalive = NEVER
            self.send_keepalive(now)
            if timers.persistent_keepalive == NEVER:
                self.note_traversed(now)  # Nothing could be sent; try again after another interval.

    def _ended(self) -> None:
        self.context.output.events.append(SessionEnded(peer=self.public_key))

    def _repeat_initiation(self, now: float) -> None:
        if self.handshaker.may_repeat():
            self.initiate(now, retry=True)
            return
        self.timers.keepalive = NEVER
        self._staged = ()
        if self.timers.forget == NEVER:
            self._arm_forget(now)
        self.context.output.events.append(HandshakeGaveUp(peer=self.public_key, attempts=self.handshaker.attempts))

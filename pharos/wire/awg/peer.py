"""One peer of a device: its sessions, its handshakes and its timers (wireguard.pdf §6)."""

from ipaddress import IPv4Network, IPv6Network
from typing import Final

import attrs

from pharos.wire.awg.config import PeerConfig
from pharos.wire.awg.context import Context
from pharos.wire.awg.endpoint import Address
from pharos.wire.awg.events import (
    HandshakeCompleted,
    HandshakeGaveUp,
    PeerEndpointChanged,
    PeerStatus,
    SessionEnded,
)
from pharos.wire.awg.handshake import AuthenticInitiation, RemoteStatic
from pharos.wire.awg.handshaker import Handshaker
from pharos.wire.awg.messages import MessageKind
from pharos.wire.awg.session import Session, Sessions
from pharos.wire.awg.timers import NEVER, PeerTimers
from pharos.wire.awg.timing import MAX_STAGED, REKEY_AFTER_MESSAGES
from pharos.wire.errors import DecryptError

_PADDING_UNIT: Final = 16
_ZEROS: Final = bytes(_PADDING_UNIT)


@attrs.define(eq=False, kw_only=True, repr=False)
class Peer:
    """The device routes to it; what it has to say goes into the context's output."""

    context: Context
    remote: RemoteStatic
    handshaker: Handshaker
    allowed_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    endpoint: Address | None = None
    persistent_keepalive: float = 0.0
    timers: PeerTimers = attrs.Factory(PeerTimers)
    wakes_at: float = NEVER
    sessions: Sessions = attrs.Factory(Sessions)
    received_bytes: int = 0
    sent_bytes: int = 0
    last_handshake_ns: int | None = None

    _staged: list[bytes] = attrs.Factory(list)
    # Set when a further packet arrives while the passive keepalive is already due.
    _keepalive_again: bool = False
    # The handshake that receiving brings about happens once per session, however much arrives.
    _rekeyed_on_receive: bool = False

    def __repr__(self) -> str:
        return f"<Peer {self.remote.public.hex()[:8]}… at {self.endpoint}>"

    # What the operator wants

    def configure(self, config: PeerConfig, remote: RemoteStatic, now: float) -> None:
        """Take a configuration. Sessions live on unless the preshared key is another one."""
        if remote.preshared_key != self.remote.preshared_key:
            self.drop_sessions()
        self.remote = remote
        self.allowed_ips = config.allowed_ips
        if config.endpoint is not None:
            self.endpoint = config.endpoint
        if config.persistent_keepalive != self.persistent_keepalive:
            self.persistent_keepalive = config.persistent_keepalive
            self.timers.persistent_keepalive = NEVER
            if self.persistent_keepalive:
                self.send_keepalive(now)

    def drop_sessions(self) -> None:
        """Let every session, pending handshake and staged packet go, at once."""
        self._release(self.sessions.clear())
        self._forget_pending()
        self._staged.clear()
        if self.timers.expire != NEVER:
            self._ended()
        self.timers.stop_all_but_persistent()

    def status(self, now: float) -> PeerStatus:
        session = self._sendable(now)
        return PeerStatus(
            public_key=self.remote.public,
            endpoint=self.endpoint,
            last_handshake_ns=self.last_handshake_ns,
            session_age=None if session is None else now - session.created_at,
            received_bytes=self.received_bytes,
            sent_bytes=self.sent_bytes,
        )

    # Packets out

    def send_packet(self, packet: bytes, now: float) -> None:
        """Send one inner packet, or stage it while a handshake makes a session."""
        if self.endpoint is None:
            return  # Nobody knows where to; kept packets would only arrive absurdly late.
        session = self._sendable(now)
        if session is None:
            if len(self._staged) >= MAX_STAGED:
                del self._staged[0]
            self._staged.append(packet)
            self.initiate(now)
            return
        self._transmit(session, packet, now)

    def send_keepalive(self, now: float) -> None:
        """Send an empty message; without a session begin a handshake, which says as much."""
        session = self._sendable(now)
        if session is None or self.endpoint is None:
            self.initiate(now)
        else:
            self._transmit(session, b"", now)

    def _sendable(self, now: float) -> Session | None:
        session = self.sessions.current
        return session if session is not None and session.usable(now) else None

    def _transmit(self, session: Session, packet: bytes, now: float) -> None:
        context = self.context
        size = len(packet)
        if size:
            # Up to a multiple of 16, but a packet of full size must not outgrow the path.
            padding = min(-size % _PADDING_UNIT, context.mtu - size)
            if padding > 0:
                packet += _ZEROS[:padding]
            if self.timers.no_answer == NEVER:
                self.timers.no_answer = now + context.timing.no_answer_after + self.handshaker.jitter
                context.deadlines.schedule(self, self.timers.no_answer)
        framing = context.framing
        message = session.seal(framing.header(MessageKind.TRANSPORT), packet)
        self._emit(framing.wrap(MessageKind.TRANSPORT, message), now)
        if session.sent_count > REKEY_AFTER_MESSAGES or (
            session.initiator and now - session.created_at > context.timing.rekey_after
        ):
            self.initiate(now)

    def _flush_staged(self, session: Session, now: float) -> None:
        staged, self._staged = self._staged, []
        for packet in staged:
            self._transmit(session, packet, now)

    def _emit(self, datagram: bytes, now: float) -> None:
        """Send an authentic message, which also saves a keepalive."""
        assert self.endpoint is not None
        self.sent_bytes += len(datagram)
        self.context.output.datagrams.append((datagram, self.endpoint))
        self.timers.keepalive = NEVER
        self._traversed(now)

    def _traversed(self, now: float) -> None:
        """An authentic message went either way: the NATs between have seen it."""
        if self.persistent_keepalive:
            self.timers.persistent_keepalive = now + self.persistent_keepalive
            self.context.deadlines.schedule(self, self.timers.persistent_keepalive)

    # Packets in

    def accept_transport(
        self, session: Session, plaintext: bytes, size: int, source: Address, now: float
    ) -> bytes | None:
        """Take an authentic transport message; returns the padded packet in it, None for a keepalive."""
        self._authentic(size, source, now)
        if session is self.sessions.next:
            self._release(self.sessions.confirm_next())
            self._completed(session, now)
            self._flush_staged(session, now)
        current = self.sessions.current
        if (
            current is not None
            and current.initiator
            and not self._rekeyed_on_receive
            and now - current.created_at > self.context.timing.rekey_on_receive_after
        ):
            self._rekeyed_on_receive = True
            self.initiate(now)
        # A first byte of zero is no IP version: newer AmneziaWG pads keepalives too.
        if not plaintext or not plaintext[0]:
            return None
        if self.timers.keepalive == NEVER:
            self._arm_keepalive(now)
        else:
            self._keepalive_again = True
        return plaintext

    def _authentic(self, size: int, source: Address, now: float) -> None:
        """Count an authentic message and follow the peer to where it came from."""
        self.received_bytes += size
        self.timers.no_answer = NEVER
        if source != self.endpoint:
            previous, self.endpoint = self.endpoint, source
            self.context.output.events.append(
                PeerEndpointChanged(peer=self.remote.public, endpoint=source, previous=previous)
            )
        self._traversed(now)

    def _arm_keepalive(self, now: float) -> None:
        self.timers.keepalive = now + self.context.timing.keepalive
        self.context.deadlines.schedule(self, self.timers.keepalive)

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
        junk, initiation = self.handshaker.begin(self.remote, now)
        assert self.handshaker.pending is not None
        context.pending[self.handshaker.pending.index] = self
        for datagram in junk:
            context.output.datagrams.append((datagram, self.endpoint))
        self._emit(initiation, now)
        self._arm_repeat(now + context.timing.rekey_timeout + self.handshaker.jitter)

    def _arm_repeat(self, deadline: float) -> None:
        self.timers.repeat_initiation = deadline
        self.context.deadlines.schedule(self, deadline)

    def accept_initiation(self, initiation: AuthenticInitiation, size: int, source: Address, now: float) -> None:
        """Answer the peer's initiation, unless it is an old one or comes on the heels of another.

        Raises: DecryptError — its ephemeral key is a point of small order.
        """
        answer = self.handshaker.answer(initiation, now)
        if answer is None:
            return
        response, keys = answer
        session = Session(keys, now=now, reject_after=self.context.timing.reject_after)
        self._release(self.sessions.install_answered(session))
        self._adopt(session, now)
        self._authentic(size, source, now)
        self._emit(response, now)

    def accept_response(self, message: bytes, size: int, source: Address, now: float) -> None:
        """Take the response to our initiation and use the session at once, which tells the peer so.

        Raises: DecryptError — it is not a response to it.
        """
        if self.handshaker.pending is None:
            raise DecryptError("a response to nothing")
        keys = self.handshaker.pending.finish(message)
        self._forget_pending()
        session = Session(keys, now=now, reject_after=self.context.timing.reject_after)
        self._release(self.sessions.install_initiated(session))
        self._adopt(session, now)
        self._authentic(size, source, now)
        self._completed(session, now)
        if self._staged:
            self._flush_staged(session, now)
        else:
            self.send_keepalive(now)

    def _adopt(self, session: Session, now: float) -> None:
        self.context.sessions[session.local_index] = (self, session)
        self._arm_forget(now)

    def _completed(self, session: Session, now: float) -> None:
        """Both ends are known to hold ``session``."""
        context = self.context
        self.handshaker.attempts = 0
        self._rekeyed_on_receive = False
        self.timers.repeat_initiation = NEVER
        self.timers.expire = session.created_at + context.timing.reject_after
        context.deadlines.schedule(self, self.timers.expire)
        self.last_handshake_ns = context.wall_clock()
        assert self.endpoint is not None
        context.output.events.append(
            HandshakeCompleted(
                peer=self.remote.public,
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
        self.context.deadlines.schedule(self, self.timers.forget)

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
                self._traversed(now)  # Nothing could be sent; try again after another interval.

    def _ended(self) -> None:
        self.context.output.events.append(SessionEnded(peer=self.remote.public))

    def _repeat_initiation(self, now: float) -> None:
        if self.handshaker.attempts < self.context.timing.max_attempts:
            self.initiate(now, retry=True)
            return
        self.timers.keepalive = NEVER
        self._staged.clear()
        if self.timers.forget == NEVER:
            self._arm_forget(now)
        self.context.output.events.append(HandshakeGaveUp(peer=self.remote.public, attempts=self.handshaker.attempts))

"""Transport sessions: one pair of keys and its counters, and the three of them a peer may hold."""

from struct import Struct
from typing import Final

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pharos.wire.awg.handshake import TransportKeys
from pharos.wire.awg.messages import TRANSPORT_HEADER
from pharos.wire.awg.replay import ReplayWindow
from pharos.wire.awg.timing import REJECT_AFTER_MESSAGES

_NONCE: Final = Struct("<4xQ")
_HEADER_BYTES: Final = TRANSPORT_HEADER.size


class Session:
    """Seals and opens transport messages under the keys of one handshake. Its methods run once per packet."""

    __slots__ = (
        "_decrypt",
        "_encrypt",
        "_expires_at",
        "_remote_index",
        "_replay",
        "created_at",
        "initiator",
        "local_index",
        "sent_count",
    )

    def __init__(self, keys: TransportKeys, *, now: float, reject_after: float) -> None:
        self.local_index = keys.local_index
        self.initiator = keys.initiator
        self.created_at = now
        self.sent_count = 0
        self._remote_index = keys.remote_index
        self._expires_at = now + reject_after
        self._encrypt = ChaCha20Poly1305(keys.send).encrypt
        self._decrypt = ChaCha20Poly1305(keys.receive).decrypt
        self._replay = ReplayWindow()

    def __repr__(self) -> str:
        return f"<Session {self.local_index:08x} {'initiated' if self.initiator else 'answered'}>"

    def usable(self, now: float) -> bool:
        """Whether it may still carry packets."""
        return now < self._expires_at and self.sent_count < REJECT_AFTER_MESSAGES

    def seal(self, header: int, plaintext: bytes) -> bytes:
        """Make the next transport message; the caller has asked ``usable`` before."""
        counter = self.sent_count
        self.sent_count = counter + 1
        return TRANSPORT_HEADER.pack(header, self._remote_index, counter) + self._encrypt(
            _NONCE.pack(counter), plaintext, None
        )

    def open(self, counter: int, message: bytes, now: float) -> bytes | None:
        """Return the plaintext of a transport message, or None if it is forged, played again or too late.

        None rather than an error: whoever can send us a datagram chooses how often this happens.
        """
        if now >= self._expires_at or counter >= REJECT_AFTER_MESSAGES:
            return None
        try:
            plaintext = self._decrypt(_NONCE.pack(counter), message[_HEADER_BYTES:], None)
        except InvalidTag:
            return None
        return plaintext if self._replay.accept(counter) else None


@attrs.define(eq=False)
class Sessions:
    """The sessions of one peer. Each method returns those that it dropped, whose indices are then free."""

    current: Session | None = None
    """The one we send on."""
    previous: Session | None = None
    """The one before, for what is still under way."""
    next: Session | None = None
    """Answered by us and not yet used by the initiator: until then the handshake may have been a replay."""

    def install_initiated(self, session: Session) -> list[Session]:
        """Send on ``session`` from now on: its response came, so the peer has it."""
        dropped = [self.previous, self.current if self.next is not None else None]
        self.previous = self.next if self.next is not None else self.current
        self.current, self.next = session, None
        return _present(dropped)

    def install_answered(self, session: Session) -> list[Session]:
        """Hold ``session`` until the initiator confirms it."""
        dropped = [self.next, self.previous]
        self.next, self.previous = session, None
        return _present(dropped)

    def confirm_next(self) -> list[Session]:
        """Send on ``next`` from now on: an authentic message came in on it."""
        dropped = [self.previous]
        self.previous, self.current, self.next = self.current, self.next, None
        return _present(dropped)

    def clear(self) -> list[Session]:
        dropped = [self.previous, self.current, self.next]
        self.previous = self.current = self.next = None
        return _present(dropped)


def _present(sessions: list[Session | None]) -> list[Session]:
    return [session for session in sessions if session is not None]

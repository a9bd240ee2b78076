"""Transport sessions: one pair of keys and its counters, and the three of them a peer may hold."""

from struct import Struct
from typing import Final

import attrs
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pharos.wire.awg.handshake import TransportKeys
from pharos.wire.awg.replay import ReplayWindow
from pharos.wire.awg.timers import NEVER
from pharos.wire.awg.timing import REJECT_AFTER_MESSAGES

NONCE: Final = Struct("<4xQ")
"""Of a transport message, from its counter."""


class Session:
    """The keys of one handshake, as ciphers, and its counters; ``sending`` and ``receiving`` work with them."""

    __slots__ = (
        "created_at",
        "decrypt_into",
        "encrypt_into",
        "expires_at",
        "initiator",
        "local_index",
        "rekey_at",
        "rekey_on_receive_at",
        "remote_index",
        "replay",
        "sent_count",
    )

    def __init__(
        self,
        keys: TransportKeys,
        *,
        now: float,
        reject_after: float,
        rekey_after: float = NEVER,
        rekey_on_receive_after: float = NEVER,
    ) -> None:
        self.local_index = keys.local_index
        self.remote_index = keys.remote_index
        self.initiator = keys.initiator
        self.created_at = now
        self.expires_at = now + reject_after
        # Only who began a handshake begins the next by age, or both ends would.
        self.rekey_at = now + rekey_after if keys.initiator else NEVER
        self.rekey_on_receive_at = now + rekey_on_receive_after if keys.initiator else NEVER
        self.sent_count = 0
        self.encrypt_into = ChaCha20Poly1305(keys.send).encrypt_into
        self.decrypt_into = ChaCha20Poly1305(keys.receive).decrypt_into
        self.replay = ReplayWindow()

    def __repr__(self) -> str:
        return f"<Session {self.local_index:08x} {'initiated' if self.initiator else 'answered'}>"

    def usable(self, now: float) -> bool:
        """Whether it may still carry packets."""
        return now < self.expires_at and self.sent_count < REJECT_AFTER_MESSAGES


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

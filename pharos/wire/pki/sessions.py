"""Live sessions and the deny list in force: who is revoked is not only kept out, but put out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from pharos.wire.errors import PeerRejectedError
from pharos.wire.pki.denylist import DenyCheck
from pharos.wire.pki.profile import spki_hash
from pharos.wire.pki.roles import Identity
from pharos.wire.pki.trust import load_certificate


@attrs.define(eq=False)
class _Session:
    identity: Identity
    spki_hash: bytes
    cut: Callable[[], None]


@attrs.define
class Sessions:
    """The sessions of one daemon with members that showed a certificate, in either direction."""

    deny: DenyCheck | None = None
    """What to give to `authorize_peer` and `admit_peer` next; changed by `apply`."""
    _live: set[_Session] = attrs.field(factory=set, init=False, repr=False)

    @contextmanager
    def session(
        self, identity: Identity, certificate: bytes, *, cut: Callable[[], None], key_hash: bytes | None = None
    ) -> Iterator[None]:
        """Count a session for the length of the block.

        `identity` is what `authorize_peer` made of the DER `certificate`. `cut` has to end the session without waiting,
        as `CancelScope.cancel` does; it is called at most once, from within `apply`. `key_hash` is the certificate's
        `spki_hash`, where the caller knows it: to find it takes 0.2 ms.

        Raises: PeerRejectedError — a list that came after the handshake's check denies the peer.
        """
        session = _Session(identity, key_hash or spki_hash(load_certificate(certificate).public_key()), cut)
        if self.deny is not None and self.deny.denies(session.identity, session.spki_hash):
            raise PeerRejectedError(f"{identity.uri} was revoked")
        self._live.add(session)
        try:
            yield
        finally:
            self._live.discard(session)

    def apply(self, deny: DenyCheck) -> tuple[Identity, ...]:
        """Put a list in force, cut the sessions that it denies, and return whose they were."""
        self.deny = deny
        denied = [session for session in self._live if deny.denies(session.identity, session.spki_hash)]
        self._live.difference_update(denied)
        for session in denied:
            session.cut()
        return tuple(session.identity for session in denied)

"""What a node or relay goes by in every handshake: who it is, whom it believes, whom it denies, what time it is.

All of it may change under a listener that stays open: new handshakes go by the new, sessions that the deny list denies
are cut, and all others live on.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from pharos.wire.agent import Membership
from pharos.wire.pki.clockfloor import ClockFloor
from pharos.wire.pki.denylist import DenyList
from pharos.wire.pki.roles import Identity, ListenerPolicy, Role
from pharos.wire.pki.sessions import Sessions
from pharos.wire.pki.tls import server_context
from pharos.wire.pki.trust import Trust
from pharos.wire.pki.verify import admit_peer
from pharos.wire.world import utc_now


class Standing:
    """One daemon's place in its fleet, as it is now."""

    def __init__(self, membership: Membership, *, wall: Callable[[], datetime.datetime] = utc_now) -> None:
        self.membership = membership
        """Changed by `become` and `believe`."""
        self.deny_list: DenyList | None = None
        """Changed by `deny`."""
        self.sessions: Final = Sessions()
        """The live ones with members that showed a certificate."""
        self.floor = ClockFloor()
        self._wall = wall
        self._contexts: dict[ListenerPolicy, ssl.SSLContext] = {}

    def now(self) -> datetime.datetime:
        """Return the time to judge certificates by."""
        return self.floor.now(self._wall())

    def become(self, membership: Membership) -> None:
        """Show another certificate from now on."""
        self.membership = membership
        self._contexts.clear()

    def believe(self, trust: Trust) -> None:
        """Believe these authorities from now on."""
        if self.membership.identity.role is Role.NODE:
            # No node ever meets a device's certificate, so it has nothing to judge one by.
            trust = attrs.evolve(trust, device_ca=None, next_device_ca=None)
        self.become(attrs.evolve(self.membership, trust=trust))

    def deny(self, deny_list: DenyList) -> tuple[Identity, ...]:
        """Put a deny list in force, and return whose sessions that has cut."""
        self.deny_list = deny_list
        return self.sessions.apply(deny_list)

    def context(self, policy: ListenerPolicy) -> ssl.SSLContext:
        """Return the TLS context for the next handshake of a listener."""
        context = self._contexts.get(policy)
        if context is None:
            membership = self.membership
            context = server_context(membership.credentials, trust=membership.trust, policy=policy)
            self._contexts[policy] = context
        return context

    def admit(self, policy: ListenerPolicy, certificate: bytes | None) -> Identity | None:
        """Return who stands before a listener; None is a stranger.

        Raises: PeerRejectedError — the policy or the deny list does not admit the peer.
        """
        return admit_peer(policy, certificate, trust=self.membership.trust, now=self.now(), deny=self.sessions.deny)

    @contextmanager
    def session(self, identity: Identity | None, certificate: bytes | None) -> Iterator[None]:
        """Hold a member's session for the length of the block, which ends early when a deny list denies the member.

        Raises: PeerRejectedError — a list that came after the handshake's check denies it.
        """
        if identity is None or certificate is None:
            yield
            return
        known = self.membership.trust.verified.recall(certificate, self.now())
        key_hash = None if known is None else known.spki_hash
        with (
            trio.CancelScope() as scope,
            self.sessions.session(identity, certificate, cut=scope.cancel, key_hash=key_hash),
        ):
            yield

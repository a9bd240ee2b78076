"""Who is no longer welcome although their certificate still verifies."""

from typing import Protocol

import attrs

from pharos.wire.pki.roles import Identity


class DenyCheck(Protocol):
    """Asked last on every handshake, when the certificate has proven who the peer is."""

    def denies(self, identity: Identity, spki_hash: bytes) -> bool:
        """True if this member, or this key (SHA-256 of its SubjectPublicKeyInfo) wherever it turns up, is out."""
        ...


@attrs.frozen(kw_only=True)
class DenyList:
    """Revoked members and revoked keys. A list is replaced as a whole, never edited."""

    identities: frozenset[Identity] = frozenset()
    """Revoked with every key that they ever had."""
    spki_hashes: frozenset[bytes] = frozenset()
    """SHA-256 of SubjectPublicKeyInfo: revoked keys, whoever presents them."""

    def denies(self, identity: Identity, spki_hash: bytes) -> bool:
        """See `DenyCheck.denies`."""
        return identity in self.identities or spki_hash in self.spki_hashes

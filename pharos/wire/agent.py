"""How a node or relay joins: it makes its own keys, asks with public ones, and is granted a place in the fleet.

The request and the grant travel over a channel that the operator trusts (SSH, or files carried by hand). No private
key ever leaves the machine, and the grant is checked against the machine's own key before it is kept.
"""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import Any, Protocol

import attrs
from cryptography import x509

from pharos.wire.errors import AgentError, PeerRejectedError, StateFileError, WireError
from pharos.wire.files import StateFile
from pharos.wire.grant import (
    GRANT_FORMAT,
    KEY_SIZE,
    MAX_DOCUMENT,
    REQUEST_FORMAT,
    AgentGrant,
    AgentRequest,
    from_text,
    grant_of,
    to_text,
)
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der, generate_key, key_from_der, key_to_der
from pharos.wire.pki.manifest import verify_manifest
from pharos.wire.pki.profile import fleet_id, spki_hash
from pharos.wire.pki.renewal import verify_renewed
from pharos.wire.pki.roles import Authority, Identity, Role
from pharos.wire.pki.tls import Credentials
from pharos.wire.pki.trust import Trust, load_certificate, verify_trust
from pharos.wire.pki.verify import authorize_peer

__all__ = [
    "GRANT_FORMAT",
    "KEY_SIZE",
    "MAX_DOCUMENT",
    "REQUEST_FORMAT",
    "AgentGrant",
    "AgentKeys",
    "AgentRequest",
    "Membership",
    "grant_of",
]


@attrs.frozen(kw_only=True)
class Membership:
    """A machine that belongs to a fleet: who it is, what it proves it with, whom it believes."""

    identity: Identity
    credentials: Credentials
    trust: Trust

    @property
    def root_hash(self) -> bytes:
        """SHA-256 of the root's SubjectPublicKeyInfo, by which the fleet is known."""
        return spki_hash(self.trust.root.public_key())

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate that is shown in handshakes."""
        return hashlib.sha256(certificate_to_der(self.credentials.certificate)).digest()

    def facts(self) -> dict[str, Any]:
        """Return what an operator wants to see of it."""
        return {
            "id": self.identity.id,
            "fleet": self.identity.fleet,
            "certificate_ends": self.credentials.certificate.not_valid_after_utc.isoformat(),
        }


class Document(Protocol):
    """Where a machine's keys are kept: a private file, or what is as good."""

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, None for nothing."""

    def save(self, body: dict[str, Any]) -> None:
        """Replace it; durable when this returns."""


class AgentKeys:
    """A machine's own keys and, once granted, its certificate; one private file, or another ``document``."""

    def __init__(self, state: Path, role: Role, *, document: Document | None = None) -> None:
        self._role = role
        self._file: Document = document or StateFile(
            state / "identity.json",
            f"pharos/{role.value}-identity/v1",
            "restore it from a copy, or move it away and join the fleet anew",
        )
        self._body = self._file.load()

    @property
    def exists(self) -> bool:
        """Whether keys were made."""
        return self._body is not None

    @property
    def awg_key(self) -> bytes:
        """AmneziaWG private key, 32 bytes; nodes only."""
        return self._secret("awg_key")

    @property
    def derive_key(self) -> KeyPair:
        """The key pair of the blind derivation; nodes only."""
        return KeyPair.from_private_bytes(self._secret("derive_key"))

    def make_request(self) -> AgentRequest:
        """Return the request, with keys made now or earlier: asking twice asks for the same machine."""
        if self._body is None:
            node = self._role is Role.NODE
            self._body = {
                "tls_key": to_text(key_to_der(generate_key())),
                "awg_key": to_text(KeyPair.generate().private_bytes()) if node else None,
                "derive_key": to_text(KeyPair.generate().private_bytes()) if node else None,
                "grant": None,
            }
            self._file.save(self._body)
        tls_key = key_from_der(self._secret("tls_key"))
        if self._role is not Role.NODE:
            return AgentRequest(role=self._role, csr=make_csr(tls_key))
        return AgentRequest(
            role=self._role,
            csr=make_csr(tls_key),
            awg_key=KeyPair.from_private_bytes(self.awg_key).public,
            derive_key=self.derive_key.public,
        )

    def install(self, grant: AgentGrant, *, now: datetime.datetime) -> Membership:
        """Check a grant against our own key, keep it, and return what it makes us.

        Raises: AgentError — it is for another machine, does not verify, or would take the machine to another fleet.
        """
        if self._body is None:
            raise AgentError("this machine has made no request yet; do that first")
        membership = self._check(grant, now)
        if grant.manifest is not None:
            try:
                verify_manifest(grant.manifest, root_hash=membership.root_hash, now=now)
            except WireError as error:
                raise AgentError(f"the grant does not verify: {error}") from error
        if self._body["grant"] is not None:
            fleet = fleet_id(certificate_from_der(AgentGrant.from_json(self._body["grant"]).root))
            if fleet != membership.identity.fleet:
                raise AgentError(f"this machine is in fleet {fleet} already; a second fleet takes another --state")
        self._save(self._body | {"grant": grant.as_json()})
        return membership

    def renew(self) -> bytes:
        """Return the CSR for a fresh TLS key, which is kept beside the one in use: asking twice asks for one key.

        Raises: AgentError — this machine is not in a fleet yet.
        """
        body = self._reload()
        if body.get("next_tls_key") is None:
            body = body | {"next_tls_key": to_text(key_to_der(generate_key()))}
            self._save(body)
        return make_csr(key_from_der(from_text(body["next_tls_key"])))

    def install_renewed(self, certificate: bytes, *, trust: Trust, now: datetime.datetime) -> Membership:
        """Take the fresh key and the DER certificate for it into use, in one write; taken again, it is taken.

        Raises: AgentError — this machine asked for none. PeerRejectedError — it does not verify by ``trust``, is for
        another member or key, or ends before the one that it would replace.
        """
        body = self._reload()
        grant = AgentGrant.from_json(body["grant"])
        current = self._check(grant, now)
        if certificate == grant.certificate:
            return attrs.evolve(current, trust=trust)
        if body.get("next_tls_key") is None:
            raise AgentError("this machine has not asked for a certificate; ask it to renew first")
        key = key_from_der(from_text(body["next_tls_key"]))
        renewed = verify_renewed(
            certificate,
            identity=current.identity,
            public_key=key.public_key(),
            current=current.credentials.certificate,
            trust=trust,
            now=now,
        )
        # With the authority that signed it, so that the file explains itself whatever becomes of the manifest.
        fleet_ca = certificate_to_der(trust.anchor_of(renewed, current.identity.role.authority))
        grant = attrs.evolve(grant, certificate=certificate, fleet_ca=fleet_ca)
        if grant.device_ca is not None:
            grant = attrs.evolve(grant, device_ca=certificate_to_der(trust.anchor(Authority.DEVICE)))
        self._save(body | {"tls_key": body["next_tls_key"], "next_tls_key": None, "grant": grant.as_json()})
        credentials = Credentials(certificate=renewed, key=key)
        return Membership(identity=current.identity, credentials=credentials, trust=trust)

    @property
    def granted_manifest(self) -> bytes | None:
        """The trust manifest that came with the grant."""
        return AgentGrant.from_json(self._require_grant()["grant"]).manifest

    def membership(self, *, now: datetime.datetime) -> Membership:
        """Return what the kept grant makes us, also by a clock that is wrong, or after it has expired.

        Tunnels are served for ever, helm or no helm; whoever is shown our certificate judges it by a clock of his own.

        Raises: AgentError — there is none yet, or it does not verify.
        """
        grant = AgentGrant.from_json(self._require_grant()["grant"])
        certificate = certificate_from_der(grant.certificate)
        good = max(certificate.not_valid_before_utc, min(now, certificate.not_valid_after_utc))
        return self._check(grant, good)

    def _reload(self) -> dict[str, Any]:
        # `buoy csr --install` may have put a newer grant beside the daemon, which it must not write over.
        self._body = self._file.load()
        return self._require_grant()

    def _require_grant(self) -> dict[str, Any]:
        if self._body is None or self._body["grant"] is None:
            raise AgentError("this machine is not in a fleet yet; make a request, and install helm's grant")
        return self._body

    def _save(self, body: dict[str, Any]) -> None:
        # What cannot be written is not so.
        self._file.save(body)
        self._body = body

    def _check(self, grant: AgentGrant, now: datetime.datetime) -> Membership:
        key = key_from_der(self._secret("tls_key"))
        try:
            # The grant came over the operator's own channel, so its root is believed as it stands.
            root_hash = spki_hash(load_certificate(grant.root).public_key())
            trust = verify_trust(
                root=grant.root, fleet_ca=grant.fleet_ca, device_ca=grant.device_ca, root_hash=root_hash, now=now
            )
            identity = authorize_peer(grant.certificate, trust=trust, roles={self._role}, peer_id=None, now=now)
            certificate: x509.Certificate = certificate_from_der(grant.certificate)
        except (PeerRejectedError, WireError) as error:
            raise AgentError(f"the grant does not verify: {error}") from error
        if certificate.public_key() != key.public_key():
            raise AgentError("the grant is for another machine's key; use the one made from this machine's request")
        return Membership(identity=identity, credentials=Credentials(certificate=certificate, key=key), trust=trust)

    def _secret(self, name: str) -> bytes:
        if self._body is None or self._body.get(name) is None:
            raise StateFileError(f"identity.json has no {name}; make the request anew")
        return from_text(self._body[name])

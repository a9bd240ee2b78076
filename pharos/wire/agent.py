"""How a node or relay joins: it makes its own keys, asks with public ones, and is granted a place in the fleet.

The request and the grant travel over a channel that the operator trusts (SSH, or files carried by hand). No private
key ever leaves the machine, and the grant is checked against the machine's own key before it is kept.
"""

from __future__ import annotations

import base64
import datetime
import json
from pathlib import Path
from typing import Any, Final, Self

import attrs
from cryptography import x509

from pharos.wire.errors import AgentError, PeerRejectedError, StateFileError, WireError
from pharos.wire.files import StateFile
from pharos.wire.noise.keys import KeyPair
from pharos.wire.pki.csr import make_csr, verify_csr
from pharos.wire.pki.keys import certificate_from_der, certificate_to_der, generate_key, key_from_der, key_to_der
from pharos.wire.pki.profile import fleet_id, spki_hash
from pharos.wire.pki.roles import Identity, Role
from pharos.wire.pki.tls import Credentials
from pharos.wire.pki.trust import Trust, load_certificate, verify_trust
from pharos.wire.pki.verify import authorize_peer
from pharos.wire.units import KIB

REQUEST_FORMAT: Final = "pharos/agent-request/v1"
GRANT_FORMAT: Final = "pharos/agent-grant/v1"
KEY_SIZE: Final = 32
# A request holds one CSR and two keys, a grant four certificates of at most some 1 KiB each, in base64.
MAX_DOCUMENT: Final = 64 * KIB

AGENT_ROLES: Final = (Role.NODE, Role.RELAY)


@attrs.frozen(kw_only=True)
class AgentRequest:
    """What a machine asks with: a CSR, and a node's tunnel keys. Nothing in it is secret."""

    role: Role
    csr: bytes
    awg_key: bytes | None = None
    """AmneziaWG public key; nodes only."""
    derive_key: bytes | None = None
    """X25519 public key of the blind derivation; nodes only."""

    def render(self) -> str:
        """Return the request as JSON text."""
        return _render(
            REQUEST_FORMAT,
            {
                "role": self.role.value,
                "csr": _encode(self.csr),
                "awg_key": None if self.awg_key is None else _encode(self.awg_key),
                "derive_key": None if self.derive_key is None else _encode(self.derive_key),
            },
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a request and check the CSR's proof of possession.

        Raises: AgentError — it is none, or a key is missing.
        """
        body = _parse(REQUEST_FORMAT, text, {"role", "csr", "awg_key", "derive_key"})
        try:
            request = cls(
                role=Role(body["role"]),
                csr=_decode(body["csr"]),
                awg_key=None if body["awg_key"] is None else _decode(body["awg_key"]),
                derive_key=None if body["derive_key"] is None else _decode(body["derive_key"]),
            )
            verify_csr(request.csr)
        except (TypeError, ValueError, WireError) as error:
            raise AgentError(
                f"the request is damaged ({error}); make it again with: buoy csr, or beacon csr"
            ) from error
        keys = (request.awg_key, request.derive_key)
        wanted = KEY_SIZE if request.role is Role.NODE else None
        if request.role not in AGENT_ROLES or any((None if k is None else len(k)) != wanted for k in keys):
            raise AgentError("the request does not have the keys of a node or a relay; make it again")
        return request


@attrs.frozen(kw_only=True)
class AgentGrant:
    """What helm answers: a certificate and whom to believe. Nothing in it is secret."""

    certificate: bytes
    """DER."""
    root: bytes
    """DER."""
    fleet_ca: bytes
    """DER."""
    device_ca: bytes | None
    """DER; relays only, for no node ever meets a device's certificate."""

    def render(self) -> str:
        """Return the grant as JSON text."""
        return _render(GRANT_FORMAT, self.as_json())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a grant.

        Raises: AgentError — it is none.
        """
        return cls.from_json(_parse(GRANT_FORMAT, text, {"certificate", "root", "fleet_ca", "device_ca"}))

    def as_json(self) -> dict[str, Any]:
        """Return the grant for a state file."""
        return {key: None if value is None else _encode(value) for key, value in attrs.asdict(self).items()}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Read a grant from a state file.

        Raises: AgentError — it is none.
        """
        try:
            return cls(
                certificate=_decode(body["certificate"]),
                root=_decode(body["root"]),
                fleet_ca=_decode(body["fleet_ca"]),
                device_ca=None if body["device_ca"] is None else _decode(body["device_ca"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise AgentError(f"the grant is damaged: {error!r}") from error


@attrs.frozen(kw_only=True)
class Membership:
    """A machine that belongs to a fleet: who it is, what it proves it with, whom it believes."""

    identity: Identity
    credentials: Credentials
    trust: Trust

    def facts(self) -> dict[str, Any]:
        """Return what an operator wants to see of it."""
        return {
            "id": self.identity.id,
            "fleet": self.identity.fleet,
            "certificate_ends": self.credentials.certificate.not_valid_after_utc.isoformat(),
        }


class AgentKeys:
    """A machine's own keys and, once granted, its certificate; one private file."""

    def __init__(self, state: Path, role: Role) -> None:
        self._role = role
        self._file = StateFile(
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
                "tls_key": _encode(key_to_der(generate_key())),
                "awg_key": _encode(KeyPair.generate().private_bytes()) if node else None,
                "derive_key": _encode(KeyPair.generate().private_bytes()) if node else None,
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
        if self._body["grant"] is not None:
            fleet = fleet_id(certificate_from_der(AgentGrant.from_json(self._body["grant"]).root))
            if fleet != membership.identity.fleet:
                raise AgentError(f"this machine is in fleet {fleet} already; a second fleet takes another --state")
        self._body = self._body | {"grant": grant.as_json()}
        self._file.save(self._body)
        return membership

    def membership(self, *, now: datetime.datetime) -> Membership:
        """Return what the kept grant makes us.

        Raises: AgentError — there is none yet, or it has expired.
        """
        if self._body is None or self._body["grant"] is None:
            raise AgentError("this machine is not in a fleet yet; make a request, and install helm's grant")
        return self._check(AgentGrant.from_json(self._body["grant"]), now)

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
        return _decode(self._body[name])


def grant_of(certificate: x509.Certificate, *, trust: Trust, role: Role) -> AgentGrant:
    """Return the grant that carries this certificate."""
    device_ca = trust.device_ca if role is Role.RELAY else None
    return AgentGrant(
        certificate=certificate_to_der(certificate),
        root=certificate_to_der(trust.root),
        fleet_ca=certificate_to_der(trust.fleet_ca),
        device_ca=None if device_ca is None else certificate_to_der(device_ca),
    )


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _render(kind: str, body: dict[str, Any]) -> str:
    return json.dumps({"format": kind} | body, indent=1) + "\n"


def _parse(kind: str, text: str, fields: set[str]) -> dict[str, Any]:
    if len(text) > MAX_DOCUMENT:
        raise AgentError(f"{len(text)} characters are too many for {kind}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.pop("format", None) != kind or document.keys() != fields:
        raise AgentError(f"that is not a document of the format {kind}")
    return document

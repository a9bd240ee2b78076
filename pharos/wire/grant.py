"""The two documents of joining, as text: what a machine asks with, and what helm answers. Nothing in them is secret."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from typing import Any, Final, Self

import attrs
from cryptography import x509

from pharos.wire.errors import AgentError, WireError
from pharos.wire.pki.csr import verify_csr
from pharos.wire.pki.keys import certificate_to_der
from pharos.wire.pki.roles import Role
from pharos.wire.pki.trust import Trust
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
    key_proof: bytes | None = None
    """Of a node with new keys that still had its old ones, which say that these follow (`wire.seal.successor`)."""

    def render(self) -> str:
        """Return the request as JSON text."""
        return _render(
            REQUEST_FORMAT,
            {
                "role": self.role.value,
                "csr": to_text(self.csr),
                "awg_key": None if self.awg_key is None else to_text(self.awg_key),
                "derive_key": None if self.derive_key is None else to_text(self.derive_key),
            }
            # A helm of an earlier version takes a request with exactly the members that it knows.
            | ({} if self.key_proof is None else {"key_proof": to_text(self.key_proof)}),
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a request and check the CSR's proof of possession.

        Raises: AgentError — it is none, or a key is missing.
        """
        body = _parse(REQUEST_FORMAT, text, {"role", "csr", "awg_key", "derive_key"}, optional={"key_proof"})
        try:
            request = cls(
                role=Role(body["role"]),
                csr=from_text(body["csr"]),
                awg_key=None if body["awg_key"] is None else from_text(body["awg_key"]),
                derive_key=None if body["derive_key"] is None else from_text(body["derive_key"]),
                key_proof=None if body.get("key_proof") is None else from_text(body["key_proof"]),
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
    manifest: bytes | None = None
    """The fleet's trust manifest; None from a helm of an earlier version."""

    def render(self) -> str:
        """Return the grant as JSON text."""
        return _render(GRANT_FORMAT, self.as_json())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a grant.

        Raises: AgentError — it is none.
        """
        fields = {"certificate", "root", "fleet_ca", "device_ca"}
        return cls.from_json(_parse(GRANT_FORMAT, text, fields, optional={"manifest"}))

    def as_json(self) -> dict[str, Any]:
        """Return the grant for a state file."""
        body = {key: None if value is None else to_text(value) for key, value in attrs.asdict(self).items()}
        if self.manifest is None:
            # An agent of an earlier version takes a grant with exactly the members that it knows.
            del body["manifest"]
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Read a grant from a state file.

        Raises: AgentError — it is none.
        """
        try:
            return cls(
                certificate=from_text(body["certificate"]),
                root=from_text(body["root"]),
                fleet_ca=from_text(body["fleet_ca"]),
                device_ca=None if body["device_ca"] is None else from_text(body["device_ca"]),
                manifest=from_text(body["manifest"]) if "manifest" in body else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise AgentError(f"the grant is damaged: {error!r}") from error


def grant_of(certificate: x509.Certificate, *, trust: Trust, role: Role, manifest: bytes | None = None) -> AgentGrant:
    """Return the grant that carries this certificate."""
    device_ca = trust.device_ca if role is Role.RELAY else None
    return AgentGrant(
        certificate=certificate_to_der(certificate),
        root=certificate_to_der(trust.root),
        # During a rotation the certificate may be of the successor.
        fleet_ca=certificate_to_der(trust.anchor_of(certificate, role.authority)),
        device_ca=None if device_ca is None else certificate_to_der(device_ca),
        manifest=manifest,
    )


def to_text(raw: bytes) -> str:
    """Write octets as these documents and the state files do: base64."""
    return base64.b64encode(raw).decode()


def from_text(text: str) -> bytes:
    """Read octets.

    Raises: TypeError, ValueError — it is no base64.
    """
    return base64.b64decode(text, validate=True)


def _render(kind: str, body: dict[str, Any]) -> str:
    return json.dumps({"format": kind} | body, indent=1) + "\n"


def _parse(kind: str, text: str, fields: set[str], *, optional: Collection[str] = frozenset()) -> dict[str, Any]:
    if len(text) > MAX_DOCUMENT:
        raise AgentError(f"{len(text)} characters are too many for {kind}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.pop("format", None) != kind:
        document = {}
    if document.keys() - optional != fields:
        raise AgentError(f"that is not a document of the format {kind}")
    return document

"""A passkey authenticator and the browser before it, in software: what navigator.credentials gives, as JSON.

It does as it is told, and no browser would do all of that: answer for a page of another origin, leave out user
verification, count backwards.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
from typing import Any

import attrs
import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import encode_cbor

ORIGIN = "http://localhost:8440"
PASSKEYS = "/api/v1/session/passkeys"
# WebAuthn §6.1: user present, user verified, credential data included.
UP, UV, AT = 0x01, 0x04, 0x40
AAGUID = bytes(16)


@attrs.define
class Credential:
    """One passkey in the authenticator."""

    id: bytes
    site: str
    user_handle: bytes
    key: ec.EllipticCurvePrivateKey
    counter: int = 0


@attrs.define
class Authenticator:
    """A discoverable-credential authenticator with one P-256 key a passkey."""

    origin: str = ORIGIN
    """What the browser says of the page: scheme, host, port."""
    site: str | None = None
    """The RP ID that it answers for, whatever the page asked; None: as asked."""
    verifies_user: bool = True
    counts: bool = True
    """Or it says 0 each time, as synced passkeys do."""
    cross_origin: bool = False
    credentials: list[Credential] = attrs.field(factory=list)

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Make a passkey, as ``navigator.credentials.create()`` does."""
        assert any(parameter["alg"] == -7 for parameter in options["pubKeyCredParams"])
        excluded = {unpacked(known["id"]) for known in options.get("excludeCredentials", [])}
        if any(credential.id in excluded for credential in self.credentials):
            raise ValueError("InvalidStateError: this authenticator has a passkey of this account")
        made = Credential(
            id=os.urandom(32),
            site=self.site or options["rp"]["id"],
            user_handle=unpacked(options["user"]["id"]),
            key=ec.generate_private_key(ec.SECP256R1()),
        )
        self.credentials.append(made)
        numbers = made.key.public_key().public_numbers()
        # COSE_Key of kty EC2, alg ES256, crv P-256 (RFC 9053 §7.1.1).
        public = encode_cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)})
        attested = AAGUID + len(made.id).to_bytes(2) + made.id + public
        data = self._data(made, AT, attested)
        return self._credential(
            made,
            clientDataJSON=packed(self._client_data("webauthn.create", options["challenge"])),
            attestationObject=packed(encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})),
            transports=["internal"],
        )

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """Sign a challenge, as ``navigator.credentials.get()`` does."""
        allowed = {unpacked(known["id"]) for known in options.get("allowCredentials", [])}
        fitting = [
            credential
            for credential in self.credentials
            if credential.site == (self.site or options["rpId"]) and (not allowed or credential.id in allowed)
        ]
        if not fitting:
            raise ValueError("NotAllowedError: no passkey here fits")
        used = fitting[-1]
        if self.counts:
            used.counter += 1
        client_data, data = self._client_data("webauthn.get", options["challenge"]), self._data(used)
        signature = used.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        return self._credential(
            used,
            clientDataJSON=packed(client_data),
            authenticatorData=packed(data),
            signature=packed(signature),
            userHandle=packed(used.user_handle),
        )

    def duplicate(self) -> Authenticator:
        """Return another authenticator with copies of the same keys."""
        return attrs.evolve(self, credentials=[copy.copy(credential) for credential in self.credentials])

    def _client_data(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": self.cross_origin}
        return json.dumps(said, separators=(",", ":")).encode()

    def _data(self, credential: Credential, more_flags: int = 0, attested: bytes = b"") -> bytes:
        flags = UP | (UV if self.verifies_user else 0) | more_flags
        site = hashlib.sha256(credential.site.encode()).digest()
        return site + bytes([flags]) + credential.counter.to_bytes(4) + attested

    def _credential(self, credential: Credential, **response: Any) -> dict[str, Any]:
        name = packed(credential.id)
        return {
            "id": name,
            "rawId": name,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }


async def register(
    client: httpx.AsyncClient, authenticator: Authenticator, *, name: str = "laptop", **request: Any
) -> httpx.Response:
    """Make a passkey for whoever is signed in with this client."""
    options = await client.post(f"{PASSKEYS}/options", **request)
    assert options.status_code == 200, options.text
    body = {"name": name, "credential": authenticator.create(options.json())}
    return await client.post(PASSKEYS, json=body, **request)


async def sign_in_by_passkey(
    client: httpx.AsyncClient, authenticator: Authenticator, *, name: str | None = None
) -> httpx.Response:
    """Sign in, by name or by whatever passkey is there."""
    options = await client.post(f"{PASSKEYS}/sign-in/options", json={} if name is None else {"name": name})
    assert options.status_code == 200, options.text
    return await client.post(f"{PASSKEYS}/sign-in", json={"credential": authenticator.get(options.json())})


async def prove_by_passkey(client: httpx.AsyncClient, authenticator: Authenticator, **request: Any) -> httpx.Response:
    """Show a passkey again."""
    options = await client.post(f"{PASSKEYS}/prove/options", **request)
    assert options.status_code == 200, options.text
    return await client.post(f"{PASSKEYS}/prove", json={"credential": authenticator.get(options.json())}, **request)


def packed(data: bytes) -> str:
    """Return octets as base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unpacked(text: str) -> bytes:
    """Return the octets of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

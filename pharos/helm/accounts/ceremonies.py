"""Passkey ceremonies as WebAuthn Level 3 has them: what a browser is asked, and whether its answer holds. Sans-IO.

The signatures, CBOR and COSE are py_webauthn's. What we add: the exact origin, user verification always, a challenge
that is found by the answer, and one error for whatever is wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
import webauthn
from cryptography.exceptions import UnsupportedAlgorithm
from webauthn.helpers import (
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    parse_attestation_object,
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.options_to_json_dict import options_to_json_dict
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from pharos.helm.accounts.challenges import LIFETIME
from pharos.helm.errors import InvalidRequestError, NotSignedInError
from pharos.helm.model.passkeys import MAX_PASSKEYS, Passkey

OWN_NAME: Final = "Pharos"
"""What an authenticator shows beside the admin's name."""
REFUSED: Final = "this passkey does not sign in here"
# WebAuthn §4 allows so much for a credential id; an RSA key of 8192 bits has 1 kB, and a longer one would be slow.
MAX_CREDENTIAL: Final = 1023
MAX_PUBLIC_KEY: Final = 2048
# Lengths that authenticators have: among ids of these, one more does not stand out.
_LENGTHS: Final = (16, 20, 32, 48, 64)
# What py_webauthn, its CBOR reader and `cryptography` raise on octets that are something else.
_MALFORMED: Final = (
    WebAuthnException,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RecursionError,
    struct.error,
    UnsupportedAlgorithm,
)
_TIMEOUT: Final = int(LIFETIME * 1000)


@attrs.frozen(kw_only=True)
class Site:
    """Where a ceremony takes place."""

    name: str
    """RP ID: a host name without its port, ``localhost`` for instance."""
    origins: tuple[str, ...]
    """Of the pages there that are ours, with scheme and port: another port of ``localhost`` is another program."""


@attrs.frozen(kw_only=True)
class NewCredential:
    """What a registration brought."""

    credential: bytes
    public_key: bytes
    counter: int
    synced: bool


@attrs.frozen(kw_only=True)
class Assertion:
    """What somebody brought to sign in with; nothing of it is checked."""

    document: Mapping[str, Any] = attrs.field(repr=False)
    challenge: bytes
    credential: bytes
    user_handle: bytes | None


def site_at(host: str, origins: Collection[str]) -> Site:
    """Return the site of the page at ``host``, the Host header of a request that the guard let in.

    Raises: InvalidRequestError — it is an address: no browser has passkeys for those.
    """
    name = urlsplit(f"//{host}").hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return Site(name=name, origins=tuple(o for o in origins if urlsplit(o).hostname == name))
    raise InvalidRequestError(f"passkeys belong to a name, and {name} is an address: open the page as localhost")


def user_handle(admin_id: str) -> bytes:
    """Return by what an authenticator knows an admin; it says nothing about who that is (WebAuthn §14.6.1)."""
    return uuid.UUID(admin_id).bytes


def registration_options(
    site: Site, challenge: bytes, *, admin_id: str, name: str, known: Sequence[Passkey]
) -> dict[str, Any]:
    """Return PublicKeyCredentialCreationOptionsJSON."""
    return options_to_json_dict(
        webauthn.generate_registration_options(
            rp_id=site.name,
            rp_name=OWN_NAME,
            user_id=user_handle(admin_id),
            user_name=name,
            challenge=challenge,
            timeout=_TIMEOUT,
            authenticator_selection=AuthenticatorSelectionCriteria(
                # A security key without room for one more still serves whoever says a name.
                resident_key=ResidentKeyRequirement.PREFERRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=_descriptors([passkey.credential for passkey in known]),
        )
    )


def sign_in_options(site: Site, challenge: bytes, *, allowed: Sequence[bytes] = ()) -> dict[str, Any]:
    """Return PublicKeyCredentialRequestOptionsJSON; ``allowed`` are credential ids, none for any that is there."""
    return options_to_json_dict(
        webauthn.generate_authentication_options(
            rp_id=site.name,
            challenge=challenge,
            timeout=_TIMEOUT,
            allow_credentials=_descriptors(allowed),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
    )


def blend(key: bytes, name: str, real: Sequence[bytes]) -> list[bytes]:
    """Return the credential ids of an admin among others that nobody has, always as many and in no telling order.

    Who asks for a name twice gets the same, and who asks for a name that is nobody's gets as many (WebAuthn §14.6.2).
    """

    def keyed(*parts: bytes) -> bytes:
        return hmac.digest(key, b"\0".join((name.encode(), *parts)), "sha512")

    made_up = [keyed(b"id", bytes([n])) for n in range(MAX_PASSKEYS)]
    made_up = [octets[: _LENGTHS[octets[-1] % len(_LENGTHS)]] for octets in made_up]
    return sorted([*real, *made_up][:MAX_PASSKEYS], key=lambda credential: keyed(b"order", credential))


def challenge_of_registration(document: Mapping[str, Any]) -> bytes:
    """Return the challenge that a RegistrationResponseJSON answers.

    Raises: InvalidRequestError — it is none.
    """
    try:
        parsed = parse_registration_credential_json(dict(document))
        return parse_client_data_json(parsed.response.client_data_json).challenge
    except _MALFORMED as error:
        raise InvalidRequestError(f"that is no answer of an authenticator: {error}") from error


def check_registration(document: Mapping[str, Any], site: Site, challenge: bytes) -> NewCredential:
    """Return the credential that an authenticator made for this challenge, on a page of this site, for a verified user.

    Raises: InvalidRequestError — it did not, or it is no credential that helm can use.
    """
    try:
        parsed = parse_registration_credential_json(dict(document))
        # We ask for no attestation. Of what may come all the same, one's own signature is all that is looked at: the
        # other forms are thousands of lines of certificates and ASN.1 that would decide nothing here.
        form = parse_attestation_object(parsed.response.attestation_object).fmt
        if form not in (AttestationFormat.NONE, AttestationFormat.PACKED):
            raise InvalidRequestError("this authenticator attests what nobody asked for")
        _check_same_origin(parsed.response.client_data_json)
        found = webauthn.verify_registration_response(
            credential=parsed,
            expected_challenge=challenge,
            expected_rp_id=site.name,
            expected_origin=list(site.origins),
            require_user_verification=True,
        )
        if len(found.credential_id) > MAX_CREDENTIAL or len(found.credential_public_key) > MAX_PUBLIC_KEY:
            raise InvalidRequestError("this authenticator's credential is larger than any that is known")
        # The library reads a key when it is used first; one that is none is refused today.
        decoded_public_key_to_cryptography(decode_credential_public_key(found.credential_public_key))
    except _MALFORMED as error:
        raise InvalidRequestError(f"this passkey cannot be used here: {error}") from error
    return NewCredential(
        credential=found.credential_id,
        public_key=found.credential_public_key,
        counter=found.sign_count,
        synced=found.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
    )


def read_assertion(document: Mapping[str, Any]) -> Assertion:
    """Read an AuthenticationResponseJSON.

    Raises: InvalidRequestError — it is none.
    """
    try:
        parsed = parse_authentication_credential_json(dict(document))
        challenge = parse_client_data_json(parsed.response.client_data_json).challenge
    except _MALFORMED as error:
        raise InvalidRequestError(f"that is no answer of an authenticator: {error}") from error
    return Assertion(
        document=document, challenge=challenge, credential=parsed.raw_id, user_handle=parsed.response.user_handle
    )


def check_assertion(assertion: Assertion, passkey: Passkey, site: Site) -> int:
    """Return the counter of a passkey that signed this challenge, on a page of this site, for a verified user.

    Whether the counter goes on from the one before is for whoever has the record in hand: it may be in use elsewhere.

    Raises: NotSignedInError — it did not; why is in the cause, for the log.
    """
    handle = assertion.user_handle
    try:
        if passkey.site != site.name or (handle is not None and handle != user_handle(passkey.admin_id)):
            raise InvalidRequestError("it is of another site or of another admin")
        parsed = parse_authentication_credential_json(dict(assertion.document))
        _check_same_origin(parsed.response.client_data_json)
        return webauthn.verify_authentication_response(
            credential=parsed,
            expected_challenge=assertion.challenge,
            expected_rp_id=site.name,
            expected_origin=list(site.origins),
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        ).new_sign_count
    except (*_MALFORMED, InvalidRequestError) as error:
        raise NotSignedInError(REFUSED) from error


def goes_back(before: int, now: int) -> bool:
    """Tell whether a counter shows that a passkey has a copy (WebAuthn §7.2 step 22); one that stays at 0 is none."""
    return (before, now) != (0, 0) and now <= before


def fingerprint(credential: bytes) -> str:
    """Return what the log says of a credential that nobody has."""
    return hashlib.sha256(credential).hexdigest()[:16]


def _check_same_origin(client_data: bytes) -> None:
    # A page of ours in a frame of another's: the library does not look.
    if parse_client_data_json(client_data).cross_origin:
        raise InvalidRequestError("the page was in another site's frame")


def _descriptors(credentials: Sequence[bytes]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=credential) for credential in credentials]

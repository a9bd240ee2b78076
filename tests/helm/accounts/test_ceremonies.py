"""What an authenticator says is read without trust: octets that are anything else are refused in one way."""

from __future__ import annotations

import os

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pharos.helm.accounts.ceremonies import (
    MAX_PUBLIC_KEY,
    Site,
    blend,
    check_assertion,
    check_registration,
    goes_back,
    read_assertion,
    registration_options,
    sign_in_options,
    site_at,
)
from pharos.helm.accounts.challenges import LIFETIME, MAX_OPEN, Asked, Challenges, Purpose
from pharos.helm.errors import InvalidRequestError, NotSignedInError
from pharos.helm.model.passkeys import MAX_PASSKEYS, Passkey
from tests.support.authenticator import AT, Authenticator, packed, unpacked

ADMIN = "019b7c12-0000-7000-8000-000000000022"
SITE = Site(name="localhost", origins=("http://localhost:8440",))
CHALLENGE = bytes(range(32))


def made(authenticator: Authenticator) -> dict[str, object]:
    return authenticator.create(registration_options(SITE, CHALLENGE, admin_id=ADMIN, name="ada", known=[]))


def kept(authenticator: Authenticator) -> Passkey:
    found = check_registration(made(authenticator), SITE, CHALLENGE)
    return Passkey(
        id="1",
        admin_id=ADMIN,
        name="laptop",
        site=SITE.name,
        credential=found.credential,
        public_key=found.public_key,
    )


def test_what_is_made_can_be_used() -> None:
    key = Authenticator()
    passkey = kept(key)
    answer = key.get(sign_in_options(SITE, CHALLENGE, allowed=[passkey.credential]))
    assert check_assertion(read_assertion(answer), passkey, SITE) == 1
    for other in (
        attrs.evolve(passkey, site="helm.example"),
        attrs.evolve(passkey, admin_id=ADMIN.replace("22", "23")),
        attrs.evolve(passkey, public_key=kept(Authenticator()).public_key),
    ):
        with pytest.raises(NotSignedInError):
            check_assertion(read_assertion(answer), other, SITE)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_attestation_is_refused(data: st.DataObject) -> None:
    document = made(Authenticator())
    response = document["response"]
    assert isinstance(response, dict)
    octets = bytearray(unpacked(response["attestationObject"]))
    # Outside the credential id and the key's own numbers nothing may change.
    at = data.draw(st.integers(0, len(octets) - 1))
    cut = data.draw(st.booleans())
    if cut:
        del octets[at:]
    else:
        octets[at] ^= data.draw(st.integers(1, 255))
    damaged = document | {"response": response | {"attestationObject": packed(bytes(octets))}}
    try:
        check_registration(damaged, SITE, CHALLENGE)
    except InvalidRequestError:
        return
    assert not cut, "half an attestation was taken for a whole one"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=100))
def test_any_octets_for_an_assertion_are_refused(data: bytes, signature: bytes) -> None:
    key = Authenticator()
    passkey = kept(key)
    answer = key.get(sign_in_options(SITE, CHALLENGE))
    answer["response"] |= {"authenticatorData": packed(data), "signature": packed(signature)}
    with pytest.raises(NotSignedInError):
        check_assertion(read_assertion(answer), passkey, SITE)


def test_key_that_is_none_or_very_long_is_refused() -> None:
    from webauthn.helpers import encode_cbor

    key = Authenticator()
    document = made(key)
    response = document["response"]
    assert isinstance(response, dict)
    credential = key.credentials[0]
    off_the_curve = {1: 2, 3: -7, -1: 1, -2: bytes(31) + b"\1", -3: bytes(31) + b"\1"}
    long_rsa = {1: 3, 3: -257, -1: os.urandom(MAX_PUBLIC_KEY), -2: b"\1\0\1"}
    for public in (off_the_curve, long_rsa, {1: 2, 3: -7}, {1: 9, 3: -7}, {}, [], 7):
        attested = bytes(16) + len(credential.id).to_bytes(2) + credential.id + encode_cbor(public)
        data = key._data(credential, AT, attested)
        octets = encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})
        with pytest.raises(InvalidRequestError):
            check_registration(
                document | {"response": response | {"attestationObject": packed(octets)}}, SITE, CHALLENGE
            )


def test_attestation_that_nobody_asked_for_is_not_looked_at() -> None:
    from webauthn.helpers import encode_cbor, parse_cbor

    document = made(Authenticator())
    response = document["response"]
    assert isinstance(response, dict)
    attested = parse_cbor(unpacked(response["attestationObject"]))
    octets = encode_cbor(attested | {"fmt": "tpm", "attStmt": {"x5c": [b"x"]}})
    with pytest.raises(InvalidRequestError, match="nobody asked for"):
        check_registration(document | {"response": response | {"attestationObject": packed(octets)}}, SITE, CHALLENGE)


@pytest.mark.parametrize(
    ("before", "now", "back"), [(0, 0, False), (0, 1, False), (5, 6, False), (5, 5, True), (5, 4, True), (5, 0, True)]
)
def test_counter_that_does_not_go_on_goes_back(before: int, now: int, back: bool) -> None:
    assert goes_back(before, now) is back


def test_real_credentials_are_among_as_many_whatever_their_number() -> None:
    for count in range(MAX_PASSKEYS + 1):
        real = [os.urandom(32) for _ in range(count)]
        shown = blend(b"key", "ada", real)
        assert len(set(shown)) == MAX_PASSKEYS
        assert set(real) <= set(shown)
        assert blend(b"key", "ada", real) == shown
    assert not set(blend(b"key", "ada", [])) & set(blend(b"key", "bob", []))
    assert not set(blend(b"key", "ada", [])) & set(blend(b"other", "ada", []))
    places = {blend(bytes([n]), "ada", [b"real"]).index(b"real") for n in range(200)}
    assert places == set(range(MAX_PASSKEYS)), "a real one would be known by its place"


def test_site_is_the_pages_name_with_the_origins_that_are_there() -> None:
    origins = ["http://localhost:8440", "http://localhost:9000", "http://helm.lan:8440", "http://127.0.0.1:8440"]
    assert site_at("localhost:8440", origins) == Site(name="localhost", origins=tuple(origins[:2]))
    assert site_at("helm.lan:8440", origins) == Site(name="helm.lan", origins=(origins[2],))
    for address in ("127.0.0.1:8440", "[::1]:8440"):
        with pytest.raises(InvalidRequestError, match="localhost"):
            site_at(address, origins)


def test_challenge_is_good_once_for_its_purpose_until_it_is_too_old() -> None:
    challenges = Challenges()
    asked = Asked(purpose=Purpose.SIGN_IN, site="localhost")
    for challenge in (b"a", b"b", b"c"):
        challenges.add(challenge, asked, 100.0)
    assert challenges.take(b"a", Purpose.SIGN_IN, 100.0 + LIFETIME - 1) == asked
    for challenge, purpose, now in (
        (b"a", Purpose.SIGN_IN, 101.0),
        (b"b", Purpose.PROVE, 101.0),
        # It was shown for something else, and is used up by that.
        (b"b", Purpose.SIGN_IN, 101.0),
        (b"c", Purpose.SIGN_IN, 100.0 + LIFETIME),
        (b"unknown", Purpose.SIGN_IN, 101.0),
    ):
        with pytest.raises(NotSignedInError):
            challenges.take(challenge, purpose, now)


def test_challenges_are_so_many_at_most_and_the_oldest_goes() -> None:
    challenges = Challenges()
    asked = Asked(purpose=Purpose.SIGN_IN, site="localhost")
    for number in range(MAX_OPEN + 1):
        challenges.add(b"%d" % number, asked, 1.0)
    assert len(challenges._open) == MAX_OPEN
    with pytest.raises(NotSignedInError):
        challenges.take(b"0", Purpose.SIGN_IN, 1.0)
    challenges.take(b"%d" % MAX_OPEN, Purpose.SIGN_IN, 1.0)
    challenges.add(b"late", asked, 1.0 + LIFETIME)
    assert len(challenges._open) == 1

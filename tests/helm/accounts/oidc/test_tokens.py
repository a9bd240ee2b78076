"""An ID token is believed if the issuer signed it, for this client, now; everything else is refused."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, RSAKey

from pharos.helm.accounts.oidc import tokens
from pharos.helm.accounts.oidc.tokens import UnknownKeyError, Wanted, read_keys, verify_token
from pharos.helm.errors import ProviderError
from tests.support.oidcprovider import CLIENT, OidcProvider, ec_key, forged, rsa_key

ISSUER = "https://id.example"
WANTED = Wanted(issuer=ISSUER, client_id=CLIENT, groups_claim="groups", nonce="n-1")
HOUR = 3600


def keys_of(provider: OidcProvider) -> tuple[tokens.Key, ...]:
    return tuple(type(key).import_key(key.as_dict(private=False)) for key in provider.published)


def say(provider: OidcProvider, wanted: Wanted = WANTED) -> Any:
    token = provider.token(nonce="n-1")
    return verify_token(token, keys_of(provider), wanted, now=time.time())


def provider(**changes: Any) -> OidcProvider:
    return OidcProvider(issuer=ISSUER, **changes)


def test_good_token_says_who_it_is() -> None:
    claims = say(provider())
    assert (claims.issuer, claims.subject, claims.email, claims.email_verified, claims.name, claims.groups) == (
        ISSUER,
        "248289761001",
        "ada@example.org",
        True,
        "Ada",
        ("staff", "vpn"),
    )


@pytest.mark.parametrize(
    ("signer", "algorithm"),
    [(rsa_key(), "RS256"), (rsa_key(), "PS256"), (rsa_key(), "RS512"), (ec_key(), "ES256")],
)
def test_usual_algorithms_are_taken(signer: tokens.Key, algorithm: str) -> None:
    assert say(provider(signer=signer, algorithm=algorithm)).subject


def test_larger_curve_is_taken() -> None:
    key = ec_key("three", "P-384")
    assert say(provider(signer=key, published=[key], algorithm="ES384")).subject


BAD_CLAIMS: list[dict[str, Any]] = [
    {"iss": "https://id.example/"},
    {"iss": "https://evil.example"},
    {"iss": None},
    {"sub": None},
    {"sub": ""},
    {"sub": "x" * 256},
    {"sub": 7},
    {"aud": "another"},
    {"aud": ["another"]},
    {"aud": [CLIENT, "another"]},
    {"aud": [CLIENT, "another"], "azp": CLIENT},
    {"aud": []},
    {"aud": None},
    {"azp": "another"},
    {"nonce": "n-2"},
    {"nonce": None},
    {"exp": None},
    {"iat": None},
    {"exp": "2099-01-01"},
    {"exp": True},
    {"exp": 0},
    {"exp": 1e400},
    {"iat": 1e18},
    {"iat": -1},
    {"nbf": 4102444800.0},  # the year 2100
    {"auth_time": "yesterday"},
]


@pytest.mark.parametrize("claims", BAD_CLAIMS, ids=str)
def test_token_that_says_something_else_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(ProviderError, match="not to be believed"):
        say(provider(claims=claims))


@pytest.mark.parametrize("clock", [-HOUR, -1000, 400, HOUR, 365 * 24 * HOUR])
def test_provider_that_lies_about_the_time_is_refused(clock: float) -> None:
    with pytest.raises(ProviderError):
        say(provider(clock=clock))


@pytest.mark.parametrize("clock", [-290, 0, 290])
def test_clocks_may_differ_by_five_minutes(clock: float) -> None:
    assert say(provider(clock=clock)).subject


def test_token_that_never_ends_is_as_old_as_it_is() -> None:
    now = int(time.time())
    with pytest.raises(ProviderError, match="long ago"):
        say(provider(claims={"iat": now - HOUR, "exp": now + 1000 * HOUR}))


def test_sign_in_that_is_older_than_the_proof_is_refused() -> None:
    now = time.time()
    wanted = attrs.evolve(WANTED, proven_since=now - 300)
    assert say(provider(claims={"auth_time": int(now - 250)}), wanted).subject
    assert say(provider(claims={"auth_time": None}), wanted).subject
    with pytest.raises(ProviderError, match="fresh proof"):
        say(provider(claims={"auth_time": int(now - HOUR)}), wanted)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "none", "kid": None},
        {"alg": "NONE"},
        {"alg": None},
        {"alg": ["RS256"]},
        {"alg": 7},
        {"kid": "nobody"},
        {"kid": "two"},
        {"crit": ["b64"], "b64": True},
    ],
    ids=str,
)
def test_signature_that_is_none_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(ProviderError):
        say(provider(header=header))


def test_key_needs_no_name_where_it_is_the_only_one() -> None:
    assert say(provider(header={"kid": None})).subject
    other = RSAKey.generate_key(2048, {"kid": "other"})
    with pytest.raises(UnknownKeyError):
        say(provider(header={"kid": None}, published=[rsa_key(), other]))


def test_key_of_somebody_else_signs_nothing() -> None:
    other = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
    with pytest.raises(ProviderError, match="not to be believed"):
        say(provider(signer=other))
    stranger = ECKey.generate_key("P-256", {"kid": "nine"})
    with pytest.raises(UnknownKeyError):
        say(provider(signer=stranger, algorithm="ES256"))


def test_algorithm_is_that_of_the_curve() -> None:
    larger = ec_key("three", "P-384")
    head = OidcProvider(issuer=ISSUER, signer=larger, algorithm="ES384", published=[larger]).token(nonce="n-1")
    payload = head.split(".")[1]
    lying = OidcProvider(issuer=ISSUER, header={"alg": "ES256", "kid": "three"}).token(nonce="n-1").split(".")[0]
    with pytest.raises(ProviderError):
        verify_token(f"{lying}.{payload}.{head.split('.')[2]}", (larger,), WANTED, now=time.time())


def test_changed_token_is_refused() -> None:
    one = provider()
    head, body, signature = one.token(nonce="n-1").split(".")
    other = provider(claims={"groups": ["owners"]}).token(nonce="n-1").split(".")[1]
    for text in (
        f"{head}.{other}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
        "",
        "é",
        "a.b",
    ):
        with pytest.raises(ProviderError):
            verify_token(text, keys_of(one), WANTED, now=time.time())
    with pytest.raises(ProviderError):
        verify_token("a" * (tokens.MAX_TOKEN + 1), keys_of(one), WANTED, now=time.time())


def test_public_key_is_no_secret_to_sign_by(monkeypatch: pytest.MonkeyPatch) -> None:
    public = OctKey.import_key(str(rsa_key()["n"]), {"kid": "one"})
    forged = OidcProvider(issuer=ISSUER, signer=public, algorithm="HS256").token(nonce="n-1")
    keys: Any = (public,)
    with pytest.raises(ProviderError, match="HS256"):
        verify_token(forged, keys, WANTED, now=time.time())
    # Weakened: an algorithm that takes any key's octets for a secret, as careless libraries do (CVE-2015-9235).
    monkeypatch.setattr(tokens, "ALGORITHMS", tokens.ALGORITHMS | {"HS256": "oct"})
    assert verify_token(forged, keys, WANTED, now=time.time()).subject
    monkeypatch.undo()
    with pytest.raises(ProviderError, match="no key"):
        read_keys(b'{"keys": [{"kty": "oct", "k": "a2tr", "kid": "one"}]}', ISSUER)


def test_only_keys_that_may_sign_are_read() -> None:
    private = ec_key("private")
    documents = [
        {"keys": [rsa_key().as_dict(private=False) | {"n": "u" * 171}]},
        {"keys": [rsa_key().as_dict(private=False) | {"n": "u" * 5000}]},
        {"keys": [private.as_dict(private=True)]},
        {"keys": [rsa_key().as_dict(private=False) | {"use": "enc"}]},
        {"keys": [rsa_key().as_dict(private=False) | {"alg": "RSA-OAEP"}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]},
        {"keys": [{"kty": "RSA"}]},
        {"keys": [7, None, "x"]},
        {"keys": []},
        {"keys": {}},
        {},
        [],
    ]
    for document in documents:
        with pytest.raises(ProviderError):
            read_keys(msgspec.json.encode(document), ISSUER)
    for octets in (b"", b"<html>", b"[" * 100_000, b"\xff"):
        with pytest.raises(ProviderError):
            read_keys(octets, ISSUER)
    good = msgspec.json.encode({"keys": [{"kty": "future"}, ec_key().as_dict(private=False)]})
    assert [key.kid for key in read_keys(good, ISSUER)] == ["two"]


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        (["a", "b"], ("a", "b")),
        ("a", ("a",)),
        (None, ()),
        ({"a": 1}, ()),
        (["a", 7, None, "", "x" * 300], ("a",)),
        (["x"] * 1001, ()),
    ],
    ids=["list", "one", "none", "object", "odd", "too many"],
)
def test_groups_are_texts_or_none(value: Any, groups: tuple[str, ...]) -> None:
    assert say(provider(claims={"groups": value})).groups == groups


def test_text_for_people_is_one_line() -> None:
    claims = say(provider(claims={"name": "Ada\nowner", "email": "x" * 300, "preferred_username": "ada"}))
    assert (claims.name, claims.email) == ("ada", "")


@pytest.mark.parametrize(("said", "verified"), [(True, True), ("true", True), (False, False), ("yes", False)])
def test_mail_address_is_verified_if_the_provider_says_so(said: object, verified: bool) -> None:
    assert say(provider(claims={"email_verified": said})).email_verified is verified


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["iss", "sub", "aud", "azp", "exp", "iat", "nbf", "amr", "auth_time", "at_hash", "groups", "name"]
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x5c"]), ANYTHING, max_size=4)
EC = [ec_key()]


@settings(max_examples=50)
@given(st.dictionaries(NAMES, ANYTHING, min_size=1, max_size=4))
def test_whatever_a_provider_signs_is_believed_or_refused(claims: dict[str, Any]) -> None:
    one = provider(claims=claims, signer=EC[0], published=EC, algorithm="ES256")
    with suppress(ProviderError):
        assert say(one).issuer == ISSUER


@settings(max_examples=50)
@given(HEADERS, ANYTHING)
def test_whatever_somebody_forges_is_refused(header: dict[str, Any], payload: Any) -> None:
    with pytest.raises(ProviderError):
        verify_token(forged(header, payload, b"key"), keys_of(provider()), WANTED, now=time.time())


MEMBERS = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "p", "use", "alg", "kid", "key_ops", "oth"])
WORDS = ANYTHING | st.sampled_from(["EC", "RSA", "OKP", "P-256", "P-521", "AQAB", "sig", "verify"])


@settings(max_examples=50)
@given(st.sampled_from([rsa_key(), ec_key()]), st.dictionaries(MEMBERS, WORDS, min_size=1, max_size=3))
def test_whatever_a_provider_publishes_is_read_or_refused(key: tokens.Key, changes: dict[str, Any]) -> None:
    document = {"keys": [key.as_dict(private=False) | changes]}
    with suppress(ProviderError):
        assert len(read_keys(json.dumps(document).encode(), ISSUER)) == 1


@settings(max_examples=50)
@given(st.binary(max_size=200) | ANYTHING.map(lambda value: json.dumps({"keys": [value]}).encode()))
def test_document_without_keys_is_refused(document: bytes) -> None:
    with pytest.raises(ProviderError):
        read_keys(document, ISSUER)

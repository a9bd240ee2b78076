"""ID tokens and the keys they are signed by: who may have signed, for whom, when (OpenID Connect Core §3.1.3.7).

No I/O here: keys and the time are arguments.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import msgspec
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, RSAKey
from joserfc.jws import extract_compact
from joserfc.util import to_bytes

from pharos.helm.errors import ProviderError
from pharos.helm.model.oidc import MAX_GROUP, Claims
from pharos.wire.units import MINUTES, SECONDS

# RFC 7518 §3.1. Not there: "none", and HS256, where who knows helm's secret could sign, or who knows a public key.
ALGORITHMS: Final = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "ES256": "EC",
    "ES384": "EC",
}
"""Type of key by algorithm."""
LEAST_RSA: Final = 2048
"""Bits (RFC 7518 §3.3)."""
MOST_RSA: Final = 8192
"""Bits; verifying takes four times as long for each doubling."""
MAX_KEYS: Final = 64
"""The largest providers publish a dozen."""
MAX_TOKEN: Final = 64 * 1024
"""Octets; two hundred groups with long names are some 30 kB."""
MAX_GROUPS: Final = 1000
# RFC 7519 §4.1.4 says a few minutes; helm's own certificates allow as much (security.md row 69).
SKEW: Final = 5 * MINUTES
# It has come straight from the provider, who made it for this answer: an old one is another sign-in's.
OLDEST: Final = 10 * MINUTES
MAX_SUBJECT: Final = 255
"""Characters (OpenID Connect Core §2)."""
MAX_NAME: Final = 200

Key = RSAKey | ECKey


class UnknownKeyError(ProviderError):
    """An ID token is signed by a key that the provider does not publish."""


class _Said(msgspec.Struct, kw_only=True):
    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    iat: int | float
    nonce: str = ""
    auth_time: int | float | None = None
    email: str | None = None
    email_verified: bool | str = False
    """A string at providers that copy their directory's."""
    name: str | None = None
    preferred_username: str | None = None


@attrs.frozen(kw_only=True)
class Wanted:
    """What a token has to say."""

    issuer: str
    client_id: str
    groups_claim: str
    access_token: str = ""
    """What came with it: an ID token that says its hash is of that one (OpenID Connect Core §3.1.3.8)."""
    nonce: str = ""
    """Empty where the flow has none: the device code's (RFC 8628)."""
    proven_since: float = 0.0
    """Seconds since 1970: the provider must not have asked who it is before then, where it says when it did."""


def read_keys(document: bytes, issuer: str) -> tuple[Key, ...]:
    """Read a provider's keys (RFC 7517 §5), leaving out those that sign no ID tokens.

    Raises: ProviderError — it is no such document, or has no key of use.
    """
    try:
        found: Any = msgspec.json.decode(document)
        items = found["keys"]
        if not isinstance(items, list) or len(items) > MAX_KEYS:
            raise ValueError(f"it has to list at most {MAX_KEYS} keys")
        keys = [key for item in items if (key := _read_key(item)) is not None]
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ProviderError(f"what {issuer} publishes as its keys cannot be read: {error}") from error
    if not keys:
        raise ProviderError(f"{issuer} publishes no key for signatures: RSA of {LEAST_RSA} bits, P-256 or P-384")
    return tuple(keys)


def _read_key(item: Any) -> Key | None:
    if not isinstance(item, dict) or item.get("use", "sig") != "sig":
        return None
    if item.get("kty") not in ("RSA", "EC") or item.get("alg", "RS256") not in ALGORITHMS:
        return None
    # Before it is read: four characters are 24 bits, and joserfc reads a small key with a warning to us.
    if item["kty"] == "RSA" and not LEAST_RSA <= len(str(item.get("n", ""))) * 6 <= MOST_RSA + 6 * 4:
        return None
    try:
        key = JWKRegistry.import_key({name: value for name, value in item.items() if isinstance(value, str)})
    except (JoseError, ValueError):
        return None
    if isinstance(key, RSAKey):
        return key if key.raw_value.key_size >= LEAST_RSA and not key.is_private else None
    return key if isinstance(key, ECKey) and key.curve_name in ("P-256", "P-384") and not key.is_private else None


def verify_token(token: str, keys: tuple[Key, ...], wanted: Wanted, *, now: float) -> Claims:
    """Return what an ID token says, once it is known to be the issuer's, for this client, of now; ``now`` in seconds.

    Raises: UnknownKeyError — newer keys may help. ProviderError — the token is not to be believed.
    """
    try:
        return _verified(token, keys, wanted, now=now)
    except (JoseError, msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise ProviderError(f"{wanted.issuer} gave an ID token that is not to be believed: {error}") from error


def _verified(token: str, keys: tuple[Key, ...], wanted: Wanted, *, now: float) -> Claims:
    if len(token) > MAX_TOKEN or not token.isascii():
        raise ValueError("it is too large")
    header = extract_compact(to_bytes(token)).headers()
    algorithm = header.get("alg")
    if "crit" in header:
        # RFC 7515 §4.1.11: nothing that has to be understood is.
        raise ValueError("it wants something understood that no ID token needs")
    if algorithm not in ALGORITHMS:
        raise ValueError(f"it is signed by {str(algorithm)[:20]!r}")
    decoded = jwt.decode(token, _key_for(header, keys), algorithms=list(ALGORITHMS))
    said = msgspec.convert(decoded.claims, _Said, strict=True)
    # Exactly one audience: what is for others too, others could show to helm.
    if said.iss != wanted.issuer or said.aud not in (wanted.client_id, [wanted.client_id]):
        raise ValueError("it is for another audience, or another issuer's")
    asked = {"client_id": wanted.client_id, "nonce": wanted.nonce, "access_token": wanted.access_token}
    claims = CodeIDToken(decoded.claims, decoded.header, params=asked)
    # Whole seconds, as that library compares them; what is checked here bounds the other side.
    claims.validate(now=int(now), leeway=int(SKEW / SECONDS))
    if said.iat < now - (OLDEST + SKEW) / SECONDS or said.exp < said.iat:
        raise ValueError("it was issued long ago, or for no time at all: compare the clocks of provider and helm")
    if said.auth_time is not None and said.auth_time < wanted.proven_since - SKEW / SECONDS:
        raise ValueError("the provider did not ask again who it is, though helm wants a fresh proof")
    if not 0 < len(said.sub) <= MAX_SUBJECT:
        raise ValueError("it names nobody")
    return Claims(
        issuer=said.iss,
        subject=said.sub,
        email=one_line(said.email),
        email_verified=said.email_verified in (True, "true"),
        name=one_line(said.name) or one_line(said.preferred_username),
        groups=read_groups(decoded.claims.get(wanted.groups_claim)),
    )


def _key_for(header: dict[str, Any], keys: tuple[Key, ...]) -> Key:
    kid, algorithm = header.get("kid"), header["alg"]
    fitting = [
        key
        for key in keys
        if key.key_type == ALGORITHMS[algorithm]
        and (key.get("alg") or algorithm) == algorithm
        and (kid is None or key.get("kid") == kid)
    ]
    # Without a key id there has to be one key only (OpenID Connect Core §10.1).
    if len(fitting) != 1:
        raise UnknownKeyError(f"an ID token names the key {str(kid)[:100]!r}, which the provider does not publish")
    return fitting[0]


def one_line(text: str | None) -> str:
    """Return a text that people may read in a list; empty if it is none."""
    return text if text is not None and text.isprintable() and len(text) <= MAX_NAME else ""


def read_groups(value: object) -> tuple[str, ...]:
    """Return the groups that a claim names; none where it is something else."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or len(value) > MAX_GROUPS:
        return ()
    return tuple(text for text in value if isinstance(text, str) and 0 < len(text) <= MAX_GROUP)

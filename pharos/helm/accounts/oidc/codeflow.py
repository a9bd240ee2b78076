"""The authorization code flow of browsers: PKCE, state and nonce (OpenID Connect Core §3.1, RFC 7636, RFC 9700 §2.1).

What a browser began is kept here until it comes back: once, for ten minutes, and for that browser alone. Randomness and
the time are arguments; only `finish` asks somebody.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final

import attrs
from authlib.oauth2.rfc6749.parameters import (  # type: ignore[import-untyped]
    prepare_grant_uri,
)
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]

from pharos.helm.accounts.oidc.answers import Tokens, check_code, read_answer
from pharos.helm.accounts.oidc.metadata import Metadata
from pharos.helm.accounts.oidc.provider import Provider
from pharos.helm.errors import NotSignedInError
from pharos.helm.model.oidc import Claims, Client
from pharos.wire.units import MINUTES, SECONDS

SCOPE: Final = "openid profile email"
LIFETIME: Final = 10 * MINUTES
"""As long as a provider's code is good at most (RFC 6749 §4.1.2)."""
MAX_PENDING: Final = 256
"""Some 150 kB. Whoever begins more pushes out the oldest, not the newest: that is the one somebody waits for."""
MAX_CODE: Final = 4096
"""Characters of an authorization code; those of the largest providers have 2,000."""
PROOF: Final = 5 * MINUTES
"""The provider asks again who it is when it last did so longer ago: a session begins with a fresh proof."""
_OCTETS: Final = 32
_AGAIN: Final = "this sign-in was not begun in this browser, or is used up or too old; begin again"


@attrs.frozen(kw_only=True)
class Pending:
    """A sign-in that some browser began."""

    issuer: str
    redirect_uri: str
    nonce: str = attrs.field(repr=False)
    verifier: str = attrs.field(repr=False)
    """RFC 7636 §4.1: who intercepts the code cannot use it."""
    browser: bytes = attrs.field(repr=False)
    """SHA-256 of what that browser keeps in a cookie."""
    names_itself: bool
    begun_at: float
    """Seconds since 1970."""


@attrs.frozen(kw_only=True)
class Begun:
    """Where the browser goes, and what it keeps."""

    url: str = attrs.field(repr=False)
    cookie: str = attrs.field(repr=False)


class Flows:
    """The sign-ins that wait for their browser, oldest first."""

    def __init__(self) -> None:
        self._pending: dict[str, Pending] = {}

    def begin(
        self, client: Client, metadata: Metadata, redirect_uri: str, *, now: float, draw: Callable[[int], str]
    ) -> Begun:
        """Begin one. ``draw`` returns so many random octets as text that fits a URL; ``now`` is in seconds."""
        self._pending = {state: one for state, one in self._pending.items() if now < one.begun_at + LIFETIME / SECONDS}
        while len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        state, nonce, verifier, cookie = (draw(_OCTETS) for _ in range(4))
        self._pending[state] = Pending(
            issuer=client.issuer,
            redirect_uri=redirect_uri,
            nonce=nonce,
            verifier=verifier,
            browser=hash_cookie(cookie),
            names_itself=metadata.names_itself,
            begun_at=now,
        )
        url: str = prepare_grant_uri(
            metadata.authorization_endpoint,
            client.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope=SCOPE,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
            max_age=str(int(PROOF / SECONDS)),
        )
        return Begun(url=url, cookie=cookie)

    def take(self, answer: Mapping[str, str], cookie: str, *, now: float) -> tuple[Pending, str]:
        """Return the sign-in that a browser comes back from, and its code. It is used up, however this ends.

        Raises: NotSignedInError — another browser began it, or nobody; the provider refused, or is not the one.
        """
        pending = self._pending.pop(answer.get("state", ""), None)
        if pending is None or now >= pending.begun_at + LIFETIME / SECONDS or not is_browser(pending, cookie):
            raise NotSignedInError(_AGAIN)
        # RFC 9207 §2.4: another provider's answer carries another provider's code.
        issuer = answer.get("iss", "" if pending.names_itself else pending.issuer)
        if issuer != pending.issuer:
            raise NotSignedInError("another provider than the one that was asked sent this browser back")
        if "error" in answer:
            raise NotSignedInError(f"the provider says no: {check_code(answer['error'])}")
        code = answer.get("code", "")
        if not 0 < len(code) <= MAX_CODE:
            raise NotSignedInError("the provider sent this browser back without a code")
        return pending, code


async def finish(provider: Provider, client: Client, pending: Pending, code: str) -> Claims:
    """Redeem a code and return who it is.

    Raises: ProviderError — it is refused, or what comes for it is not to be believed. ProviderAwayError.
    """
    metadata = await provider.metadata()
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": pending.redirect_uri,
        "code_verifier": pending.verifier,
    }
    status, body = await provider.post(metadata.token_endpoint, form, client)
    tokens = read_answer(Tokens, status, body, provider.issuer)
    return await provider.verified(tokens, client, nonce=pending.nonce, proven_since=pending.begun_at - PROOF / SECONDS)


def is_browser(pending: Pending, cookie: str) -> bool:
    """Tell whether a browser is the one that began it: else one could sign others in as oneself (RFC 9700 §2.1)."""
    return hmac.compare_digest(pending.browser, hash_cookie(cookie))


def hash_cookie(text: str) -> bytes:
    """Return what is kept of a cookie of 256 random bits."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()

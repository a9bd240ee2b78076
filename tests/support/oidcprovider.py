"""An OpenID provider on loopback, over real HTTP, that does what a test tells it to: also what no provider should."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import html
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote_plus, urlencode

import attrs
import httpx
import trio
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from quart import Response, request
from quart_trio import QuartTrio

from tests.support.http import serving

Key = RSAKey | ECKey
CLIENT = "pharos"
ACCESS = "an-access-token"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@functools.cache
def rsa_key(kid: str = "one", size: int = 2048) -> RSAKey:
    return RSAKey.generate_key(size, {"kid": kid, "use": "sig"})


@functools.cache
def ec_key(kid: str = "two", curve: Any = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {"kid": kid, "use": "sig"})


@attrs.define
class OidcProvider:
    """What it says, and what it was asked."""

    issuer: str = ""
    claims: dict[str, Any] = attrs.field(factory=dict)
    """Of the next ID token, beside or in place of the usual ones; None leaves one out."""
    header: dict[str, Any] = attrs.field(factory=dict)
    document: dict[str, Any] = attrs.field(factory=dict)
    """Of the discovery document, as ``claims``."""
    userinfo: dict[str, Any] = attrs.field(factory=dict)
    """Served where ``document`` names ``/userinfo``."""
    published: list[Key] = attrs.field(factory=lambda: [rsa_key(), ec_key()])
    signer: Key | OctKey = attrs.field(factory=rsa_key)
    algorithm: str = "RS256"
    clock: float = 0.0
    """Seconds by which it is wrong."""
    secret: str = ""
    """Of the client; empty: it has none."""
    in_form: bool = False
    fault: Callable[[str], Response | None] | None = None
    """Answers in its place, by path."""
    device_answers: list[str] = attrs.field(factory=list)
    """Errors that are given first, one a question."""
    asks: bool = False
    """Whether it shows a person a page with a button, rather than to send the browser straight back."""
    asked: list[str] = attrs.field(factory=list)
    """Paths."""
    _codes: dict[str, dict[str, str]] = attrs.field(factory=dict)

    def token(self, **more: Any) -> str:
        """Return an ID token."""
        now = int(time.time() + self.clock)
        claims = {"iss": self.issuer, "sub": "248289761001", "aud": CLIENT, "iat": now, "exp": now + 300}
        claims |= {"email": "ada@example.org", "email_verified": True, "name": "Ada", "groups": ["staff", "vpn"]}
        claims |= {"auth_time": now} | more | self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.algorithm, "kid": self.signer.kid} | self.header
        header = {name: value for name, value in header.items() if value is not None}
        if header.get("alg") != self.algorithm or self.algorithm == "HS256":
            return forged(header, claims, key=self.signer.raw_value if isinstance(self.signer, OctKey) else b"")
        return jwt.encode(header, claims, self.signer, algorithms=[self.algorithm])

    def metadata(self) -> dict[str, Any]:
        """Return the discovery document."""
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post" if self.in_form else "client_secret_basic"],
        } | self.document
        return {name: value for name, value in document.items() if value is not None}

    def authorize(self) -> str:
        """Sign somebody in who is asked nothing, and return where the browser goes on."""
        asked = request.args.to_dict()
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        more = {"iss": self.issuer} if self.document.get("authorization_response_iss_parameter_supported") else {}
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], **more})}"

    async def redeem(self) -> Response:
        """Answer at the token endpoint (RFC 6749 §5)."""
        form = (await request.form).to_dict()
        if not self._knows(form):
            return error("invalid_client", 401)
        if form["grant_type"] == DEVICE_GRANT:
            if self.device_answers:
                return error(self.device_answers.pop(0))
            return answer({"id_token": self.token(), "access_token": ACCESS, "token_type": "Bearer"})
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if asked is None or asked["code_challenge"] != challenge.decode().rstrip("="):
            return error("invalid_grant")
        if asked["redirect_uri"] != form["redirect_uri"] or asked["code_challenge_method"] != "S256":
            return error("invalid_grant")
        return answer({"id_token": self.token(nonce=asked["nonce"]), "access_token": ACCESS, "token_type": "Bearer"})

    def _knows(self, form: dict[str, str]) -> bool:
        basic = request.headers.get("Authorization", "").removeprefix("Basic ")
        name, _, secret = base64.b64decode(basic).decode().partition(":")
        if basic:
            return (unquote_plus(name), unquote_plus(secret)) == (CLIENT, self.secret) and "client_id" not in form
        return (form.get("client_id"), form.get("client_secret", "")) == (CLIENT, self.secret)


def forged(header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    """Return a token as libraries rightly do not make one: not signed, or with a public key as if it were secret."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    signed = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}"
    if header.get("alg") != "HS256":
        return f"{signed}."
    return f"{signed}.{part(hmac.digest(key, signed.encode(), 'sha256'))}"


def answer(body: Any, status: int = 200) -> Response:
    return Response(json.dumps(body), status=status, content_type="application/json")


def error(code: str, status: int = 400) -> Response:
    return answer({"error": code}, status)


def make_app(provider: OidcProvider) -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)

    @app.before_request
    async def perhaps_fail() -> Response | None:
        provider.asked.append(request.path)
        found = provider.fault(request.path) if provider.fault is not None else None
        if found is not None and found.status_code == SLOW:
            await trio.sleep_forever()
        return found

    @app.get("/.well-known/openid-configuration")
    async def discovery() -> Response:
        return answer(provider.metadata())

    @app.get("/keys")
    async def keys() -> Response:
        return answer({"keys": [key.as_dict(private=False) for key in provider.published]})

    @app.get("/authorize")
    async def authorize() -> Response:
        target = provider.authorize()
        if provider.asks:
            page = f"<!doctype html><button onclick=\"location.href='{html.escape(target)}'\">It is me</button>"
            return Response(page, content_type="text/html")
        return Response(b"", status=302, headers={"Location": target})

    @app.get("/userinfo")
    async def userinfo() -> Response:
        if request.headers.get("Authorization") != f"Bearer {ACCESS}":
            return error("invalid_token", 401)
        return answer(provider.userinfo)

    @app.post("/token")
    async def token() -> Response:
        return await provider.redeem()

    @app.post("/device")
    async def device() -> Response:
        form = (await request.form).to_dict()
        if not provider._knows(form):
            return error("invalid_client", 401)
        return answer(
            {
                "device_code": "d" * 40,
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{provider.issuer}/activate",
                "verification_uri_complete": f"{provider.issuer}/activate?user_code=WDJB-MJHT",
                "expires_in": 600,
                "interval": 0,
            }
        )

    return app


SLOW = 599
"""The status of a response that is never given."""


@asynccontextmanager
async def running_provider(host: str = "localhost", **changes: Any) -> AsyncIterator[OidcProvider]:
    """Run a provider on a free port of loopback; a ``host`` of another name is another site to browsers."""
    provider = OidcProvider(**changes)
    async with serving(make_app(provider)) as port:
        provider.issuer = f"http://{host}:{port}"
        yield provider


async def visit(url: str) -> str:
    """Go to the provider as a browser does, and return where it sends one back to."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        response = await client.get(url)
    assert response.status_code == 302, response.text
    return response.headers["Location"]

"""Signing in and out over HTTP, and who is behind a request: a session's cookie, or an API token.

POST   /api/v1/session            {"link"} or {"name", "password", "code"}; sets the cookie
GET    /api/v1/session            who I am, and what to send with a change
GET    /api/v1/session/door       which fleet this is, for whoever stands before it
DELETE /api/v1/session            sign out; ?all=true everywhere
GET    /api/v1/session/mine       my sessions, here and in other browsers
DELETE /api/v1/session/mine/{id}  end one
POST   /api/v1/session/prove      {"password"}: a fresh proof, good for five minutes
PUT    /api/v1/session/password   {"password"}
PUT    /api/v1/session/totp       {"secret", "code"}
"""

from __future__ import annotations

import base64
import hmac
from typing import Final

import attrs
import msgspec
import pyotp
from quart import Blueprint, Response, current_app, g, request, websocket
from quart_schema import document_request, document_response, tag
from quart_trio import QuartTrio

from pharos.helm.accounts.sessions import end_all, end_astray, end_one, list_sessions
from pharos.helm.accounts.signin import FRESH, SignedIn, SignIn, expiry
from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError, NotSignedInError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Admin, Principal, Role, Via
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.settings import setting
from pharos.helm.store.signins import AdminSession, find_session, find_token_principal, hash_secret, touch_session
from pharos.helm.store.times import rfc3339
from pharos.helm.web.acting import Answer, acting, reading
from pharos.helm.web.problems import problem
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API

COOKIE: Final = "pharos_session"
CSRF_HEADER: Final = "X-Pharos-CSRF"
# A session is touched once a minute: a page that polls does not make a durable write of each poll.
TOUCH_EVERY: Final = 60 * 1_000_000
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class SignInBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A one-time link's secret, or name, password and TOTP code."""

    link: str | None = None
    name: str = ""
    password: str = ""
    code: str = ""


class ProofBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The password, again or a new one."""

    password: str


class TotpBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A TOTP secret in base32, and a code that shows that the app has it."""

    secret: str
    code: str


class Me(msgspec.Struct, kw_only=True):
    """Who is signed in."""

    name: str
    role: str
    csrf: str
    """To be sent with every change, in X-Pharos-CSRF."""
    how: str
    """link, password, passkey or oidc."""
    expires_at: str
    fresh_until: str
    """Until then the proof counts for acts that take a fresh one."""
    password_set: bool
    totp_set: bool


class Door(msgspec.Struct, kw_only=True):
    """What a page shows to whoever has not signed in: nothing of it says who there is, or what is allowed."""

    id: str
    """Of the fleet, made of its root: devices show the same."""
    name: str
    single_sign_on: bool
    """Whether ``GET /api/v1/session/oidc`` leads to an OpenID provider."""


@attrs.frozen(kw_only=True)
class Signed:
    """The session behind a request."""

    session: AdminSession
    admin: Admin


def recognise_callers(app: QuartTrio, context: HelmContext) -> None:
    """Let the app find out who is behind each request; who it is may do, the transaction decides."""

    @app.before_request
    async def recognise_request() -> Response | None:
        authorization = request.headers.get("Authorization", "")
        if authorization:
            return await _recognise_token(context, authorization)
        signed = await _find(context, request.cookies.get(session_cookie(), ""))
        if signed is None:
            return None
        if request.method not in _SAFE:
            # A page of another port of this machine is the same site to SameSite (row 47): it can send the cookie, but
            # it cannot read this.
            said = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(said.encode(), csrf_text(signed.session).encode()):
                return problem(403, f"a change has to carry {CSRF_HEADER}, as GET {API}/session gives it")
        _keep(signed)
        return None

    @app.before_websocket
    async def recognise_websocket() -> Response | None:
        signed = await _find(context, websocket.cookies.get(session_cookie(), ""))
        if signed is None:
            return problem(401, "sign in first")
        _keep(signed)
        return None


async def _recognise_token(context: HelmContext, authorization: str) -> Response | None:
    scheme, _, text = authorization.partition(" ")
    principal = None
    if scheme.lower() == "bearer" and text.isascii():
        principal = await context.store.run(lambda db: find_token_principal(db, hash_secret(text), at=now_us()))
    if principal is None:
        return problem(401, "this token is unknown, revoked or expired")
    g.principal = principal
    return None


async def _find(context: HelmContext, cookie: str) -> Signed | None:
    if not cookie or not cookie.isascii():
        return None
    digest, certificate = hash_secret(cookie), browser_certificate()

    def find(db: Database) -> Signed | None:
        at = now_us()
        found = find_session(db, digest, at=at)
        if found is None:
            return None
        session, admin = found
        if session.bound and session.bound != certificate:
            end_astray(db, session, admin, at=at)
            return None
        if at - session.seen_at >= TOUCH_EVERY:
            touch_session(db, digest, at=at, expires_at=expiry(session.created_at, at))
        return Signed(session=session, admin=admin)

    return await context.store.run(find)


def _keep(signed: Signed) -> None:
    g.signed = signed
    g.principal = Principal(
        name=signed.admin.name,
        role=signed.admin.role,
        via=Via.SESSION,
        admin_id=signed.admin.id,
        credential=signed.session.hash,
    )


def browser_certificate() -> str:
    """Return the fingerprint of the certificate that this browser showed; empty: none, or no TLS."""
    return g.get("browser_certificate") or ""


def over_tls() -> bool:
    """Tell whether this app is served by TLS (`web_tls`)."""
    return bool(current_app.config.get("PHAROS_TLS"))


def session_cookie() -> str:
    """Return what the session's cookie is called.

    By TLS it has a name that browsers give to nobody but this very host, Secure and for all of its paths (RFC 6265bis
    §4.1.3.2), so that a page of plain HTTP on another port cannot plant one.
    """
    return f"__Host-{COOKIE}" if over_tls() else COOKIE


def signed_in() -> Signed:
    """Return the session behind this request.

    Raises: NotSignedInError — there is none; a token is no session.
    """
    found: Signed | None = g.get("signed")
    if found is None:
        raise NotSignedInError("sign in with a browser first: helm admins link prints a one-time link")
    return found


def make_session_blueprint(context: HelmContext) -> Blueprint:
    """Serve signing in and out."""
    blueprint = Blueprint("session", __name__, url_prefix=f"{API}/session")
    door = SignIn(context.store, context.vault, context.hashing, context.tries)

    @blueprint.post("")
    @tag(["session"])
    @document_request(SignInBody)
    @document_response(Me, 200)
    async def sign_in() -> Response:
        """Sign in"""
        body = await read_body(SignInBody)
        browser, bound = request.headers.get("User-Agent", ""), browser_certificate()
        if body.link is not None:
            signed = await door.by_link(body.link, browser=browser, bound=bound)
        elif body.name and body.password:
            signed = await door.by_password(body.name, body.password, body.code, browser=browser, bound=bound)
        else:
            raise InvalidRequestError("say a link, or name and password")
        return welcome(signed)

    @blueprint.get("")
    @tag(["session"])
    @document_response(Me, 200)
    async def show() -> Response:
        """Show who is signed in"""
        signed = signed_in()
        return _me(signed.session, signed.admin)

    @blueprint.get("/door")
    @tag(["session"])
    @document_response(Door, 200)
    async def door_sign() -> Response:
        """Show which fleet this is"""
        return (await context.store.read(_door_sign)).response()

    @blueprint.delete("")
    @tag(["session"])
    async def sign_out() -> Response:
        """Sign out, here or everywhere"""
        signed = signed_in()
        act = Act(actor=signed.admin.name, at=now_us(), via=Via.SESSION.value)
        if request.args.get("all") == "true":
            await context.store.run(end_all, act, signed.admin.id)
        else:
            await context.store.run(end_one, act, signed.admin.id, signed.session.id)
        response = Response(b"", status=204)
        response.delete_cookie(session_cookie(), path="/", secure=over_tls(), httponly=True, samesite="Strict")
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response

    @blueprint.get("/mine")
    @tag(["session"])
    async def mine() -> Response:
        """List my sessions"""
        signed = signed_in()

        def read(db: Database) -> Answer:
            found = list_sessions(db, signed.admin.id, at=now_us(), own=signed.session.hash)
            return Answer(body={"items": found})

        return await reading(context, Role.VIEWER, read)

    @blueprint.delete("/mine/<session_id>")
    @tag(["session"])
    async def end_mine(session_id: str) -> Response:
        """End one of my sessions"""
        signed = signed_in()

        def write(db: Database, act: Act) -> Answer:
            end_one(db, act, signed.admin.id, session_id)
            return Answer(body=None, status=204)

        return await acting(context, Role.VIEWER, write)

    @blueprint.post("/prove")
    @tag(["session"])
    @document_request(ProofBody)
    async def prove() -> Response:
        """Show the password again"""
        signed, body = signed_in(), await read_body(ProofBody)
        await door.prove(signed.session, signed.admin, body.password)
        return Response(b"", status=204)

    @blueprint.put("/password")
    @tag(["session"])
    @document_request(ProofBody)
    async def password() -> Response:
        """Set the password"""
        signed, body = signed_in(), await read_body(ProofBody)
        await door.set_password(signed.session, signed.admin, body.password)
        return Response(b"", status=204)

    @blueprint.get("/totp")
    @tag(["session"])
    async def totp_secret() -> Response:
        """Draw a TOTP secret; it counts when PUT brings it back with a code"""
        signed = signed_in()
        secret = pyotp.random_base32()
        link = pyotp.TOTP(secret).provisioning_uri(name=signed.admin.name, issuer_name="Pharos")
        return Answer(body={"secret": secret, "link": link}).response()

    @blueprint.put("/totp")
    @tag(["session"])
    @document_request(TotpBody)
    async def totp() -> Response:
        """Set the TOTP secret"""
        signed, body = signed_in(), await read_body(TotpBody)
        await door.set_totp(signed.session, signed.admin, body.secret, body.code)
        return Response(b"", status=204)

    return blueprint


def csrf_text(session: AdminSession) -> str:
    """Return what a page has to send with every change."""
    return base64.urlsafe_b64encode(session.csrf).decode().rstrip("=")


def _me(session: AdminSession, admin: Admin) -> Response:
    return Answer(
        body={
            "name": admin.name,
            "role": admin.role.value,
            "csrf": csrf_text(session),
            "how": session.how,
            "expires_at": rfc3339(session.expires_at),
            "fresh_until": rfc3339(session.proven_at + FRESH),
            "password_set": admin.password is not None,
            "totp_set": admin.totp is not None,
        }
    ).response()


def _door_sign(db: Database) -> Answer:
    sign_on = bool(setting(db, "oidc.issuer") and setting(db, "oidc.client_id"))
    return Answer(body={"id": get_fleet(db).id, "name": setting(db, "fleet.name"), "single_sign_on": sign_on})


def welcome(signed: SignedIn) -> Response:
    """Return what a browser gets that has just signed in."""
    return give_cookie(_me(signed.session, signed.admin), signed)


def give_cookie(response: Response, signed: SignedIn) -> Response:
    """Let a response carry the session that has just begun."""
    # Secure only there: without TLS, on loopback, browsers would drop a Secure cookie of `127.0.0.1`.
    response.set_cookie(session_cookie(), signed.cookie, secure=over_tls(), httponly=True, samesite="Strict", path="/")
    return response

"""Single sign-on over HTTP: admins come in by the OpenID provider, and owners say which one that is.

GET    /api/v1/session/oidc            begins: a redirect to the provider
GET    /api/v1/session/oidc/callback   comes back: a session, and a redirect to the page
                                       (where either fails, a window is sent to the page's door)
GET    /api/v1/oidc                    what is set
POST   /api/v1/oidc/test               ask the provider for its documents
PUT    /api/v1/oidc/secret             {"secret"}
DELETE /api/v1/oidc/secret
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

import msgspec
from quart import Blueprint, Response, request
from quart_schema import document_request, document_response, tag

from pharos.helm.accounts.oidc.codeflow import LIFETIME, Flows, finish
from pharos.helm.accounts.oidc.provider import Provider
from pharos.helm.accounts.oidc.settings import forget_secret, has_secret, read_client, set_secret
from pharos.helm.accounts.oidcadmins import admit_admin, note_refusal
from pharos.helm.accounts.signin import SignedIn, begin_session, check_fresh
from pharos.helm.context import HelmContext
from pharos.helm.errors import ConflictError, NotAllowedError, NotSignedInError, ProviderError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role, Via
from pharos.helm.model.oidc import Claims, Client
from pharos.helm.store.admins import check_principal
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.settings import setting
from pharos.helm.web.acting import Answer, acting, principal, reading, request_noun
from pharos.helm.web.guard import CALLBACK
from pharos.helm.web.problems import problem_of
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API, Problem
from pharos.helm.web.session import browser_certificate, give_cookie, over_tls, signed_in
from pharos.wire.chance import token_urlsafe
from pharos.wire.errors import WireError
from pharos.wire.units import SECONDS

log = logging.getLogger(__name__)

FLOW_COOKIE: Final = "pharos_oidc"
FLOW_PATH: Final = f"{API}/session/oidc"
assert f"{FLOW_PATH}/callback" == CALLBACK, "the guard lets exactly this one through"
REFUSED: Final = "/#sso=refused"
"""The page's door, which says that nobody was let in; why is for those who are in (audit and log)."""


class SecretBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The secret that the provider gave to this client."""

    secret: str


class OidcView(msgspec.Struct, kw_only=True):
    """What is set."""

    issuer: str
    client_id: str
    secret_set: bool
    groups_claim: str
    roles: list[str]
    users: bool


class OidcFound(msgspec.Struct, kw_only=True):
    """What a provider publishes."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    keys: int
    device_code: bool


def make_oidc_signin_blueprint(context: HelmContext) -> Blueprint:
    """Serve the way to the provider and back; for browsers only."""
    blueprint = Blueprint("oidc_session", __name__, url_prefix=FLOW_PATH)
    flows = Flows()

    @blueprint.get("")
    @tag(["session"])
    @document_response(Problem, 404)
    @document_response(Problem, 502)
    async def begin() -> Response:
        """Go to the OpenID provider"""
        client = await context.store.read(read_client, context.vault)
        metadata = await context.oidc.of(client.issuer).metadata()
        back = f"{request.scheme}://{request.host}{CALLBACK}"
        begun = flows.begin(client, metadata, back, now=_seconds(), draw=token_urlsafe)
        response = Response(b"", status=HTTPStatus.FOUND, headers={"Location": begun.url})
        # Lax, for the provider's page is the one that sends the browser back. It opens nothing by itself.
        response.set_cookie(
            FLOW_COOKIE,
            begun.cookie,
            max_age=int(LIFETIME / SECONDS),
            path=FLOW_PATH,
            secure=over_tls(),
            httponly=True,
            samesite="Lax",
        )
        return response

    @blueprint.get("/callback")
    @tag(["session"])
    @document_response(Problem, 401)
    @document_response(Problem, 403)
    @document_response(Problem, 502)
    async def callback() -> Response:
        """Come back from the OpenID provider"""
        pending, code = flows.take(request.args.to_dict(), request.cookies.get(FLOW_COOKIE, ""), now=_seconds())
        client = await context.store.read(read_client, context.vault)
        if client.issuer != pending.issuer:
            raise NotSignedInError("another provider was set meanwhile; begin again")
        claims = await finish(context.oidc.of(client.issuer), client, pending, code)
        signed = await _let_in(context, claims, browser=request.headers.get("User-Agent", ""))
        response = Response(b"", status=HTTPStatus.SEE_OTHER, headers={"Location": "/"})
        response.delete_cookie(FLOW_COOKIE, path=FLOW_PATH, secure=over_tls(), httponly=True, samesite="Lax")
        return give_cookie(response, signed)

    @blueprint.errorhandler(WireError)
    async def refuse(error: WireError) -> Response:
        if isinstance(error, ProviderError):
            log.warning("nobody came in by the OpenID provider: %s", error)
        answer = problem_of(error)
        # Any program takes */*; a window of a browser says that it shows pages.
        if "text/html" not in request.accept_mimetypes.values():
            return answer
        # The cookie stays: another site's page can bring a window here, and must not end what was begun elsewhere.
        return Response(b"", status=HTTPStatus.SEE_OTHER, headers={"Location": REFUSED})

    return blueprint


def make_oidc_blueprint(context: HelmContext) -> Blueprint:
    """Serve what is set about the provider."""
    blueprint = Blueprint("oidc", __name__, url_prefix=f"{API}/oidc")

    @blueprint.get("")
    @tag(["oidc"])
    @document_response(OidcView, 200)
    async def show() -> Response:
        """Show the OpenID provider"""
        return await reading(context, Role.ADMIN, lambda db: Answer(body=_view(db)))

    @blueprint.post("/test")
    @tag(["oidc"])
    @document_response(OidcFound, 200)
    @document_response(Problem, 404)
    @document_response(Problem, 502)
    async def test() -> Response:
        """Ask the OpenID provider for its documents"""
        who, noun = principal(), request_noun()

        def read(db: Database) -> Client:
            check_principal(db, who, Role.ADMIN, noun=noun, at=now_us())
            return read_client(db, context.vault)

        client = await context.store.read(read)
        # One of its own: what is kept of earlier answers is not what is asked about.
        provider = Provider(client.issuer)
        metadata, keys = await provider.metadata(), await provider.keys()
        found = OidcFound(
            issuer=metadata.issuer,
            authorization_endpoint=metadata.authorization_endpoint,
            token_endpoint=metadata.token_endpoint,
            keys=len(keys),
            device_code=bool(metadata.device_authorization_endpoint),
        )
        return Answer(body=msgspec.to_builtins(found)).response()

    @blueprint.put("/secret")
    @tag(["oidc"])
    @document_request(SecretBody)
    async def secret() -> Response:
        """Keep the client's secret"""
        check_proof()
        body: Any = await read_body(SecretBody)

        def write(db: Database, act: Act) -> Answer:
            set_secret(db, act, context.vault, body.secret)
            return Answer(body=None, status=204)

        return await acting(context, Role.OWNER, write)

    @blueprint.delete("/secret")
    @tag(["oidc"])
    async def forget() -> Response:
        """Forget the client's secret"""
        check_proof()

        def write(db: Database, act: Act) -> Answer:
            forget_secret(db, act)
            return Answer(body=None, status=204)

        return await acting(context, Role.OWNER, write)

    return blueprint


def check_proof() -> None:
    """Raises: NotSignedInError — it is a browser's session, and its proof is not fresh."""
    if principal().via is Via.SESSION:
        check_fresh(signed_in().session)


async def _let_in(context: HelmContext, claims: Claims, *, browser: str) -> SignedIn:
    """Begin a session of whoever the provider says it is, by the settings as this transaction sees them."""
    bound = browser_certificate()

    def write(db: Database) -> SignedIn:
        at = now_us()
        admin = admit_admin(db, read_client(db, context.vault), claims, at=at)
        return begin_session(db, admin, at=at, browser=browser, how="oidc", bound=bound)

    try:
        return await context.store.run(write)
    except (NotAllowedError, ConflictError) as error:
        await context.store.run(note_refusal, claims, str(error), at=now_us())
        raise


def _view(db: Database) -> dict[str, Any]:
    shown = OidcView(
        issuer=setting(db, "oidc.issuer"),
        client_id=setting(db, "oidc.client_id"),
        secret_set=has_secret(db),
        groups_claim=setting(db, "oidc.groups_claim"),
        roles=list(setting(db, "oidc.roles")),
        users=setting(db, "oidc.users"),
    )
    view: dict[str, Any] = msgspec.to_builtins(shown)
    return view


def _seconds() -> float:
    return now_us() / 1_000_000

"""Passkeys over HTTP: making one, signing in by one, showing one again, and looking after one's own.

GET    /api/v1/session/passkeys                  mine
POST   /api/v1/session/passkeys/options          what navigator.credentials.create() takes; wants a fresh proof
POST   /api/v1/session/passkeys                  {"name", "credential"}: what it gave
PATCH  /api/v1/session/passkeys/{id}             {"name"}, If-Match
DELETE /api/v1/session/passkeys/{id}             If-Match; wants a fresh proof
POST   /api/v1/session/passkeys/sign-in/options  {"name"?}: what navigator.credentials.get() takes
POST   /api/v1/session/passkeys/sign-in          {"credential"}: sets the cookie, as POST /api/v1/session does
POST   /api/v1/session/passkeys/prove/options
POST   /api/v1/session/passkeys/prove            {"credential"}: a fresh proof, good for five minutes

Options and credentials are JSON as browsers' own parse…FromJSON() and toJSON() have it (WebAuthn Level 3).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from quart import Blueprint, Response, request
from quart_schema import document_headers, document_request, document_response, tag

from pharos.helm.accounts.ceremonies import Site, site_at
from pharos.helm.accounts.passkeys import Passkeys, add_passkey, remove_passkey, rename_passkey
from pharos.helm.accounts.signin import check_fresh
from pharos.helm.context import HelmContext
from pharos.helm.model.admins import Role
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.passkeys import PASSKEYS, passkeys_of
from pharos.helm.web.acting import Answer, acting, reading
from pharos.helm.web.requests import read_body, seen_version
from pharos.helm.web.resources import API, Versioned, view_type
from pharos.helm.web.session import Me, browser_certificate, signed_in, welcome


class NewPasskeyBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A passkey that a browser has made."""

    name: str
    """What its owner calls it."""
    credential: dict[str, Any]
    """RegistrationResponseJSON."""


class PasskeyChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a passkey changes."""

    name: str


class WhoBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Who wants to sign in; left out: whoever the passkey says."""

    name: str = ""


class AssertionBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a browser has signed."""

    credential: dict[str, Any]
    """AuthenticationResponseJSON."""


def make_passkeys_blueprint(context: HelmContext, origins: Collection[str]) -> Blueprint:
    """Serve passkeys to the pages at ``origins``, each with scheme and port as browsers write them."""
    blueprint = Blueprint("passkeys", __name__, url_prefix=f"{API}/session/passkeys")
    door = Passkeys(context.store, context.vault)
    shown = view_type(PASSKEYS)

    def site() -> Site:
        return site_at(request.host, origins)

    @blueprint.get("")
    @tag(["session"])
    async def list_() -> Response:
        """List my passkeys"""
        signed = signed_in()

        def read(db: Database) -> Answer:
            return Answer(body={"items": [PASSKEYS.view(passkey) for passkey in passkeys_of(db, signed.admin.id)]})

        return await reading(context, Role.VIEWER, read)

    @blueprint.post("/options")
    @tag(["session"])
    async def begin() -> Response:
        """Ask for a passkey to be made"""
        signed = signed_in()
        check_fresh(signed.session)
        return Answer(body=await door.ask_to_register(site(), signed.session, signed.admin)).response()

    @blueprint.post("")
    @tag(["session"])
    @document_request(NewPasskeyBody)
    @document_response(shown, 201)
    async def add() -> Response:
        """Keep a passkey that was made"""
        signed, body = signed_in(), await read_body(NewPasskeyBody)
        here = site()
        made = door.take_registration(here, signed.session, body.credential)

        def write(db: Database, act: Act) -> Answer:
            passkey = add_passkey(db, act, signed.admin.id, body.name, made, here)
            return Answer(body=PASSKEYS.view(passkey), status=201, version=passkey.version)

        return await acting(context, Role.VIEWER, write)

    @blueprint.patch("/<passkey_id>")
    @tag(["session"])
    @document_request(PasskeyChange)
    @document_headers(Versioned)
    @document_response(shown, 200)
    async def change(passkey_id: str) -> Response:
        """Call a passkey something else"""
        signed, version, body = signed_in(), seen_version(), await read_body(PasskeyChange)

        def write(db: Database, act: Act) -> Answer:
            passkey = rename_passkey(db, act, signed.admin.id, passkey_id, version, body.name)
            return Answer(body=PASSKEYS.view(passkey), version=passkey.version)

        return await acting(context, Role.VIEWER, write)

    @blueprint.delete("/<passkey_id>")
    @tag(["session"])
    @document_headers(Versioned)
    async def remove(passkey_id: str) -> Response:
        """Remove a passkey; my other sessions end"""
        signed, version = signed_in(), seen_version()
        check_fresh(signed.session)

        def write(db: Database, act: Act) -> Answer:
            remove_passkey(db, act, signed.session, passkey_id, version)
            return Answer(body=None, status=204)

        return await acting(context, Role.VIEWER, write)

    @blueprint.post("/sign-in/options")
    @tag(["session"])
    @document_request(WhoBody)
    async def begin_sign_in() -> Response:
        """Ask for a passkey to sign in by"""
        body = await read_body(WhoBody)
        return Answer(body=await door.ask_to_sign_in(site(), body.name)).response()

    @blueprint.post("/sign-in")
    @tag(["session"])
    @document_request(AssertionBody)
    @document_response(Me, 200)
    async def sign_in() -> Response:
        """Sign in by a passkey"""
        body = await read_body(AssertionBody)
        browser = request.headers.get("User-Agent", "")
        return welcome(await door.sign_in(site(), body.credential, browser=browser, bound=browser_certificate()))

    @blueprint.post("/prove/options")
    @tag(["session"])
    async def begin_proof() -> Response:
        """Ask for a passkey to be shown again"""
        return Answer(body=await door.ask_to_prove(site(), signed_in().session)).response()

    @blueprint.post("/prove")
    @tag(["session"])
    @document_request(AssertionBody)
    async def prove() -> Response:
        """Show a passkey again"""
        signed, body = signed_in(), await read_body(AssertionBody)
        await door.prove(site(), signed.session, body.credential)
        return Response(b"", status=204)

    return blueprint

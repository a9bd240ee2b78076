"""Account logins over HTTP: passphrases of users, logins that wait for somebody to say yes, and the fleet's link.

POST   /api/v1/users/{id}/passphrase   {"passphrase"}
DELETE /api/v1/users/{id}/passphrase
GET    /api/v1/logins/{code}           what the code would let in
POST   /api/v1/logins/{code}/confirm   let it in; from a browser with a fresh proof
GET    /api/v1/fleet/link              for caravel login; no secret
"""

from __future__ import annotations

from typing import Any

import msgspec
from quart import Blueprint, Response, g
from quart_schema import document_request, document_response, tag

from pharos.helm.accounts.confirm import note_confirmed
from pharos.helm.accounts.passphrases import encode_passphrase
from pharos.helm.accounts.signin import check_fresh
from pharos.helm.accounts.tickets import fleet_link
from pharos.helm.accounts.waiting import WaitingLogin
from pharos.helm.context import HelmContext
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.model.users import User
from pharos.helm.store.admins import check_principal
from pharos.helm.store.changes import Act
from pharos.helm.store.credentials import drop_passphrase, put_passphrase
from pharos.helm.store.database import Database
from pharos.helm.store.records import get_record
from pharos.helm.store.times import rfc3339
from pharos.helm.store.users import USERS
from pharos.helm.web.acting import Answer, acting, principal, reading, request_noun
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API


class PassphraseBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A user's new passphrase."""

    passphrase: str


class Waiting(msgspec.Struct, kw_only=True):
    """A login that waits."""

    user: str
    user_name: str
    device_name: str
    """What the new device calls itself: nobody has checked it."""
    relay: str
    """Id of the relay that it came through."""
    asked_at: str


class Link(msgspec.Struct, kw_only=True):
    """The fleet's link."""

    link: str


def make_logins_blueprint(context: HelmContext) -> Blueprint:
    """Serve them."""
    blueprint = Blueprint("logins", __name__, url_prefix=API)

    @blueprint.post("/users/<user_id>/passphrase")
    @tag(["users"])
    @document_request(PassphraseBody)
    async def passphrase(user_id: str) -> Response:
        """Set a user's passphrase"""
        body: Any = await read_body(PassphraseBody)
        # Whether there is such a user first: hashing takes its time.
        await context.store.read(get_record, USERS, user_id)
        encoded = await encode_passphrase(context.hashing, body.passphrase)
        who, noun, at = principal(), request_noun(), now_us()

        # Not by `acting`, which keeps a digest of what may be repeated: of a passphrase, that would be one to guess by.
        def write(db: Database) -> Answer:
            check_principal(db, who, Role.OPERATOR, noun=noun, at=at)
            return _shown(put_passphrase(db, Act(actor=who.name, at=at, via=who.via.value), user_id, encoded))

        return (await context.store.run(write)).response()

    @blueprint.delete("/users/<user_id>/passphrase")
    @tag(["users"])
    async def forget(user_id: str) -> Response:
        """Let a user log in by a passphrase no more"""
        return await acting(context, Role.OPERATOR, lambda db, act: _shown(drop_passphrase(db, act, user_id)))

    @blueprint.get("/logins/<code>")
    @tag(["logins"])
    @document_response(Waiting, 200)
    async def show(code: str) -> Response:
        """Show what a code would let in"""

        def read(_db: Database) -> Answer:
            return Answer(body=_shown_login(context.logins.find(code)))

        return await reading(context, Role.OPERATOR, read)

    @blueprint.post("/logins/<code>/confirm")
    @tag(["logins"])
    @document_response(Waiting, 200)
    async def confirm(code: str) -> Response:
        """Let a login in that waits"""
        if (signed := g.get("signed")) is not None:
            check_fresh(signed.session)
        login = context.logins.find(code)

        def write(db: Database, act: Act) -> Answer:
            note_confirmed(db, act, login)
            return Answer(body=_shown_login(login))

        with context.logins.confirming(login, principal().name):
            return await acting(context, Role.OPERATOR, write)

    @blueprint.get("/fleet/link")
    @tag(["logins"])
    @document_response(Link, 200)
    async def link() -> Response:
        """Show the link by which devices log in; it is no secret"""

        def read(db: Database) -> Answer:
            return Answer(body={"link": fleet_link(db, context.authority).render()})

        return await reading(context, Role.VIEWER, read)

    return blueprint


def _shown(user: User) -> Answer:
    return Answer(body=USERS.view(user), version=user.version)


def _shown_login(login: WaitingLogin) -> dict[str, str]:
    return {
        "user": login.user_id or "",
        "user_name": login.user_name,
        "device_name": login.device_name,
        "relay": login.relay_id,
        "asked_at": rfc3339(login.asked_at),
    }

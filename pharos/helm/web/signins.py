"""Admins' sessions and passkeys, for owners: by what somebody is signed in, and ending that.

GET    /api/v1/admins/{id}/sessions
DELETE /api/v1/admins/{id}/sessions/{session}
POST   /api/v1/admins/{id}/sign-out            all of them; stands with the admin's other acts
GET    /api/v1/admins/{id}/passkeys
DELETE /api/v1/admins/{id}/passkeys/{passkey}  If-Match; all sessions end
"""

from __future__ import annotations

from quart import Blueprint, Response
from quart_schema import document_headers, tag

from pharos.helm.accounts.passkeys import take_passkey
from pharos.helm.accounts.sessions import end_one, list_sessions
from pharos.helm.context import HelmContext
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.passkeys import PASSKEYS, passkeys_of
from pharos.helm.store.records import get_record
from pharos.helm.web.acting import Answer, acting, reading
from pharos.helm.web.requests import seen_version
from pharos.helm.web.resources import API, Versioned


def make_signins_blueprint(context: HelmContext) -> Blueprint:
    """Serve them."""
    blueprint = Blueprint("signins", __name__, url_prefix=f"{API}/admins")

    @blueprint.get("/<admin_id>/sessions")
    @tag(["admins"])
    async def list_(admin_id: str) -> Response:
        """List an admin's sessions"""

        def read(db: Database) -> Answer:
            return Answer(body={"items": list_sessions(db, admin_id, at=now_us())})

        return await reading(context, Role.OWNER, read)

    @blueprint.delete("/<admin_id>/sessions/<session_id>")
    @tag(["admins"])
    async def end(admin_id: str, session_id: str) -> Response:
        """End one session of an admin"""

        def write(db: Database, act: Act) -> Answer:
            end_one(db, act, admin_id, session_id)
            return Answer(body=None, status=204)

        return await acting(context, Role.OWNER, write)

    @blueprint.get("/<admin_id>/passkeys")
    @tag(["admins"])
    async def passkeys(admin_id: str) -> Response:
        """List an admin's passkeys"""

        def read(db: Database) -> Answer:
            get_record(db, ADMINS, admin_id)
            return Answer(body={"items": [PASSKEYS.view(passkey) for passkey in passkeys_of(db, admin_id)]})

        return await reading(context, Role.OWNER, read)

    @blueprint.delete("/<admin_id>/passkeys/<passkey_id>")
    @tag(["admins"])
    @document_headers(Versioned)
    async def remove_passkey(admin_id: str, passkey_id: str) -> Response:
        """Remove a passkey that an admin has lost; all sessions of the admin end"""
        version = seen_version()

        def write(db: Database, act: Act) -> Answer:
            take_passkey(db, act, admin_id, passkey_id, version)
            return Answer(body=None, status=204)

        return await acting(context, Role.OWNER, write)

    return blueprint

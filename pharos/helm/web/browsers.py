"""Certificates of admins' browsers, for `web_tls`.

POST   /api/v1/admins/{id}/certificates                 {"password", "old"}; 201 with the key, which is kept nowhere
GET    /api/v1/admins/{id}/certificates                 those in force
DELETE /api/v1/admins/{id}/certificates/{fingerprint}   revokes; connections end at once
"""

from __future__ import annotations

import base64
import ssl

import msgspec
from quart import Blueprint, Response
from quart_schema import document_headers, document_request, document_response, tag

from pharos.helm.accounts.browsers import add_browser, browsers_of, revoke_browser
from pharos.helm.accounts.signin import check_fresh
from pharos.helm.ca.webkey import web_credentials
from pharos.helm.context import HelmContext
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role, Via
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.certificates import CERTIFICATES
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.records import get_record
from pharos.helm.store.times import moment
from pharos.helm.web.acting import Answer, acting, principal, reading
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API, Once, Problem
from pharos.helm.web.session import signed_in
from pharos.wire.pki.keys import certificate_to_der


class KeyBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How the key is to be packed."""

    password: str | None = None
    """At least 16 characters; one is drawn where it is left out."""
    old: bool = False
    """For a store that cannot read AES in PKCS #12."""


class BrowserKeyShown(msgspec.Struct, kw_only=True):
    """A browser's key, shown once."""

    id: str
    """SHA-256 of the certificate, hexadecimal."""
    subject: str
    not_after_at: str
    pkcs12: str
    """Base64."""
    password: str
    web_certificate: str
    """PEM: what helm's page shows, for the browser to believe."""


def make_browsers_blueprint(context: HelmContext) -> Blueprint:
    """Serve the certificates of admins' browsers."""
    blueprint = Blueprint("browsers", __name__, url_prefix=f"{API}/admins/<admin_id>/certificates")

    @blueprint.post("")
    @document_request(KeyBody)
    @document_headers(Once)
    @document_response(BrowserKeyShown, 201)
    @document_response(Problem, 401)
    @tag(["admins"])
    async def issue(admin_id: str) -> Response:
        """Make a browser certificate for an admin; takes a fresh proof"""
        body = await read_body(KeyBody)
        if principal().via is Via.SESSION:
            check_fresh(signed_in().session)

        def write(db: Database, act: Act) -> Answer:
            made = add_browser(db, act, context.authority, admin_id, password=body.password, old=body.old)
            shown = web_credentials(db, context.vault, now=moment(act.at)).certificate
            view = CERTIFICATES.view(made.certificate)
            return Answer(
                body={
                    **{name: view[name] for name in ("id", "subject", "not_after_at")},
                    "pkcs12": base64.b64encode(made.store).decode(),
                    "password": made.password,
                    "web_certificate": ssl.DER_cert_to_PEM_cert(certificate_to_der(shown)),
                },
                status=201,
                location=f"{API}/{CERTIFICATES.table}/{made.certificate.id}",
            )

        return await acting(context, Role.OWNER, write)

    @blueprint.get("")
    @document_response(Problem, 404)
    @tag(["admins"])
    async def list_(admin_id: str) -> Response:
        """List an admin's browser certificates that are in force"""

        def read(db: Database) -> Answer:
            get_record(db, ADMINS, admin_id)
            return Answer(body={"items": [CERTIFICATES.view(one) for one in browsers_of(db, admin_id, at=now_us())]})

        return await reading(context, Role.ADMIN, read)

    @blueprint.delete("/<fingerprint>")
    @document_response(Problem, 404)
    @tag(["admins"])
    async def remove(admin_id: str, fingerprint: str) -> Response:
        """Revoke a browser certificate; its connections end at once"""

        def write(db: Database, act: Act) -> Answer:
            revoke_browser(db, act, admin_id, fingerprint)
            return Answer(body=None, status=204)

        return await acting(context, Role.OWNER, write)

    return blueprint

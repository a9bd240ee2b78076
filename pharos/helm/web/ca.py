"""The fleet's authority, and exchanging its keys.

GET  /api/v1/ca           what there is, and when it ends
GET  /api/v1/ca/rotation  how far an exchange is, and who it waits for
POST /api/v1/ca/rotate    {"kit", "subjects"}; the recovery kit opens the root for this request, and is kept nowhere
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec
from quart import Blueprint, Response
from quart_schema import document_headers, document_request, document_response, tag

from pharos.helm.accounts.signin import check_fresh
from pharos.helm.ca.vault import RecoveryKit
from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role, Via
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.trust.overview import authority_view
from pharos.helm.trust.progress import rotation_view
from pharos.helm.trust.rotation import begin_rotation
from pharos.helm.web.acting import Answer, acting, principal, reading
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API, Once, Problem
from pharos.helm.web.session import signed_in
from pharos.wire.pki.rotation import Subject


class RotationBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What shall be exchanged, and what opens the root."""

    kit: str
    """The recovery kit as printed; it opens the root for this request and is kept nowhere."""
    subjects: list[str]


class RotationView(msgspec.Struct, kw_only=True):
    """How far it is."""

    rotation: dict[str, Any] | None
    """The one that is under way: who is asked for what, by role, and what comes next."""
    earlier: list[dict[str, Any]]
    """Those that are done, the newest first."""


def make_ca_blueprint(context: HelmContext) -> Blueprint:
    """Serve the authority."""
    blueprint = Blueprint("ca", __name__, url_prefix=f"{API}/ca")

    @blueprint.get("")
    @document_response(Problem, 403)
    @tag(["ca"])
    async def show() -> Response:
        """Show the authority and its rotation"""
        return await reading(context, Role.VIEWER, _show, context)

    @blueprint.get("/rotation")
    @document_response(RotationView, 200)
    @tag(["ca"])
    async def rotation() -> Response:
        """Show how far the exchange of keys is, and who it waits for"""
        return await reading(context, Role.VIEWER, _progress)

    @blueprint.post("/rotate")
    @document_request(RotationBody)
    @document_headers(Once)
    @document_response(Problem, 401)
    @document_response(Problem, 409)
    @tag(["ca"])
    async def rotate() -> Response:
        """Begin to exchange keys of the authority; takes the recovery kit, and in a browser a fresh proof"""
        body = await read_body(RotationBody)
        if principal().via is Via.SESSION:
            check_fresh(signed_in().session)
        return await acting(context, Role.OWNER, functools.partial(_rotate, context, body))

    return blueprint


def _progress(db: Database) -> Answer:
    return Answer(body=rotation_view(db))


def _show(db: Database, context: HelmContext) -> Answer:
    return Answer(body=authority_view(db, context.authority, at=now_us()))


def _rotate(context: HelmContext, body: RotationBody, db: Database, act: Act) -> Answer:
    try:
        subjects = {Subject(value) for value in body.subjects}
    except ValueError as error:
        raise InvalidRequestError(f"{error}: {', '.join(subject.value for subject in Subject)} can be") from error
    stored = begin_rotation(db, act, context.vault, RecoveryKit.parse(body.kit), subjects)
    return Answer(body=stored.view(), status=201)

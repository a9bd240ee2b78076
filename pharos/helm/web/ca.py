"""The fleet's authority, for the operator's commands only: a browser has nothing to do with recovery kits."""

from __future__ import annotations

import functools

import msgspec
from quart import Blueprint, Response
from quart_schema import document_request, document_response, tag

from pharos.helm.ca.vault import RecoveryKit
from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.trust.overview import authority_view
from pharos.helm.trust.rotation import begin_rotation
from pharos.helm.web.acting import Answer, acting, reading
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API, Problem
from pharos.wire.pki.rotation import Subject


class RotationBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What shall be exchanged, and what opens the root."""

    kit: str
    """The recovery kit as printed; it opens the root for this request and is kept nowhere."""
    subjects: list[str]


def make_ca_blueprint(context: HelmContext) -> Blueprint:
    """Serve the authority."""
    blueprint = Blueprint("ca", __name__, url_prefix=f"{API}/ca")

    @blueprint.get("")
    @document_response(Problem, 403)
    @tag(["ca"])
    async def show() -> Response:
        """Show the authority and its rotation"""
        return await reading(context, Role.VIEWER, _show, context)

    @blueprint.post("/rotations")
    @document_request(RotationBody)
    @document_response(Problem, 409)
    @tag(["ca"])
    async def rotate() -> Response:
        """Begin to exchange keys of the authority"""
        body = await read_body(RotationBody)
        return await acting(context, Role.OWNER, functools.partial(_rotate, context, body))

    return blueprint


def _show(db: Database, context: HelmContext) -> Answer:
    return Answer(body=authority_view(db, context.authority, at=now_us()))


def _rotate(context: HelmContext, body: RotationBody, db: Database, act: Act) -> Answer:
    try:
        subjects = {Subject(value) for value in body.subjects}
    except ValueError as error:
        raise InvalidRequestError(f"{error}: {', '.join(subject.value for subject in Subject)} can be") from error
    stored = begin_rotation(db, act, context.vault, RecoveryKit.parse(body.kit), subjects)
    return Answer(body=stored.view(), status=201)

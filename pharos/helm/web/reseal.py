"""Sealing profiles anew though nothing in them changed, over HTTP; a running helm does it, and tells the devices.

POST /api/v1/profiles/reseal   {"device": "<id>"}, or {} for all
"""

from __future__ import annotations

from typing import Any

import msgspec
from quart import Blueprint, Response
from quart_schema import document_request, tag

from pharos.helm.context import HelmContext
from pharos.helm.model.admins import Role
from pharos.helm.profiles.seal import order_reseal
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.web.acting import Answer, acting
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API
from pharos.wire.ids import DeviceId


class ResealBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Whose profile."""

    device: str | None = None
    """Id; without one, everybody's."""


def make_reseal_blueprint(context: HelmContext) -> Blueprint:
    """Serve the act."""
    blueprint = Blueprint("reseal", __name__, url_prefix=f"{API}/profiles/reseal")

    @blueprint.post("")
    @tag(["profiles"])
    @document_request(ResealBody)
    async def reseal() -> Response:
        """Have profiles sealed anew"""
        body: Any = await read_body(ResealBody)
        device = None if body.device is None else DeviceId(body.device)

        def write(db: Database, act: Act) -> Answer:
            return Answer(body={"profiles": order_reseal(db, act, device)})

        return await acting(context, Role.OPERATOR, write)

    return blueprint

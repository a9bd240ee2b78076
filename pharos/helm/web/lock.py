"""The fleet lock over HTTP. The owner's key never comes here: what it signed does.

GET  /api/v1/lock              {"fleet":…, "key":…, "nodes": [{"id":…, "awg_key":…, "derive_key":…, "signed":…}]}
PUT  /api/v1/lock              {"key":…, "signatures": {"<node id>": "<hex>"}}
POST /api/v1/lock/signatures   {"signatures": {…}}
"""

from __future__ import annotations

from typing import Any

import msgspec
from quart import Blueprint, Response
from quart_schema import document_request, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.fleet.lock import begin_lock, lock_status, sign_nodes
from pharos.helm.model.admins import Role
from pharos.helm.web.acting import Answer, acting, reading
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API
from pharos.wire.ids import NodeId


class LockBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new lock."""

    key: str
    """Ed25519 public key, hexadecimal."""
    signatures: dict[str, str] = msgspec.field(default_factory=dict)
    """Of nodes, by their ids, hexadecimal."""


class SignaturesBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the lock has signed."""

    signatures: dict[str, str]


def make_lock_blueprint(context: HelmContext) -> Blueprint:
    """Serve the lock."""
    blueprint = Blueprint("lock", __name__, url_prefix=f"{API}/lock")

    @blueprint.get("")
    @tag(["lock"])
    async def show() -> Response:
        """Show the fleet lock, and what it has signed"""
        return await reading(context, Role.VIEWER, lambda db: Answer(body=lock_status(db)))

    @blueprint.put("")
    @tag(["lock"])
    @document_request(LockBody)
    async def begin() -> Response:
        """Lock the fleet"""
        body: Any = await read_body(LockBody)
        key, signatures = _octets(body.key), _signatures(body.signatures)
        return await acting(
            context, Role.OWNER, lambda db, act: Answer(body=begin_lock(db, act, key, signatures), status=201)
        )

    @blueprint.post("/signatures")
    @tag(["lock"])
    @document_request(SignaturesBody)
    async def sign() -> Response:
        """Keep what the lock has signed"""
        body: Any = await read_body(SignaturesBody)
        signatures = _signatures(body.signatures)
        return await acting(context, Role.ADMIN, lambda db, act: Answer(body=sign_nodes(db, act, signatures)))

    return blueprint


def _signatures(signatures: dict[str, str]) -> dict[NodeId, bytes]:
    return {NodeId(node_id): _octets(text) for node_id, text in signatures.items()}


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InvalidRequestError("keys and signatures are hexadecimal") from error

"""The record as one document, for owners. It changes nothing but the audit, which notes who took it.

GET /api/v1/export   ?full=true adds what changes by itself
"""

from __future__ import annotations

from typing import Any

import msgspec
from quart import Blueprint, Response
from quart_schema import document_querystring, document_response, tag

from pharos.helm.accounts.signin import check_fresh
from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.export.snapshot import take_snapshot
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role, Via
from pharos.helm.store.admins import check_principal
from pharos.helm.store.audit import append_audit
from pharos.helm.store.database import Database
from pharos.helm.web.acting import Answer, principal, reading, request_noun
from pharos.helm.web.requests import read_query
from pharos.helm.web.resources import API, Problem
from pharos.helm.web.session import signed_in


class ExportQuery(msgspec.Struct, kw_only=True):
    """How much of it."""

    full: str | None = None
    """``true`` or ``false``."""


class ExportView(msgspec.Struct, kw_only=True):
    """The record without its secrets: beside these, a list of records for each noun."""

    format: str
    fleet: dict[str, Any]


def make_export_blueprint(context: HelmContext) -> Blueprint:
    """Serve the export."""
    blueprint = Blueprint("export", __name__, url_prefix=f"{API}/export")

    @blueprint.get("")
    @document_querystring(ExportQuery)
    @document_response(ExportView, 200)
    @document_response(Problem, 400)
    @document_response(Problem, 401)
    @tag(["export"])
    async def show() -> Response:
        """Give out the record without its secrets"""
        who, full = principal(), _is_full()
        if who.via is Via.SESSION:
            # Who a fleet's people are is worth a password to whoever finds a desk unlocked (security.md §2f).
            check_fresh(signed_in().session)
        await context.store.run(_note, who, request_noun(), full=full)
        return await reading(context, Role.OWNER, lambda db: Answer(body=take_snapshot(db, full=full)))

    return blueprint


def _is_full() -> bool:
    query = read_query()
    if query.filters.keys() - {"full"} or query.filters.get("full", "false") not in ("true", "false"):
        raise InvalidRequestError("an export takes full=true or full=false, and nothing else")
    return query.filters.get("full") == "true"


def _note(db: Database, who: Principal, noun: str, *, full: bool) -> None:
    at = now_us()
    check_principal(db, who, Role.OWNER, noun=noun, at=at)
    detail = "in full" if full else ""
    append_audit(db, at=at, actor=who.name, via=who.via.value, verb="fleet_exported", detail=detail)

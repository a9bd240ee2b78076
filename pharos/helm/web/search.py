"""Whatever goes by a name, for the palette.

GET /api/v1/search?q=ab&kind=node   up to eight of each kind, or of one
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from quart import Blueprint, Response
from quart_schema import document_querystring, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.admins import check_principal
from pharos.helm.store.database import Database
from pharos.helm.store.views.search import KINDS, search_kind
from pharos.helm.web.acting import Answer, principal
from pharos.helm.web.requests import read_query
from pharos.helm.web.resources import API, Problem, Resource

# Names have 64 characters.
MAX_PART: Final = 64


class SearchQuery(msgspec.Struct, kw_only=True):
    """What is looked for."""

    q: str
    """A part of a name or address, whatever its case."""
    kind: str | None = None
    """Of one kind only."""


class Hit(msgspec.Struct, kw_only=True):
    """Something of that name."""

    kind: str
    """``node``, ``relay``, ``device``, ``user``, ``group``, ``admin`` or ``token``."""
    id: str
    name: str
    detail: str
    """What tells it from others: an address, whose it is, a role."""


class Hits(msgspec.Struct, kw_only=True):
    """What was found, kind by kind; names that begin so first."""

    hits: list[Hit]


def make_search_blueprint(context: HelmContext, resources: tuple[Resource[Any], ...]) -> Blueprint:
    """Serve the search: to each role what it may read of ``resources``."""
    blueprint = Blueprint("search", __name__)
    reads = {resource.noun.kind: resource.reads for resource in resources}

    @blueprint.get(f"{API}/search")
    @document_querystring(SearchQuery)
    @document_response(Hits, 200)
    @document_response(Problem, 400)
    @tag(["views"])
    async def search() -> Response:
        """Search by name"""
        who, (part, kinds) = principal(), _read_query()

        def read(db: Database) -> list[dict[str, Any]]:
            role = check_principal(db, who, Role.VIEWER, noun="search", at=now_us())
            return [hit for kind in kinds if role.includes(reads[kind]) for hit in search_kind(db, kind, part)]

        return Answer(body={"hits": await context.store.read(read)}).response()

    return blueprint


def _read_query() -> tuple[str, tuple[str, ...]]:
    filters = read_query().filters
    part, kind = filters.get("q", "").strip(), filters.get("kind")
    if filters.keys() - {"q", "kind"} or not 0 < len(part) <= MAX_PART:
        raise InvalidRequestError(f"a search is for q, 1 to {MAX_PART} characters of a name, and of a kind")
    if kind is not None and kind not in KINDS:
        raise InvalidRequestError(f"there are {', '.join(KINDS)} to be found, not {kind!r}")
    return part, KINDS if kind is None else (kind,)

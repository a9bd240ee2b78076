"""The two routes of each kind of list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import attrs
import msgspec
from quart import Blueprint, Response, request
from quart_schema import document_querystring, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.admins import check_principal
from pharos.helm.store.database import Database
from pharos.helm.store.outbox import last_sequence
from pharos.helm.store.times import rfc3339
from pharos.helm.store.views.sessions import devices_in
from pharos.helm.web.acting import principal
from pharos.helm.web.requests import read_query
from pharos.helm.web.resources import API, Problem
from pharos.helm.web.views import devices, profiles, sessions, users
from pharos.helm.web.views.ordering import Chosen, Ordering, Wish, read_wish
from pharos.helm.web.views.shapes import DeviceRows, OrderView, ProfileRows, RowsQuery, SessionRows, UserRows

# What a page shows at once, twice over.
MAX_ROWS: Final = 100
_MAX_ID: Final = 64
C = TypeVar("C")


@attrs.frozen(kw_only=True)
class Kind(Generic[C]):
    """One kind of list. Each function reads one database, in its reader's thread."""

    ordering: Ordering[Any]
    reads: Role
    read_core: Callable[[Database, Wish, int], Any]
    order: Callable[[Database, Any, Wish, int], Chosen[Any]]
    ids: Callable[[Any], str]
    """Returns the id of one of its lines."""
    asks_core_for: Callable[[Database, Sequence[str]], list[str]] | None = None
    """Returns what of core.db rows are about, by telemetry.db; None: that is their ids."""
    read_core_rows: Callable[[Database, Sequence[str], int], Any]
    rows: Callable[[Database, Any, Sequence[str], int], list[dict[str, Any]]]
    shape: type
    """Of the rows."""


KINDS: Final[tuple[Kind[Any], ...]] = (
    Kind(
        ordering=devices.ORDERING,
        reads=Role.VIEWER,
        read_core=devices.read_core,
        order=devices.order,
        ids=lambda line: line.device.id,
        read_core_rows=devices.read_core_rows,
        rows=devices.rows,
        shape=DeviceRows,
    ),
    Kind(
        ordering=users.ORDERING,
        reads=Role.VIEWER,
        read_core=users.read_core,
        order=users.order,
        ids=lambda line: line.user.id,
        read_core_rows=users.read_core_rows,
        rows=users.rows,
        shape=UserRows,
    ),
    Kind(
        ordering=sessions.ORDERING,
        reads=Role.VIEWER,
        read_core=sessions.read_core,
        order=sessions.order,
        ids=lambda line: line.session.id,
        asks_core_for=devices_in,
        read_core_rows=sessions.read_core_rows,
        rows=sessions.rows,
        shape=SessionRows,
    ),
    Kind(
        ordering=profiles.ORDERING,
        reads=Role.VIEWER,
        read_core=profiles.read_core,
        order=profiles.order,
        ids=lambda line: line.id,
        read_core_rows=profiles.read_core_rows,
        rows=profiles.rows,
        shape=ProfileRows,
    ),
)


def make_views_blueprint(context: HelmContext) -> Blueprint:
    """Serve the lists."""
    blueprint = Blueprint("views", __name__, url_prefix=f"{API}/views")
    for kind in KINDS:
        _register(blueprint, context, kind)
    return blueprint


def _register(blueprint: Blueprint, context: HelmContext, kind: Kind[Any]) -> None:
    name = kind.ordering.kind

    async def order() -> Response:
        at, who = now_us(), principal()
        wish = read_wish(kind.ordering, read_query(), sort_given="sort" in request.args)

        def read(db: Database) -> tuple[int, Any]:
            check_principal(db, who, kind.reads, noun=name, at=at)
            return last_sequence(db), kind.read_core(db, wish, at)

        def finish(db: Database, sequence: int, core: Any) -> bytes:
            chosen = kind.order(db, core, wish, at)
            ids = [kind.ids(line) for line in chosen.lines]
            # Ten thousand ids are 390 kB: they are encoded where they were sorted, and not in the loop.
            return _encode({"ids": ids, "total": chosen.total, "facets": chosen.facets, "sequence": sequence})

        sequence, core = await context.store.read(read)
        return _json(await context.store.read_telemetry(finish, sequence, core))

    async def rows() -> Response:
        at, who, ids = now_us(), principal(), _read_ids()
        asked = ids if kind.asks_core_for is None else await context.store.read_telemetry(kind.asks_core_for, ids)

        def read(db: Database) -> Any:
            check_principal(db, who, kind.reads, noun=name, at=at)
            return kind.read_core_rows(db, asked, at)

        def finish(db: Database, core: Any) -> bytes:
            return _encode({"items": kind.rows(db, core, ids, at), "as_of": rfc3339(at)})

        core = await context.store.read(read)
        return _json(await context.store.read_telemetry(finish, core))

    order.__doc__, rows.__doc__ = f"Order {name}", f"Show rows of {name}"
    for rule, endpoint, handler, shape, query in (
        (f"/{name}", name, order, OrderView, _query_shape(kind.ordering)),
        (f"/{name}/rows", f"{name}_rows", rows, kind.shape, RowsQuery),
    ):
        documented: Any = handler
        for document in (
            document_querystring(query),
            document_response(shape, 200),
            document_response(Problem, 400),
            tag(["views"]),
        ):
            documented = document(documented)
        blueprint.add_url_rule(rule, endpoint, documented, methods=["GET"])


def _read_ids() -> list[str]:
    query = read_query(long="ids")
    if query.filters.keys() != {"ids"}:
        raise InvalidRequestError("rows are asked for by ids, with commas between, and by nothing else")
    ids = list(dict.fromkeys(filter(None, query.filters["ids"].split(","))))
    if not 1 <= len(ids) <= MAX_ROWS or any(len(one) > _MAX_ID for one in ids):
        raise InvalidRequestError(f"rows are asked for by 1 to {MAX_ROWS} ids of at most {_MAX_ID} characters")
    return ids


def _query_shape(ordering: Ordering[Any]) -> type:
    names = ("sort", *sorted(ordering.facets), *sorted(ordering.filters))
    optional: list[Any] = [(name, str | None, None) for name in names]
    return msgspec.defstruct(f"{ordering.kind.title()}OrderQuery", optional, kw_only=True)


def _json(body: bytes) -> Response:
    return Response(body, content_type="application/json")


_encode: Final = msgspec.json.Encoder().encode

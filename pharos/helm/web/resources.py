"""REST over any noun: list, add, read, change, remove and its own acts, from one description.

GET    /api/v1/{nouns}              a page; filters, sort, cursor
POST   /api/v1/{nouns}              201 with Location
GET    /api/v1/{nouns}/{id}         ETag
PATCH  /api/v1/{nouns}/{id}         If-Match; 409 with the current record when it is stale
DELETE /api/v1/{nouns}/{id}         If-Match
POST   /api/v1/{nouns}/{id}/{act}   If-Match where the act says so
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import attrs
import msgspec
from quart import Blueprint, Response
from quart_schema import document_headers, document_querystring, document_request, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.model.admins import Role
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.pages import Query, count_records, list_page
from pharos.helm.store.records import META, Noun, Record, get_record
from pharos.helm.web.acting import Answer, acting, reading
from pharos.helm.web.requests import read_body, read_octets, read_query, seen_version

R = TypeVar("R", bound=Record)
View = dict[str, Any]

API = "/api/v1"


class Problem(msgspec.Struct, kw_only=True):
    """What is wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    current: dict[str, Any] | None = None
    """With 409 for a stale version: the record as it is now."""


class Versioned(msgspec.Struct, kw_only=True):
    """Headers of a change."""

    if_match: str | None = None
    """The version that was seen, in quotation marks, as the ETag gave it."""
    idempotency_key: str | None = None
    """A repeated request with the same key gets the first answer again."""


class Once(msgspec.Struct, kw_only=True):
    """Headers of an addition."""

    idempotency_key: str | None = None


@attrs.frozen(kw_only=True)
class ItemAct(Generic[R]):
    """A verb of one record, ``POST /{nouns}/{id}/{act}``."""

    do: Callable[..., R | Answer]
    """``do(db, act, record_id, version, body)``; without a body or a version, without that argument."""
    role: Role = Role.OPERATOR
    body: type | None = None
    body_optional: bool = False
    """A request without one is a request with an empty one."""
    versioned: bool = True
    """The caller has to say which version it saw."""
    says: str = ""
    """What it does, for the API's description."""
    in_helm: bool = False
    """``do`` takes what a running helm has before all else."""


@attrs.frozen(kw_only=True)
class Resource(Generic[R]):
    """What of a noun is served, and to whom. What is None is not served."""

    noun: Noun[R]
    view: Callable[..., View] | None = None
    """``view(db, record)``, for one record alone, more than lists show; None: as lists do."""
    rows: Callable[[Database, list[R]], list[View]] | None = None
    """``rows(db, records)``, for a page of a list, where it shows more than each record says; None: it does not."""
    reads: Role = Role.VIEWER
    writes: Role = Role.OPERATOR
    add_body: type | None = None
    add: Callable[..., R | Answer] | None = None
    """``add(db, act, body)``"""
    change_body: type | None = None
    change: Callable[[Database, Act, str, int, Any], R] | None = None
    """``change(db, act, record_id, version, body)``"""
    remove: Callable[[Database, Act, str, int], None] | None = None
    """``remove(db, act, record_id, version)``"""
    acts: Mapping[str, ItemAct[R]] = attrs.field(factory=dict)
    in_helm: bool = False
    """``add`` and ``view`` need more than the record, and take what a running helm has before all else."""


def make_resource_blueprint(context: HelmContext, resource: Resource[R]) -> Blueprint:
    """Serve one noun."""
    if resource.in_helm:
        resource = attrs.evolve(
            resource,
            view=resource.view and functools.partial(resource.view, context),
            add=resource.add and functools.partial(resource.add, context),
        )
    noun = resource.noun
    blueprint = Blueprint(noun.table, __name__, url_prefix=f"{API}/{noun.segment}")
    shown, page = view_type(noun), page_type(noun)

    def answer(db: Database, result: R | Answer, **more: Any) -> Answer:
        if isinstance(result, Answer):
            return result
        return Answer(body=_view(db, resource, result), version=result.version, **more)

    def register(
        method: str, rule: str, name: str, says: str, handler: Callable[..., Awaitable[Response]], *documents: Any
    ) -> None:
        handler.__doc__ = says
        for document in (*documents, *_PROBLEMS, tag([noun.table])):
            handler = document(handler)
        blueprint.add_url_rule(rule, name, handler, methods=[method])

    async def list_() -> Response:
        return await reading(context, resource.reads, _list, resource, read_query())

    async def get(record_id: str) -> Response:
        def read(db: Database) -> Answer:
            return answer(db, get_record(db, noun, record_id))

        return await reading(context, resource.reads, read)

    query = document_querystring(query_type(noun))
    register("GET", "", "list", f"List {noun.table}", list_, query, document_response(page, 200))
    register("GET", "/<record_id>", "get", f"Show one {noun.kind}", get, document_response(shown, 200))

    if resource.add is not None and resource.add_body is not None:
        add, add_body = resource.add, resource.add_body

        async def post() -> Response:
            body: Any = await read_body(add_body)

            def write(db: Database, act: Act) -> Answer:
                result = add(db, act, body)
                if isinstance(result, Answer):
                    return result
                return answer(db, result, status=201, location=f"{API}/{noun.segment}/{result.id}")

            return await acting(context, resource.writes, write)

        register(
            "POST",
            "",
            "add",
            f"Add a {noun.kind}",
            post,
            document_request(add_body),
            document_headers(Once),
            document_response(shown, 201),
        )

    if resource.change is not None and resource.change_body is not None:
        change, change_body = resource.change, resource.change_body

        async def patch(record_id: str) -> Response:
            version = seen_version()
            body: Any = await read_body(change_body)

            def write(db: Database, act: Act) -> Answer:
                return answer(db, change(db, act, record_id, version, body))

            return await acting(context, resource.writes, write)

        register(
            "PATCH",
            "/<record_id>",
            "change",
            f"Change a {noun.kind}",
            patch,
            document_request(change_body),
            document_headers(Versioned),
            document_response(shown, 200),
        )

    if resource.remove is not None:
        remove = resource.remove

        async def delete(record_id: str) -> Response:
            version = seen_version()

            def write(db: Database, act: Act) -> Answer:
                remove(db, act, record_id, version)
                return Answer(body=None, status=204)

            return await acting(context, resource.writes, write)

        register("DELETE", "/<record_id>", "remove", f"Remove a {noun.kind}", delete, document_headers(Versioned))

    for name, item_act in resource.acts.items():
        _register_act(context, register, answer, shown, noun, name, item_act)
    return blueprint


def _register_act(
    context: HelmContext,
    register: Callable[..., None],
    answer: Callable[..., Answer],
    shown: type,
    noun: Noun[Any],
    name: str,
    item_act: ItemAct[Any],
) -> None:
    async def post(record_id: str) -> Response:
        arguments: list[Any] = [record_id]
        if item_act.versioned:
            arguments.append(seen_version())
        if item_act.body is not None:
            empty = item_act.body_optional and not await read_octets()
            arguments.append(item_act.body() if empty else await read_body(item_act.body))

        do = functools.partial(item_act.do, context) if item_act.in_helm else item_act.do

        def write(db: Database, act: Act) -> Answer:
            return answer(db, do(db, act, *arguments))

        return await acting(context, item_act.role, write)

    documents = [document_headers(Versioned if item_act.versioned else Once), document_response(shown, 200)]
    if item_act.body is not None:
        documents.append(document_request(item_act.body))
    says = item_act.says or f"{name.capitalize()} a {noun.kind}"
    register("POST", f"/<record_id>/{name}", name, says, post, *documents)


def _list(db: Database, resource: Resource[R], query: Query) -> Answer:
    noun = resource.noun
    page = list_page(db, noun, query)
    items = list(map(noun.view, page.items)) if resource.rows is None else resource.rows(db, page.items)
    body: View = {"items": items, "cursor": page.cursor or None}
    if not query.cursor:
        # A list says once how long it is: counting walks the index.
        body["total"] = count_records(db, noun, query)
    return Answer(body=body)


def _view(db: Database, resource: Resource[R], record: R) -> View:
    return resource.noun.view(record) if resource.view is None else resource.view(db, record)


# -- the shapes, for OpenAPI


def view_type(noun: Noun[Any]) -> type:
    """Return a struct of what a noun's view shows, for the API's description."""
    shown = [name for name in (*noun.columns, *META) if name not in noun.hidden]
    types = {field.name: field.type for field in attrs.fields(attrs.resolve_types(noun.model))}
    return msgspec.defstruct(
        _shape_name(noun), [(name, _shown_type(name, types[name])) for name in shown], kw_only=True
    )


def page_type(noun: Noun[Any]) -> type:
    """Return a struct of one page."""
    return msgspec.defstruct(
        f"{_shape_name(noun)}Page",
        [("items", list[dict[str, Any]]), ("cursor", str | None), ("total", int, 0)],
        kw_only=True,
    )


def query_type(noun: Noun[Any]) -> type:
    """Return a struct of a list's parameters."""
    names = ("sort", "cursor", *noun.filters)
    optional: list[Any] = [(name, str | None, None) for name in names]
    return msgspec.defstruct(f"{_shape_name(noun)}Query", [*optional, ("limit", int | None, None)], kw_only=True)


def _shape_name(noun: Noun[Any]) -> str:
    return noun.kind.title().replace("_", "")


def _shown_type(name: str, kind: Any) -> Any:
    optional = "None" in str(kind)
    if name.endswith("_at"):
        return str | None if optional else str
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind
    if kind is bytes or "bytes" in str(kind):
        return str | None if optional else str
    return kind


_PROBLEMS = (document_response(Problem, 400), document_response(Problem, 404), document_response(Problem, 409))

"""Lists from elsewhere, brought into the record.

POST /api/v1/import/users   {"csv": "…", "dry_run": true, "invite": false, "seconds": 900}
"""

from __future__ import annotations

import datetime
from typing import Any

import attrs
import msgspec
from quart import Blueprint, Response
from quart_schema import document_headers, document_request, document_response, tag

from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError
from pharos.helm.imports.csvfile import Parsed, Problem, parse_people
from pharos.helm.imports.users import Inviting, find_problems, import_users, view
from pharos.helm.model.admins import Role
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.web.acting import Answer, acting
from pharos.helm.web.requests import read_body
from pharos.helm.web.resources import API, Once
from pharos.helm.web.resources import Problem as ProblemDocument


class ImportUsersBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A list of people."""

    csv: str
    """The file's text: a header of name, email, groups, device_limit, quota, expires, note, and a line a person."""
    dry_run: bool = True
    """Say what would happen, and write nothing."""
    invite: bool = False
    """Write a ticket for each, too."""
    seconds: int = 900
    """How long a ticket can be used."""


class ImportProblem(msgspec.Struct, kw_only=True):
    """What is wrong with one line."""

    line: int
    column: str
    says: str


class ImportedUser(msgspec.Struct, kw_only=True):
    """One person."""

    line: int
    id: str
    name: str
    email: str | None
    groups: list[str]
    device_limit: int | None
    quota_bytes: int | None
    expires_at: str | None
    note: str
    link: str | None
    """Of the ticket; it is shown here once, and nowhere else."""
    link_expires_at: str | None


class ImportedUsers(msgspec.Struct, kw_only=True):
    """What happened, or would."""

    dry_run: bool
    ok: bool
    """Nothing is wrong; without it nobody is imported."""
    users: list[ImportedUser]
    problems: list[ImportProblem]


class _TakenBackError(Exception):
    """A rehearsal is over: the transaction rolls back, and this carries what would have come of it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


def make_imports_blueprint(context: HelmContext) -> Blueprint:
    """Serve the imports."""
    blueprint = Blueprint("imports", __name__, url_prefix=f"{API}/import")

    @blueprint.post("/users")
    @document_request(ImportUsersBody)
    @document_headers(Once)
    @document_response(ImportedUsers, 200)
    @document_response(ImportedUsers, 201)
    @document_response(ProblemDocument, 400)
    @tag(["import"])
    async def users() -> Response:
        """Bring people in from a CSV file"""
        body: Any = await read_body(ImportUsersBody)
        parsed, inviting = parse_people(body.csv), _inviting(context, body)

        def change(db: Database, act: Act) -> Answer:
            if not body.dry_run:
                return Answer(body=_answer(db, act, parsed, inviting, dry_run=False), status=201)
            # A rehearsal does all of it, so that nothing can go wrong later that went well now.
            problems = find_problems(db, parsed)
            if problems:
                return Answer(body=_refusal(problems))
            raise _TakenBackError(Answer(body=_answer(db, act, parsed, inviting, dry_run=True)))

        try:
            return await acting(context, Role.OPERATOR, change)
        except _TakenBackError as rehearsed:
            return rehearsed.answer.response()

    return blueprint


def _inviting(context: HelmContext, body: ImportUsersBody) -> Inviting | None:
    if not body.invite:
        return None
    try:
        lifetime = datetime.timedelta(seconds=body.seconds)
    except OverflowError as error:
        raise InvalidRequestError("'seconds' is too large") from error
    return Inviting(authority=context.authority, vault=context.vault, lifetime=lifetime)


def _answer(db: Database, act: Act, parsed: Parsed, inviting: Inviting | None, *, dry_run: bool) -> dict[str, Any]:
    imported = import_users(db, act, parsed, inviting)
    if dry_run:
        # Their tickets are gone with the transaction.
        imported = [attrs.evolve(one, link=None, link_expires_at=None) for one in imported]
    return {"dry_run": dry_run, "ok": True, "users": [view(one) for one in imported], "problems": []}


def _refusal(problems: list[Problem]) -> dict[str, Any]:
    return {"dry_run": True, "ok": False, "users": [], "problems": [attrs.asdict(problem) for problem in problems]}

"""From a request to a transaction: who acts, whether they may, once only, and the answer.

Whether somebody may act is decided inside the transaction that acts, for a role or a session may end while a request
waits its turn (security.md row 55). A repeated `Idempotency-Key` gets the first answer again and changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec

import attrs
import msgspec
from quart import Response, g, request

from pharos.helm.ca.vault import Vault
from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError, NotSignedInError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Principal, Role
from pharos.helm.store.admins import check_principal
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.web.requests import read_octets

P = ParamSpec("P")

MAX_KEY: Final = 200
_WRAP_VERSION: Final = 1


@attrs.frozen(kw_only=True)
class Answer:
    """What a transaction has to say."""

    body: Any
    """JSON; None for no body."""
    status: int = 200
    version: int | None = None
    """For the ETag."""
    location: str = ""

    def response(self) -> Response:
        """Return it as HTTP."""
        headers = {}
        if self.version is not None:
            headers["ETag"] = f'"{self.version}"'
        if self.location:
            headers["Location"] = self.location
        if self.body is None:
            return Response(b"", status=self.status, headers=headers)
        return Response(
            json.dumps(self.body, separators=(",", ":")),
            status=self.status,
            headers=headers,
            content_type="application/json",
        )


def principal() -> Principal:
    """Return who the edge recognised behind this request.

    Raises: NotSignedInError — nobody.
    """
    found: Principal | None = g.get("principal")
    if found is None:
        raise NotSignedInError("sign in first: helm admins link prints a one-time link")
    return found


async def reading(
    context: HelmContext,
    needed: Role,
    function: Callable[Concatenate[Database, P], Answer],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Response:
    """Run a function that only reads, for whoever is behind this request.

    Raises: NotSignedInError, NotAllowedError.
    """
    who, noun = principal(), request_noun()

    def read(db: Database) -> Answer:
        check_principal(db, who, needed, noun=noun, at=now_us())
        return function(db, *args, **kwargs)

    answer = await context.store.read(read)
    if answer.version is not None and request.headers.get("If-None-Match") == f'"{answer.version}"':
        return Response(b"", status=304, headers={"ETag": f'"{answer.version}"'})
    return answer.response()


async def acting(
    context: HelmContext,
    needed: Role,
    function: Callable[Concatenate[Database, Act, P], Answer],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Response:
    """Run a function that changes something, in one transaction with the check of who asks.

    Raises: NotSignedInError, NotAllowedError. InvalidRequestError — the idempotency key was used for another request.
    """
    who, noun = principal(), request_noun()
    key = await _idempotency_key(who)
    act = Act(actor=who.name, at=now_us(), via=who.via.value)

    def change(db: Database) -> Answer:
        check_principal(db, who, needed, noun=noun, at=act.at)
        if key is None:
            return function(db, act, *args, **kwargs)
        answer = _earlier_answer(db, context.vault, key)
        if answer is None:
            answer = function(db, act, *args, **kwargs)
            _keep_answer(db, context.vault, key, answer, at=act.at)
        return answer

    return (await context.store.run(change)).response()


def request_noun() -> str:
    """Return the noun of the request's path, ``devices`` of ``/api/v1/devices/…``: tokens are scoped by it."""
    parts = request.path.split("/")
    return parts[3] if len(parts) > 3 else ""


@attrs.frozen
class _Key:
    id: str
    request: bytes


async def _idempotency_key(who: Principal) -> _Key | None:
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None
    if not 0 < len(text) <= MAX_KEY or not text.isascii() or not text.isprintable():
        raise InvalidRequestError(f"an idempotency key has 1 to {MAX_KEY} printable ASCII characters")
    scope = f"{who.via.value} {who.admin_id or ''} {text}"
    content = f"{request.method} {request.full_path} {request.headers.get('If-Match', '')}\n".encode()
    digest = hashlib.sha256(content + await read_octets()).digest()
    return _Key(hashlib.sha256(scope.encode()).hexdigest(), digest)


def _earlier_answer(db: Database, vault: Vault, key: _Key) -> Answer | None:
    row = db.execute("SELECT request, answer FROM idempotency WHERE id = ?", (key.id,)).fetchone()
    if row is None:
        return None
    if row["request"] != key.request:
        raise InvalidRequestError("this idempotency key was used for another request")
    return msgspec.json.decode(vault.unwrap(f"answer/{key.id}", _WRAP_VERSION, row["answer"]), type=Answer)


def _keep_answer(db: Database, vault: Vault, key: _Key, answer: Answer, *, at: int) -> None:
    # Wrapped, for an answer may hold what is shown once: a ticket's link, a token.
    wrapped = vault.wrap(f"answer/{key.id}", _WRAP_VERSION, msgspec.json.encode(answer))
    db.execute(
        "INSERT INTO idempotency (id, request, answer, at) VALUES (?, ?, ?, ?)", (key.id, key.request, wrapped, at)
    )
    # A day is longer than any client retries.
    db.execute("DELETE FROM idempotency WHERE at < ?", (at - 86_400_000_000,))

"""Errors as HTTP answers: one table, problem+json (RFC 9457)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

from quart import Response
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from pharos.helm.errors import (
    AuditError,
    BusyError,
    ConflictError,
    DatabaseCorruptError,
    InvalidRequestError,
    NodeAwayError,
    NotAllowedError,
    NotFoundError,
    NotInitialisedError,
    NotSignedInError,
    PreconditionError,
    ProviderError,
    StaleVersionError,
    TooManyTriesError,
)
from pharos.helm.onboard.errors import OnboardError
from pharos.wire.errors import AgentError, RemoteProtocolError, WireError

STATUSES: Final[tuple[tuple[type[WireError], HTTPStatus], ...]] = (
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (PreconditionError, HTTPStatus.PRECONDITION_REQUIRED),
    (NotSignedInError, HTTPStatus.UNAUTHORIZED),
    (TooManyTriesError, HTTPStatus.TOO_MANY_REQUESTS),
    (NotAllowedError, HTTPStatus.FORBIDDEN),
    (BusyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (NodeAwayError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ProviderError, HTTPStatus.BAD_GATEWAY),
    (OnboardError, HTTPStatus.BAD_GATEWAY),
    # Its sentence says what to do, and who watches the store has told the log.
    (DatabaseCorruptError, HTTPStatus.INTERNAL_SERVER_ERROR),
    # A helm that runs has a fleet; what it may lack is the root, after a restore without it.
    (NotInitialisedError, HTTPStatus.CONFLICT),
    (AuditError, HTTPStatus.CONFLICT),
    (InvalidRequestError, HTTPStatus.BAD_REQUEST),
    (AgentError, HTTPStatus.BAD_REQUEST),
    (RemoteProtocolError, HTTPStatus.BAD_REQUEST),
)


def problem(status: int, detail: str, **more: Any) -> Response:
    """Return one problem document, with ``more`` members beside those of the RFC."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail, **more}
    headers = {"Retry-After": "5"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Response(json.dumps(body), status=status, headers=headers, content_type="application/problem+json")


def problem_of(error: WireError) -> Response:
    """Return the answer to one of our own errors, by the table.

    Raises: the error itself, if the table does not know it: then it is a bug.
    """
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), None)
    if status is None:
        raise error
    if isinstance(error, StaleVersionError):
        return problem(status, str(error), current=error.current)
    return problem(status, str(error))


def handle_errors(app: QuartTrio) -> None:
    """Let ``app`` answer our own errors by the table and HTTP's by their own status; the rest is a bug and says so."""

    @app.errorhandler(WireError)
    async def wire_error(error: WireError) -> Response:
        return problem_of(error)

    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> Response:
        return problem(error.code or 500, error.description or "")

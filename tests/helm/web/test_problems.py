"""Every failure is one problem document with the status of its kind; a bug says no more than that it is one."""

from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path

import pytest
from quart_trio import QuartTrio

from pharos.helm import errors as helm_errors
from pharos.helm.errors import (
    BusyError,
    ConflictError,
    DatabaseCorruptError,
    HelmError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    NotInitialisedError,
    ReadOnlyError,
)
from pharos.helm.web.problems import STATUSES, handle_errors, problem
from pharos.wire.errors import AgentError, RemoteProtocolError, StateFileError
from tests.support.http import asking
from tests.support.nouns import API, operator


def app_that_raises(error: Exception) -> QuartTrio:
    app = QuartTrio(__name__, static_folder=None)
    handle_errors(app)

    @app.get("/")
    async def fail() -> str:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("no such device"), 404),
        (ConflictError("taken"), 409),
        (NotAllowedError("no"), 403),
        (InvalidRequestError("bad name"), 400),
        (AgentError("damaged"), 400),
        (RemoteProtocolError("bad CSR"), 400),
        (BusyError("core.db is held by another program"), 503),
        (ReadOnlyError("make room"), 503),
        (DatabaseCorruptError("stop helm"), 500),
        (NotInitialisedError("there is no root here"), 409),
    ],
)
async def test_error_of_ours_has_one_status_and_says_its_sentence(error: Exception, status: int) -> None:
    async with asking(app_that_raises(error)) as client:
        answer = await client.get("/")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["detail"], body["type"]) == (status, str(error), "about:blank")
    assert body["title"]


async def test_what_the_client_got_wrong_is_a_problem_too() -> None:
    async with asking(app_that_raises(ZeroDivisionError())) as client:
        missing, method = await client.get("/nowhere"), await client.delete("/")
    assert (missing.status_code, method.status_code) == (404, 405)
    for answer in (missing, method):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("secret detail"), StateFileError("secret"), sqlite3.OperationalError("secret")]
)
async def test_bug_is_logged_and_not_told(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    app = app_that_raises(error)
    async with asking(app) as client:
        # httpx re-raises what the application let through; hypercorn answers 500 either way.
        client._transport.raise_app_exceptions = False  # type: ignore[attr-defined]
        answer = await client.get("/")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)
    caplog.clear()


def test_error_maps_to_one_code() -> None:
    kinds = [kind for kind, _ in STATUSES]
    assert len(set(kinds)) == len(kinds)
    for index, kind in enumerate(kinds):
        assert not any(issubclass(kind, earlier) for earlier in kinds[:index]), f"{kind} is never reached"


def test_every_error_that_an_act_can_raise_is_in_the_table() -> None:
    listed = {kind for kind, _ in STATUSES}
    never_met = {
        # This stops `helm init`, so that no request ever meets it.
        helm_errors.AlreadyInitialisedError,
        # What a log system says is an answer to who tests it, and no failure of the act.
        helm_errors.SinkError,
        # And this one a command meets that works on files, beside helm.
        helm_errors.BackupError,
        # Helm does not start on such a database.
        helm_errors.NewerDatabaseError,
    }
    assert set(HelmError.__subclasses__()) == (listed | never_met) & set(HelmError.__subclasses__())
    assert set(HelmError.__subclasses__()) <= listed | never_met


async def test_text_in_a_problem_is_json_whatever_it_holds() -> None:
    answer = problem(400, '<script>alert("x")</script>\n\x00\u2028')
    assert json.loads(await answer.get_data(as_text=True))["detail"] == '<script>alert("x")</script>\n\x00\u2028'
    assert answer.content_type == "application/problem+json"


async def test_database_that_another_program_holds_is_a_503_that_says_to_try_again(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(lambda db: db.execute("PRAGMA busy_timeout = 20"))
        other = sqlite3.connect(helm.store.core.path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            held = await client.post(f"{API}/users", json={"name": "ada"})
            read = await client.get(f"{API}/users")
            other.execute("ROLLBACK")
        finally:
            other.close()
        assert (held.status_code, held.headers["retry-after"]) == (503, "5")
        assert "nothing was changed, try again in a few seconds" in held.json()["detail"]
        assert (read.status_code, read.json()["items"]) == (200, []), "who only reads waits for nobody"
        assert (await client.post(f"{API}/users", json={"name": "ada"})).status_code == 201


async def test_database_that_is_damaged_while_helm_runs_is_a_500_that_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with operator(tmp_path) as (helm, client):

        def meet_damage(_: object) -> None:
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

        with pytest.raises(DatabaseCorruptError):
            await helm.store.run(meet_damage)
        answer = await client.post(f"{API}/users", json={"name": "ada"})
        assert answer.status_code == 500
        assert "is corrupt" in answer.json()["detail"]
        assert "stop helm, its next start names the way out" in answer.json()["detail"]
        assert [record.levelname for record in caplog.records if record.levelno >= logging.ERROR] == ["ERROR"]
        caplog.clear()

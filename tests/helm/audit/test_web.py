"""The audit by REST: pages, filters, verification, export."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pharos.helm.model.admins import Principal, Role, Via
from pharos.helm.store import audit as store
from pharos.helm.store.database import Database
from pharos.helm.web.app import make_loopback_app, make_operator_app
from pharos.wire.seal.checkpoint import verify_checkpoint
from tests.support.audit import SECOND, append_acts, sign_all
from tests.support.helm import STARTED_AT, SampleHelm, open_helm
from tests.support.http import asking
from tests.support.signin import sign_in

AUDIT = "/api/v1/audit"


@asynccontextmanager
async def operator(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, httpx.AsyncClient]]:
    async with open_helm(tmp_path) as helm, asking(make_operator_app(helm.context)) as client:
        yield helm, client


def fill(db: Database) -> None:
    append_acts(db, 5)
    append_acts(db, 5, at=STARTED_AT + 3600 * SECOND, actor="bob")
    for detail in ("100%", "a_b", "Straße"):
        store.append_audit(db, at=STARTED_AT, actor="eve", via="session", verb="sign_in_refused", detail=detail)


def refill(db: Database) -> None:
    db.execute("DELETE FROM audit")
    fill(db)


async def read_all(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        response = await client.get(AUDIT, params=query | ({"cursor": cursor} if cursor else {}))
        assert response.status_code == 200, response.text
        found += response.json()["items"]
        cursor = response.json()["cursor"]
    return found


async def test_page_is_newest_first_and_continues_where_it_ended(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(fill)
        first = (await client.get(AUDIT, params={"limit": 4})).json()
        newest = first["items"][0]["sequence"]
        assert [row["sequence"] for row in first["items"]] == [newest - number for number in range(4)]
        # Rows that are written meanwhile shift nothing.
        await helm.store.run(append_acts, 3)
        second = (await client.get(AUDIT, params={"limit": 500, "cursor": first["cursor"]})).json()
        assert [row["sequence"] for row in second["items"]] == list(range(newest - 4, 0, -1))
        assert second["cursor"] is None


async def test_row_shows_what_was_done(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        await client.post("/api/v1/users", json={"name": "ada"})
        (row,) = await read_all(client, verb="user_added")
        assert (row["actor"], row["via"], row["noun"], row["version"]) == ("operator", "socket", "user", 1)
        assert row["at"].endswith("Z")
        assert len(row["hash"]) == 64
        assert row["subject"] == (await client.get("/api/v1/users")).json()["items"][0]["id"]


async def test_act_shows_the_record_before_and_after_it(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        user = (await client.post("/api/v1/users", json={"name": "ada"})).json()
        path = f"/api/v1/users/{user['id']}"
        await client.patch(path, json={"note": "knots"}, headers={"If-Match": '"1"'})
        (row,) = await read_all(client, verb="user_changed")
        change = (await client.get(f"{AUDIT}/{row['sequence']}")).json()
        assert (change["row"], change["kept"]) == (row, True)
        assert (change["before"]["note"], change["after"]["note"]) == ("", "knots")
        (added,) = await read_all(client, verb="user_added")
        first = (await client.get(f"{AUDIT}/{added['sequence']}")).json()
        assert (first["before"], first["after"]["name"]) == (None, "ada")
        # States are kept for a day, acts for much longer.
        await helm.store.run(lambda db: db.execute("DELETE FROM outbox") and None)
        later = (await client.get(f"{AUDIT}/{row['sequence']}")).json()
        assert (later["row"], later["before"], later["after"], later["kept"]) == (row, None, None, False)
        assert (await client.get(f"{AUDIT}/999999")).status_code == 404
        assert (await client.get(f"{AUDIT}/{10**30}")).status_code == 404


async def test_page_shows_the_checkpoints_of_its_rows(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(append_acts, 3)
        await helm.store.run(sign_all, helm.authority)
        signed = (await client.get(AUDIT)).json()
        (mark,) = signed["checkpoints"]
        assert mark["sequence"] == signed["items"][0]["sequence"]
        await helm.store.run(append_acts, 3)
        assert (await client.get(AUDIT, params={"limit": 2})).json()["checkpoints"] == []
        assert (await client.get(AUDIT)).json()["checkpoints"] == [mark]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"actor": "bob"}, 5),
        ({"actor": "BOB"}, 0),
        ({"noun": "user"}, 10),
        ({"verb": "sign_in_refused"}, 3),
        ({"subject": "id-2"}, 2),
        ({"since": "2027-01-15T09:00:00Z"}, 5),
        ({"since": "2027-01-15T10:00:00+01:00"}, 5),
        ({"since": "2027-01-15T09:00:04Z"}, 1),
        ({"until": "2027-01-15T09:00:00Z", "noun": "user"}, 5),
        ({"since": "2027-01-15T08:00:00Z", "until": "2027-01-15T08:00:00.000001Z"}, 4),
        ({"q": "NOTE"}, 10),
        ({"q": "0%"}, 1),
        ({"q": "a_b"}, 1),
        ({"q": "Straße"}, 1),
        ({"q": "_"}, 1),
        ({"q": "!"}, 0),
        ({"actor": "ada", "subject": "id-2", "q": "note"}, 1),
    ],
)
async def test_list_is_filtered(
    tmp_path: Path, query: dict[str, str], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(refill)
        assert len(await read_all(client, **query)) == count
        # A search that takes many looks, each of few rows, finds the same.
        monkeypatch.setattr(store, "SEARCHED", 2)
        assert len(await read_all(client, **query)) == count
        assert len(await read_all(client, **query, limit="1")) == count


@pytest.mark.parametrize(
    "query",
    [
        {"colour": "red"},
        {"limit": "0"},
        {"limit": "501"},
        {"sort": "actor"},
        {"sort": "sequence"},
        {"cursor": "-1"},
        {"cursor": "x"},
        {"cursor": "9" * 19},
        {"cursor": "9" * 400},
        {"since": "yesterday"},
        {"since": "2027-01-15T09:00:00"},
        {"q": "\x00"},
    ],
)
async def test_query_that_makes_no_sense_is_refused(tmp_path: Path, query: dict[str, str]) -> None:
    async with operator(tmp_path) as (_helm, client):
        response = await client.get(AUDIT, params=query)
        assert response.status_code == 400, response.text
        assert (await client.get(AUDIT, params={"sort": "-sequence"})).status_code == 200


async def test_verification_says_how_far_the_audit_holds(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(fill)
        await helm.store.run(sign_all, helm.authority)
        found = (await client.get(f"{AUDIT}/verify")).json()
        head = await helm.store.run(store.audit_head)
        assert found["ok"] is True
        assert (found["rows"], found["head"]) == (head.sequence, {"sequence": head.sequence, "hash": head.hash.hex()})
        assert (found["checkpoint"]["size"], found["checkpoint"]["head"]) == (head.sequence, head.hash.hex())
        blob = base64.urlsafe_b64decode(found["checkpoint"]["signed"])
        keys = [bytes(helm.authority.signing.verify_key)]
        said = verify_checkpoint(blob, fleet=helm.authority.trust.fleet, signing_keys=keys)
        assert (said.size, said.head) == (head.sequence, head.hash)
        await helm.store.run(lambda db: db.execute("UPDATE audit SET actor = 'x' WHERE sequence = 2"))
        found = (await client.get(f"{AUDIT}/verify")).json()
        assert (found["ok"], found["rows"], found["checkpoint"]) == (False, 1, None)
        assert "audit row 2 " in found["detail"]


async def test_verification_against_a_witness_finds_a_tail_that_was_cut_off(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(fill)
        await helm.store.run(sign_all, helm.authority)
        witness = (await client.get(f"{AUDIT}/verify")).json()["checkpoint"]["signed"]
        assert (await client.get(f"{AUDIT}/verify", params={"checkpoint": witness})).json()["ok"] is True
        await helm.store.run(
            lambda db: (db.execute("DELETE FROM audit WHERE sequence > 4"), db.execute("DELETE FROM checkpoints"))
        )
        assert (await client.get(f"{AUDIT}/verify")).json()["ok"] is True
        found = (await client.get(f"{AUDIT}/verify", params={"checkpoint": witness})).json()
        assert (found["ok"], found["head"]["sequence"]) == (False, 4)


@pytest.mark.parametrize("checkpoint", ["", "x", "AAAA", "ä", "AQ" + "A" * 300, "A" * 600])
async def test_checkpoint_that_is_none_is_refused(tmp_path: Path, checkpoint: str) -> None:
    async with operator(tmp_path) as (_helm, client):
        response = await client.get(f"{AUDIT}/verify", params={"checkpoint": checkpoint})
        assert response.status_code == 400
        assert (await client.get(f"{AUDIT}/verify", params={"check": "x"})).status_code == 400


async def test_export_holds_every_row_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pharos.helm.web.nouns.audit._EXPORTED", 3)
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(fill)
        response = await client.get(f"{AUDIT}/export")
        assert response.headers["content-type"] == "application/jsonl"
        lines = [json.loads(line) for line in response.text.splitlines()]
        assert lines == list(reversed(await read_all(client)))


async def test_export_is_enough_to_verify_the_chain_by_the_program_of_the_guide(tmp_path: Path) -> None:
    guide = Path(__file__).parents[3] / "docs" / "guide" / "audit.md"
    (program,) = guide.read_text().split("```python\n")[1:]
    program = program.split("```")[0]
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(fill)
        lines = (await client.get(f"{AUDIT}/export")).text.splitlines()
        names: dict[str, Any] = {}
        exec(program, names)  # what an auditor would run
        head = await helm.store.run(store.audit_head)
        assert names["verify"](lines) == (head.sequence, head.hash.hex())
        lines[3] = lines[3].replace("ada", "eve").replace("operator", "eve")
        with pytest.raises(ValueError, match="row 4 "):
            names["verify"](lines)


async def test_row_that_was_altered_is_shown_as_it_is(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(fill)
        await helm.store.run(
            lambda db: (
                db.execute("UPDATE audit SET detail = x'00ff', hash = 'x', at = 'noon' WHERE sequence = 2"),
                db.execute("UPDATE audit SET at = 9223372036854775807, hash = 1.5 WHERE sequence = 3"),
            )
        )
        rows = {row["sequence"]: row for row in await read_all(client)}
        assert (rows[2]["detail"], rows[2]["hash"], rows[2]["at"]) == ("b'\\x00\\xff'", "x", "noon")
        assert (rows[3]["at"], rows[3]["hash"]) == (9223372036854775807, "1.5")
        assert (await client.get(f"{AUDIT}/export")).status_code == 200
        await helm.store.run(lambda db: db.execute("UPDATE audit SET actor = CAST(x'ff' AS TEXT) WHERE sequence = 4"))
        assert (await client.get(AUDIT)).status_code == 409


@pytest.mark.parametrize(
    ("role", "reads"), [(Role.OWNER, 200), (Role.ADMIN, 200), (Role.OPERATOR, 403), (Role.VIEWER, 403)]
)
async def test_roles_decide_who_reads_and_who_verifies(tmp_path: Path, role: Role, reads: int) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        for path in ("", "/export", "/verify"):
            assert (await client.get(AUDIT + path)).status_code == 401
        client.headers.update(await sign_in(helm.context, role=role))
        assert (await client.get(AUDIT)).status_code == reads
        assert (await client.get(f"{AUDIT}/export")).status_code == reads
        assert (await client.get(f"{AUDIT}/verify")).json()["ok"] is True


async def test_session_that_ended_meanwhile_reads_no_further_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edge saw it alive; each transaction looks again."""
    who = Principal(name="ada", role=Role.OWNER, via=Via.SESSION, credential=b"gone")
    monkeypatch.setattr("pharos.helm.web.app.OPERATOR", who)
    async with operator(tmp_path) as (_helm, client):
        for path in ("", "/export", "/verify"):
            assert (await client.get(AUDIT + path)).status_code == 401


async def test_audit_is_described_and_never_changed(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        paths = (await client.get("/api/v1/openapi.json")).json()["paths"]
        assert {path for path in paths if path.startswith(AUDIT)} == {AUDIT, f"{AUDIT}/verify", f"{AUDIT}/{{sequence}}"}
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            for path in (AUDIT, f"{AUDIT}/1", f"{AUDIT}/verify", f"{AUDIT}/export"):
                assert (await client.request(method, path)).status_code in (404, 405)

"""REST over a noun: pages, versions, conflicts, idempotency, the description."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from pharos.helm.store.audit import audit_rows
from pharos.helm.store.database import Database
from pharos.helm.store.outbox import entries_after
from pharos.helm.web.app import make_operator_app
from tests.support.helm import SampleHelm, open_helm
from tests.support.http import asking

USERS = "/api/v1/users"


@asynccontextmanager
async def operator(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, httpx.AsyncClient]]:
    async with open_helm(tmp_path) as helm, asking(make_operator_app(helm.context)) as client:
        yield helm, client


async def add_user(client: httpx.AsyncClient, name: str = "ada", **values: Any) -> dict[str, Any]:
    response = await client.post(USERS, json={"name": name, **values})
    assert response.status_code == 201, response.text
    user: dict[str, Any] = response.json()
    assert response.headers["location"] == f"{USERS}/{user['id']}"
    assert response.headers["etag"] == '"1"'
    return user


def match(version: int) -> dict[str, str]:
    return {"If-Match": f'"{version}"'}


async def test_record_is_added_read_changed_and_removed(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        user = await add_user(client, email="ada@example.org", expires_at="2027-01-01T00:00:00+01:00")
        assert user["expires_at"] == "2026-12-31T23:00:00Z"
        assert (user["version"], user["updated_by"], user["groups"]) == (1, "operator", [])
        path = f"{USERS}/{user['id']}"
        changed = await client.patch(path, json={"note": "hello", "expires_at": None}, headers=match(1))
        assert changed.status_code == 200
        assert (changed.json()["note"], changed.json()["expires_at"], changed.json()["version"]) == ("hello", None, 2)
        assert changed.json()["email"] == "ada@example.org"
        assert changed.headers["etag"] == '"2"'
        assert (await client.get(path)).json() == changed.json()
        assert (await client.get(path, headers={"If-None-Match": '"2"'})).status_code == 304
        assert (await client.delete(path, headers=match(2))).status_code == 204
        assert (await client.get(path)).status_code == 404


async def test_stale_change_is_refused_with_the_record_as_it_is(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        path = f"{USERS}/{(await add_user(client))['id']}"
        assert (await client.patch(path, json={"note": "mine"}, headers=match(1))).status_code == 200
        for send in (client.patch, client.delete):
            kwargs: dict[str, Any] = {"json": {"note": "yours"}} if send == client.patch else {}
            stale = await send(path, headers=match(1), **kwargs)
            assert stale.status_code == 409
            assert stale.headers["content-type"] == "application/problem+json"
            problem = stale.json()
            assert (problem["current"]["note"], problem["current"]["version"]) == ("mine", 2)
            assert problem["current"]["updated_by"] == "operator"
            assert "changed by operator" in problem["detail"]


async def test_change_that_names_no_version_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        path = f"{USERS}/{(await add_user(client))['id']}"
        for header in ({}, {"If-Match": "*"}, {"If-Match": "1"}, {"If-Match": '"0"'}):
            assert (await client.patch(path, json={"note": "x"}, headers=header)).status_code == 428


async def test_one_of_64_writers_wins(tmp_path: Path) -> None:
    codes: list[int] = []
    async with operator(tmp_path) as (_helm, client):
        path = f"{USERS}/{(await add_user(client))['id']}"

        async def write(number: int) -> None:
            response = await client.patch(path, json={"note": f"writer {number}"}, headers=match(1))
            codes.append(response.status_code)

        async with trio.open_nursery() as nursery:
            for number in range(64):
                nursery.start_soon(write, number)
        assert sorted(codes) == [200] + [409] * 63
        assert (await client.get(path)).json()["version"] == 2


async def test_change_without_a_difference_is_no_change(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        path = f"{USERS}/{(await add_user(client))['id']}"
        before = await helm.store.run(count_changes)
        assert (await client.patch(path, json={"note": ""}, headers=match(1))).json()["version"] == 1
        assert await helm.store.run(count_changes) == before


def count_changes(db: Database) -> tuple[int, int]:
    return len(list(audit_rows(db, 0))), len(entries_after(db, 0, 10_000))


async def test_every_change_is_in_the_audit_and_in_the_outbox(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        user = await add_user(client)
        await client.patch(f"{USERS}/{user['id']}", json={"note": "n"}, headers=match(1))
        await client.delete(f"{USERS}/{user['id']}", headers=match(2))
        rows = [row for row in await helm.store.run(lambda db: list(audit_rows(db, 0))) if row.noun == "user"]
        assert [(row.verb, row.actor, row.via, row.version) for row in rows] == [
            ("user_added", "operator", "socket", 1),
            ("user_changed", "operator", "socket", 2),
            ("user_removed", "operator", "socket", 3),
        ]
        entries = [entry for entry in await helm.store.run(entries_after, 0) if entry.noun == "user"]
        bodies = [None if entry.body is None else json.loads(entry.body) for entry in entries]
        assert [entry.kind for entry in entries] == ["user_added", "user_changed", "user_removed"]
        assert bodies[2] is None
        assert [(body["note"], body["version"]) for body in bodies if body] == [("", 1), ("n", 2)]


async def test_repeated_request_with_one_key_changes_once(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        key = {"Idempotency-Key": "a1"}
        first = await client.post(USERS, json={"name": "ada"}, headers=key)
        again = await client.post(USERS, json={"name": "ada"}, headers=key)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        assert first.headers["location"] == again.headers["location"]
        assert (await client.get(USERS)).json()["total"] == 1
        other = await client.post(USERS, json={"name": "bob"}, headers=key)
        assert other.status_code == 400
        assert "another request" in other.json()["detail"]
        bad = await client.post(USERS, json={"name": "bob"}, headers={"Idempotency-Key": "x" * 201})
        assert bad.status_code == 400


async def test_list_is_filtered_sorted_and_paged(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        for name in ("eve", "Ada", "bob", "dan", "cat_", "cat%"):
            await add_user(client, name)
        seen: list[str] = []
        cursor, total = "", None
        while True:
            page = (await client.get(USERS, params={"sort": "name", "limit": 2, "cursor": cursor})).json()
            total = page.get("total", total)
            seen += [user["name"] for user in page["items"]]
            if not page["cursor"]:
                break
            cursor = page["cursor"]
        assert seen == ["Ada", "bob", "cat%", "cat_", "dan", "eve"]
        assert total == 6
        down = (await client.get(USERS, params={"sort": "-name", "limit": 3})).json()
        assert [user["name"] for user in down["items"]] == ["eve", "dan", "cat_"]
        found = (await client.get(USERS, params={"q": "CAT_"})).json()
        assert ([user["name"] for user in found["items"]], found["total"]) == (["cat_"], 1)
        assert (await client.get(USERS, params={"state": "disabled"})).json()["items"] == []


async def test_record_added_meanwhile_shifts_no_page(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        for name in ("b", "d"):
            await add_user(client, name)
        first = (await client.get(USERS, params={"sort": "name", "limit": 1})).json()
        await add_user(client, "a")
        second = (await client.get(USERS, params={"sort": "name", "limit": 1, "cursor": first["cursor"]})).json()
        assert [user["name"] for user in second["items"]] == ["d"]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "501"},
        {"limit": "many"},
        {"limit": "9" * 30},
        {"sort": "password"},
        {"sort": "name; DROP TABLE users"},
        {"colour": "red"},
        {"cursor": "!"},
        {"cursor": "W10"},
        {"cursor": "eyJhIjoxfQ"},
        {"q": "\x00"},
    ],
)
async def test_query_that_makes_no_sense_is_refused(tmp_path: Path, query: dict[str, str]) -> None:
    async with operator(tmp_path) as (_helm, client):
        response = await client.get(USERS, params=query)
        assert response.status_code == 400, response.text
        assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"name": 1}',
        b'{"name": "a", "name": "b"}',
        b'{"name": "a", "surprise": 1}',
        b'{"name": "a", "device_limit": NaN}',
        b'{"name": "a", "device_limit": 1e400}',
        b'{"name": "a", "device_limit": ' + b"9" * 100_000 + b"}",
        b'{"name": "a", "device_limit": -1}',
        b'{"name": "a", "device_limit": true}',
        b'{"name": "\\ud800"}',
        b'{"name": "\xff"}',
        b'{"name": ""}',
        b'{"name": " a"}',
        b'{"name": "a\\u0000"}',
        b'{"name": "a", "email": "nobody"}',
        b'{"name": "a", "expires_at": "tomorrow"}',
        b'{"name": "a", "expires_at": "2027-01-01T00:00:00"}',
        b'{"name": "a", "quota_period": "eternity"}',
        b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"name": "a", "__proto__": {"role": "owner"}}',
    ],
)
async def test_body_that_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path, body: bytes) -> None:
    async with operator(tmp_path) as (_helm, client):
        response = await client.post(USERS, content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 400, response.text
        assert (await client.get(USERS)).json()["total"] == 0


async def test_body_that_is_no_json_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            response = await client.post(USERS, content=b'{"name": "a"}', headers={"Content-Type": kind})
            assert response.status_code == 400


async def test_taken_name_is_a_conflict(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        await add_user(client, "ada", email="ada@example.org")
        taken = await client.post(USERS, json={"name": "ada"})
        assert taken.status_code == 409
        assert "same name" in taken.json()["detail"]
        mail = await client.post(USERS, json={"name": "bob", "email": "ada@example.org"})
        assert "same email" in mail.json()["detail"]


async def test_members_of_a_group_count_as_its_changes(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        user = await add_user(client)
        group = (await client.post("/api/v1/groups", json={"name": "office", "node_tags": ["eu", "fast", "eu"]})).json()
        assert (group["node_tags"], group["protocols"], group["members"]) == (
            ["eu", "fast"],
            ["amneziawg", "reality"],
            [],
        )
        path = f"/api/v1/groups/{group['id']}"
        joined = (await client.post(f"{path}/join", json={"user": user["id"]})).json()
        assert (joined["members"], joined["version"]) == ([user["id"]], 2)
        assert (await client.post(f"{path}/join", json={"user": user["id"]})).json()["version"] == 2
        assert (await client.get(f"{USERS}/{user['id']}")).json()["groups"] == [{"id": group["id"], "name": "office"}]
        assert (await client.get(USERS, params={"group": group["id"]})).json()["total"] == 1
        left = (await client.post(f"{path}/leave", json={"user": user["id"]})).json()
        assert (left["members"], left["version"]) == ([], 3)
        assert (await client.post(f"{path}/leave", json={"user": user["id"]})).status_code == 404
        assert (await client.post(f"{path}/join", json={"user": "nobody"})).status_code == 404
        assert (await client.patch(path, json={"protocols": []}, headers=match(3))).status_code == 400


async def test_description_names_every_route(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        document = (await client.get("/api/v1/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    user = document["paths"]["/api/v1/users/{record_id}"]
    assert {"get", "patch", "delete"} <= user.keys()
    body = user["patch"]["requestBody"]["content"]["application/json"]["schema"]
    assert body
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named <= document["components"]["schemas"].keys()

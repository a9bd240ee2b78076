"""An export holds no secret whatever column it stands in, is the same until the record changes, and reads back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pharos.helm.cli import main
from pharos.helm.export import snapshot as module
from pharos.helm.export.columns import DOCUMENTS, EXPORTED, FLEET, FLEET_VOLATILE, META, NAMED, Exported
from pharos.helm.export.snapshot import take_snapshot
from pharos.helm.export.texts import many_texts, one_text
from pharos.helm.model.admins import Role
from pharos.helm.store.database import Database
from pharos.helm.web.app import make_loopback_app
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json
from tests.support.datafiles import tables_of
from tests.support.helm import core_in_memory, enrol_sample_device, fleet_in_memory, open_helm
from tests.support.http import asking
from tests.support.nouns import API, operator
from tests.support.signin import sign_in

CANARY = "canary"


def columns_of(db: Database, table: str) -> list[tuple[str, str]]:
    return [(row["name"], row["type"]) for row in db.execute(f"PRAGMA table_info({table})")]


def told() -> set[str]:
    """Every column that an export reads."""
    said = {f"{noun}.{name}" for noun, e in EXPORTED.items() for name in (*e.columns, *e.volatile, *META)}
    said |= {f"fleet.{name}" for name in (*FLEET, *FLEET_VOLATILE)}
    return said | {f"{table}.{name}" for _, table in NAMED.values() for name in ("id", "name")}


def lay_canaries(db: Database) -> set[str]:
    """Put a canary of its own into every row of every column that an export has no business with."""
    db.execute("PRAGMA foreign_keys = OFF")
    laid = set()
    for table in tables_of(db):
        columns = columns_of(db, table)
        for number in (1, 2):
            values: dict[str, object] = {}
            for name, kind in columns:
                canary = f"{CANARY}-{table}-{name}-{number}"
                if kind not in ("TEXT", "BYTEA"):
                    values[name] = number
                elif f"{table}.{name}" in told():
                    values[name] = "[]" if f"{table}.{name}" in DOCUMENTS else f"plain {number}"
                else:
                    values[name] = canary if kind == "TEXT" else canary.encode()
                    laid.add(canary)
            db.execute(f"DELETE FROM {table} WHERE 1 = {number}")
            marks = ", ".join("?" for _ in values)
            db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
    # Whose names are told.
    db.execute("DELETE FROM group_members")
    return laid


def spellings(canary: str) -> tuple[str, ...]:
    octets = canary.encode()
    # Without its last groups, which what stands behind it would alter.
    return canary, octets.hex(), base64.b64encode(octets).decode()[:16]


def found_in(text: str, canaries: set[str]) -> set[str]:
    return {canary for canary in canaries if any(spelling in text for spelling in spellings(canary))}


@pytest.mark.parametrize("full", [False, True], ids=["usual", "full"])
def test_no_column_that_is_not_allowed_is_in_an_export(full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with core_in_memory() as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        canaries = lay_canaries(db)
        assert len(canaries) > 60, "every secret of the schema has one"
        for secret in (
            "secrets-wrapped",
            "admins-password",
            "admins-totp",
            "tokens-hash",
            "tickets-psk",
            "sinks-headers",
        ):
            assert f"{CANARY}-{secret}-1" in canaries
        document = take_snapshot(db, full=full)
        text = json.dumps(document) + one_text(document) + "".join(many_texts(document).values())
        assert found_in(text, canaries) == set()
        # Weakened: an allow-list with a column too many.
        leaky = Exported(columns=("id", "name", "url"))
        monkeypatch.setattr(module, "EXPORTED", {**EXPORTED, "sinks": leaky})
        assert found_in(json.dumps(take_snapshot(db, full=full)), canaries) == {
            f"{CANARY}-sinks-url-1",
            f"{CANARY}-sinks-url-2",
        }


def test_no_column_of_octets_is_on_the_list_and_each_is_in_the_schema() -> None:
    with fleet_in_memory() as (db, _authority):
        kinds = {f"{table}.{name}": kind for table in tables_of(db) for name, kind in columns_of(db, table)}
        assert told() <= kinds.keys() | {"settings.name"}
        # Keys, hashes and what is wrapped are octets.
        assert not {column for column in told() if kinds.get(column) == "BYTEA"}
        words = ("password", "secret", "totp", "hash", "psk", "proof", "wrapped", "csrf", "key", "url", "credential")
        assert not {column for column in told() if any(word in column.partition(".")[2] for word in words)}


async def sample_fleet(client: Any) -> None:
    for name in ("Zoë", "ada"):
        made = await client.post(f"{API}/users", json={"name": name, "note": "two\nlines", "quota_bytes": 10**9})
        assert made.status_code == 201
    group = (await client.post(f"{API}/groups", json={"name": "office", "node_tags": ["eu"]})).json()
    for user in (await client.get(f"{API}/users")).json()["items"]:
        await client.post(f"{API}/groups/{group['id']}/join", json={"user": user["id"]})
    await client.put(f"{API}/settings/devices.limit", json={"value": 3}, headers={"If-Match": '"0"'})


async def test_export_names_what_people_know_in_an_order_of_its_own(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await sample_fleet(client)
        users = (await client.get(f"{API}/users", params={"sort": "name"})).json()["items"]
        await helm.store.run(enrol_sample_device, 1, "phone", user_id=users[-1]["id"])
        document = (await client.get(f"{API}/export")).json()
        assert document["format"] == "pharos/export/v1"
        assert [user["name"] for user in document["users"]] == ["Zoë", "ada"]
        assert document["groups"][0]["members"] == ["Zoë", "ada"]
        assert document["settings"] == [{"id": "devices.limit", "value": 3}]
        (device,) = document["devices"]
        assert (device["name"], device["user"]) == ("phone", "ada")
        assert not {name for name in ("version", "updated_at", "created_at") if name in json.dumps(document)}
        assert "tickets" not in document
        full = (await client.get(f"{API}/export", params={"full": "true"})).json()
        assert full["users"][0]["version"] == 1
        assert full.keys() > document.keys()
        rows = (await client.get(f"{API}/audit", params={"verb": "fleet_exported"})).json()["items"]
        assert [row["detail"] for row in rows] == ["in full", ""]


@pytest.mark.parametrize("query", [{"full": "yes"}, {"colour": "red"}])
async def test_question_that_is_none_is_refused(tmp_path: Path, query: dict[str, str]) -> None:
    async with operator(tmp_path) as (_helm, client):
        assert (await client.get(f"{API}/export", params=query)).status_code == 400


async def test_export_is_the_same_until_the_record_changes(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        await sample_fleet(client)

        async def texts() -> dict[str, str]:
            return many_texts((await client.get(f"{API}/export")).json())

        before = await texts()
        user = (await client.get(f"{API}/users")).json()["items"][0]
        for state in ("disabled", "active"):
            version = (await client.get(f"{API}/users/{user['id']}")).json()["version"]
            changed = await client.patch(
                f"{API}/users/{user['id']}", json={"state": state}, headers={"If-Match": f'"{version}"'}
            )
            assert changed.status_code == 200
            now = await texts()
            differ = {name for name in now if now[name] != before[name]}
            assert differ == ({"users.yaml"} if state == "disabled" else set())
            if differ:
                lines = zip(before["users.yaml"].splitlines(), now["users.yaml"].splitlines(), strict=True)
                assert [pair for pair in lines if pair[0] != pair[1]] == [("  state: active", "  state: disabled")]


async def test_browser_shows_a_fresh_proof_and_an_owner(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        owner = await sign_in(helm.context)
        admin = await sign_in(helm.context, name="bob", role=Role.ADMIN)
        async with asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
            assert (await client.get(f"{API}/export", headers=owner)).status_code == 200
            assert (await client.get(f"{API}/export", headers=admin)).status_code == 403
            await helm.store.run(lambda db: db.execute("UPDATE admin_sessions SET proven_at = proven_at - 301000000"))
            stale = await client.get(f"{API}/export", headers=owner)
            assert (stale.status_code, "fresh proof" in stale.json()["detail"]) == (401, True)


def test_command_writes_a_folder_a_file_or_standard_output(tmp_path: Path) -> None:
    state = tmp_path / "helm"
    invoke_json(main, "init", "--state", state)
    invoke_json(main, "users", "add", "=ada: [x]", "--note", "- 'a' #b\ttab".replace("\t", " "), "--state", state)
    folder = tmp_path / "a" / "fleet"
    written = invoke_json(main, "export", folder, "--state", state)["files"]
    assert str(folder / "users.yaml") in written
    (user,) = yaml.safe_load((folder / "users.yaml").read_text())
    assert (user["name"], user["note"]) == ("=ada: [x]", "- 'a' #b tab")
    assert (folder / "users.yaml").stat().st_mode & 0o077 == 0
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    # Whoever can put a link into the folder does not choose what is overwritten (security.md row 63).
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (folder / "groups.yaml").unlink()
    (folder / "groups.yaml").symlink_to(victim)
    assert invoke(main, "export", folder, "--state", state).exit_code == 0
    assert victim.read_text() == "mine"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    whole = invoke(main, "export", "-", "--state", state).stdout
    invoke_json(main, "export", tmp_path / "fleet.yaml", "--state", state)
    assert (tmp_path / "fleet.yaml").read_text() == whole
    assert yaml.safe_load(whole)["users"] == [user]
    assert "version" in yaml.safe_load(invoke(main, "export", "-", "--full", "--state", state).stdout)["users"][0]
    taken = tmp_path / "notes.txt"
    taken.write_text("mine")
    assert invoke(main, "export", taken, "--state", state).exit_code == Exit.USAGE
    assert taken.read_text() == "mine"

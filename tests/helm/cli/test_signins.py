"""Who is signed in, and by which passkeys, by the commands; helm is asleep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.helm.accounts.admins import add_admin
from pharos.helm.accounts.ceremonies import NewCredential, Site
from pharos.helm.accounts.passkeys import add_passkey
from pharos.helm.accounts.signin import begin_session
from pharos.helm.cli import main
from pharos.helm.model.admins import Role
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.passkeys import passkeys_of
from pharos.helm.store.signins import sessions_of
from pharos.wire.console import Exit
from tests.support.commands import invoke, invoke_json
from tests.support.helm import open_helm, sample_act


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A fleet whose owner has two browsers signed in, and a passkey; bob has none of it."""

    async def make() -> None:
        async with open_helm(tmp_path) as helm:
            await helm.store.run(write)

    def write(db: Database) -> None:
        act: Act = sample_act()
        add_admin(db, act, "bob", Role.VIEWER)
        owner = add_admin(db, act, "owner", Role.OWNER)
        for browser in ("Firefox", "Chromium"):
            begin_session(db, owner, at=act.at, browser=browser, how="passkey", bound="ab" * 32)
        made = NewCredential(credential=b"id", public_key=b"key", counter=0, synced=True)
        add_passkey(db, act, owner.id, "old laptop", made, Site(name="localhost", origins=()))

    trio.run(make)
    return tmp_path


def said(state: Path, *words: object) -> str:
    result = invoke(main, "admins", *words, "--state", state)
    assert result.exit_code == 0, result.output
    return result.output


def kept(state: Path, read: Callable[..., list[Any]], **more: Any) -> list[Any]:
    """Return what the record has of the owner."""

    def of_owner(db: Database) -> list[Any]:
        return read(db, db.execute("SELECT id FROM admins WHERE name = 'owner'").fetchone()["id"], **more)

    with open_store(state) as store:
        return trio.run(store.run, of_owner)


def test_sessions_are_listed_and_ended_one_by_one_and_all(state: Path) -> None:
    listed = said(state, "sessions", "owner")
    assert "Firefox" in listed
    assert "passkey" in listed
    first, second = kept(state, sessions_of, at=0)
    said(state, "sign-out", "owner", "--session", first.id)
    assert [one.id for one in kept(state, sessions_of, at=0)] == [second.id]
    assert said(state, "sign-out", "--all").count("is signed out") == 2
    assert kept(state, sessions_of, at=0) == []
    for words in ([], ["owner", "--all"], ["--all", "--session", "x"]):
        refused = invoke(main, "admins", "sign-out", *words, "--state", state)
        assert refused.exit_code == Exit.USAGE


def test_lost_passkey_is_removed_and_its_admin_signed_out(state: Path) -> None:
    (passkey,) = invoke_json(main, "admins", "passkeys", "owner", "--state", state)
    assert (passkey["name"], passkey["site"], passkey["synced"]) == ("old laptop", "localhost", True)
    assert "credential" not in passkey
    said(state, "remove-passkey", "owner", "old laptop", "--yes")
    assert (kept(state, passkeys_of), kept(state, sessions_of, at=0)) == ([], [])
    refused = invoke(main, "admins", "remove-passkey", "owner", "old laptop", "--yes", "--state", state)
    assert refused.exit_code == Exit.FAILED

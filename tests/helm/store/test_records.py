"""Records against a model: whatever is added, changed and removed in whichever order, nobody's change is lost."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import hypothesis.strategies as st
import pytest
import sqlite_utils
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from pharos.helm.audit.chain import Link, verify_rows
from pharos.helm.errors import ConflictError, NotFoundError, StaleVersionError
from pharos.helm.model.users import User, UserState
from pharos.helm.store.audit import audit_head, audit_rows
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database, transact
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.migrations import core_migrations
from pharos.helm.store.outbox import entries_after
from pharos.helm.store.pages import Query, list_page
from pharos.helm.store.records import add_record, change_record, get_record, remove_record
from pharos.helm.store.users import USERS


def fresh_database() -> Database:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    core_migrations.apply(sqlite_utils.Database(db))
    return db


NAMES = st.sampled_from(["ada", "bob", "cat", "dan"])
ACTORS = st.sampled_from(["owner", "operator", "helm"])


class Record(RuleBasedStateMachine):
    """Several admins, each with a version that it saw once."""

    seen = Bundle("seen")

    def __init__(self) -> None:
        super().__init__()
        self.db = fresh_database()
        self.at = 0
        self.model: dict[str, dict[str, Any]] = {}
        self.changes = 0

    def act(self, actor: str) -> Act:
        self.at += 1
        return Act(actor=actor, at=self.at)

    @rule(target=seen, name=NAMES, actor=ACTORS)
    def add(self, name: str, actor: str) -> tuple[str, int]:
        user = User(id=fresh_id(), name=name)
        taken = name in {record["name"] for record in self.model.values()}
        try:
            transact(self.db, add_record, USERS, user, self.act(actor))
        except ConflictError:
            assert taken
            return ("nobody", 1)
        assert not taken
        self.model[user.id] = {"name": name, "note": "", "state": "active", "version": 1, "by": actor}
        self.changes += 1
        return (user.id, 1)

    @rule(target=seen, old=seen)
    def look_again(self, old: tuple[str, int]) -> tuple[str, int]:
        record = self.model.get(old[0])
        return old if record is None else (old[0], record["version"])

    @rule(
        target=seen,
        old=seen,
        actor=ACTORS,
        changes=st.fixed_dictionaries(
            {}, optional={"note": st.text(max_size=3), "name": NAMES, "state": st.sampled_from(UserState)}
        ),
    )
    def change(self, old: tuple[str, int], actor: str, changes: dict[str, Any]) -> tuple[str, int]:
        user_id, version = old
        record = self.model.get(user_id)
        others = {r["name"] for key, r in self.model.items() if key != user_id}
        try:
            changed = transact(self.db, change_record, USERS, user_id, version, changes, self.act(actor))
        except NotFoundError:
            assert record is None
            return old
        except StaleVersionError as error:
            assert record is not None
            assert version != record["version"]
            now = error.current["version"], error.current["updated_by"]
            assert now == (record["version"], record["by"])
            return (user_id, record["version"])
        except ConflictError:
            assert changes["name"] in others
            return old
        assert record is not None
        assert version == record["version"]
        plain = {key: value.value if isinstance(value, UserState) else value for key, value in changes.items()}
        if any(record[key] != value for key, value in plain.items()):
            record |= plain | {"version": version + 1, "by": actor}
            self.changes += 1
        assert changed.version == record["version"]
        return (user_id, record["version"])

    @rule(old=consumes(seen), actor=ACTORS)
    def remove(self, old: tuple[str, int], actor: str) -> None:
        user_id, version = old
        record = self.model.get(user_id)
        try:
            transact(self.db, remove_record, USERS, user_id, version, self.act(actor))
        except NotFoundError:
            assert record is None
        except StaleVersionError:
            assert record is not None
            assert version != record["version"]
        else:
            assert record is not None
            assert version == record["version"]
            del self.model[user_id]
            self.changes += 1

    @invariant()
    def record_is_the_model(self) -> None:
        page = list_page(self.db, USERS, Query(sort="name", limit=500))
        shown = {u.id: (u.name, u.note, u.state.value, u.version, u.updated_by) for u in page.items}
        wanted = {k: (r["name"], r["note"], r["state"], r["version"], r["by"]) for k, r in self.model.items()}
        assert shown == wanted

    @invariant()
    def every_change_is_told_and_proven_once(self) -> None:
        entries = entries_after(self.db, 0, 10_000)
        assert len(entries) == self.changes
        rows = list(audit_rows(self.db, 0))
        assert len(rows) == self.changes
        assert verify_rows(rows, Link()) == audit_head(self.db)
        # What the feed said last of each record is what the record is.
        last = {entry.subject: entry.body for entry in entries}
        for user_id, record in self.model.items():
            body = last[user_id]
            assert body is not None
            assert json.loads(body)["version"] == record["version"]

    def teardown(self) -> None:
        self.db.close()


TestRecord = Record.TestCase
TestRecord.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRecord.pytestmark = [pytest.mark.row(55)]


@pytest.mark.row(55)
@pytest.mark.red_inside
def test_lost_update_is_found_by_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the test above can fail: weakened, nobody looks at the version."""
    monkeypatch.setattr("pharos.helm.store.records.check_version", lambda _noun, _current, _version: None)
    db = fresh_database()
    user = transact(db, add_record, USERS, User(id=fresh_id(), name="ada"), Act(actor="a", at=1))
    transact(db, change_record, USERS, user.id, 1, {"note": "first"}, Act(actor="a", at=2))
    # Even so the UPDATE names the version: somebody else's change is not written over.
    with pytest.raises(AssertionError, match="checked in this transaction"):
        transact(db, change_record, USERS, user.id, 1, {"note": "second"}, Act(actor="b", at=3))
    assert get_record(db, USERS, user.id).note == "first"
    db.close()

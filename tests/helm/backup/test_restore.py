"""The way back from a file to a helm: whole or not at all, into nothing but an empty directory."""

from __future__ import annotations

import io
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.helm.backup import restore as restoring
from pharos.helm.backup.archive import make_backup
from pharos.helm.backup.restore import WORK, restore_backup
from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.vault import RecoveryKit, open_vault
from pharos.helm.errors import AlreadyInitialisedError, BackupError
from pharos.helm.live.board import now_us
from pharos.helm.store.audit import search_audit
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.fleet import get_fleet
from pharos.wire.files import write_atomic
from tests.support.helm import adopt_sample_node, make_fleet_files, now, sample_act


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "new"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, RecoveryKit, int]:
    """A backup of a fleet with one node and somebody who is signed in; its kit, and its epoch."""
    old = tmp_path_factory.mktemp("old")
    old.chmod(0o700)
    files, kit = make_fleet_files()
    for name, content in files.items():
        write_atomic(old / name, content)
    with open_store(old) as store:
        authority = trio.run(store.run, lambda db: load_authority(db, open_vault(old), now=now()))
        trio.run(store.run, lambda db: adopt_sample_node(db, authority))
        trio.run(store.run, _sign_in)
        fleet = trio.run(store.run, get_fleet)
        # Beside a helm that holds the record open.
        made = make_backup(old, old, at=now_us(), with_telemetry=True)
    return made.path.read_bytes(), kit, fleet.epoch


def _sign_in(db: Database) -> None:
    db.execute("INSERT INTO admins VALUES ('a', 'ada', 'owner', 'active', NULL, NULL, 0, 1, 1, 1, 'x')")
    db.execute("INSERT INTO admin_links VALUES (X'00', 'a', 9000000000000000, 1, 'x', NULL)")
    db.execute("INSERT INTO admin_sessions VALUES (X'00', 's', 'a', X'00', 1, 1, 1, 9000000000000000, 'b', 'link', '')")
    db.execute("INSERT INTO idempotency VALUES ('k', X'00', X'00', 1)")


def restore(backup: tuple[bytes, RecoveryKit, int], state: Path, **change: Any) -> restoring.Restored:
    return restore_backup(io.BytesIO(change.get("blob", backup[0])), state, change.get("kit", backup[1]), sample_act())


def test_restored_helm_opens_with_its_keys_in_a_new_epoch(backup: tuple[bytes, RecoveryKit, int], state: Path) -> None:
    restored = restore(backup, state)
    assert restored.fleet.epoch > backup[2]
    assert not restored.with_root
    assert {path.name for path in state.iterdir()} == {"core.db", "telemetry.db", "data.key"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()} == {0o600}
    with open_store(state) as store:
        trio.run(store.run, lambda db: load_authority(db, open_vault(state), now=now()))
        assert trio.run(store.run, get_fleet) == restored.fleet
        rows = trio.run(store.run, lambda db: search_audit(db, {"verb": "fleet_restored"}, before=None, limit=5)).rows
        assert len(rows) == 1
        for table in ("admin_sessions", "admin_links", "idempotency"):
            assert trio.run(store.run, lambda db, t=table: db.execute(f"SELECT * FROM {t}").fetchall()) == []
        assert trio.run(store.run, lambda db: db.execute("SELECT COUNT(*) FROM nodes").fetchone()[0]) == 1


@pytest.mark.parametrize("name", ["core.db", "data.key", "notes.txt", "copies"])
def test_directory_that_holds_anything_is_left_as_it_is(
    backup: tuple[bytes, RecoveryKit, int], state: Path, name: str
) -> None:
    (state / name).write_text("mine")
    with pytest.raises(AlreadyInitialisedError, match=name):
        restore(backup, state)
    assert (state / name).read_text() == "mine"


def test_wrong_kit_and_damaged_file_leave_no_fleet_behind(backup: tuple[bytes, RecoveryKit, int], state: Path) -> None:
    with pytest.raises(BackupError, match="does not open"):
        restore(backup, state, kit=RecoveryKit.create())
    damaged = backup[0][:-100]
    with pytest.raises(BackupError, match="damaged"):
        restore(backup, state, blob=damaged)
    assert not (state / "core.db").exists()
    # And then the right ones.
    restore(backup, state)
    assert (state / "core.db").exists()


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_restore_that_was_cut_short_is_no_fleet_and_is_done_again(
    backup: tuple[bytes, RecoveryKit, int], state: Path, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def sync(folder: Path) -> None:
        done.append(folder)
        if len(done) > moves:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "sync_folder", sync)
        if moves < 3:
            with pytest.raises(KeyboardInterrupt):
                restore(backup, state)
        else:
            restore(backup, state)
    if (state / "core.db").exists():
        # The last of the moves had happened.
        assert moves >= 2
        with closing(sqlite3.connect(state / "core.db")) as db:
            assert db.execute("SELECT COUNT(*) FROM fleet").fetchone()[0] == 1
        return
    assert (state / WORK).exists()
    restore(backup, state)
    assert {path.name for path in state.iterdir()} == {"core.db", "telemetry.db", "data.key"}


def test_disk_without_room_is_told(
    backup: tuple[bytes, RecoveryKit, int], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(28, "No space left on device", str(state))

    monkeypatch.setattr(restoring, "copy_contents", refuse)
    with pytest.raises(BackupError, match="make room and restore again"):
        restore(backup, state)

"""helm's own files beside its databases: SSH key and pins, the data key's wrap, copies, a backup and its restore."""

from __future__ import annotations

import base64
import functools
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from pharos.helm.backup.archive import make_backup
from pharos.helm.backup.restore import restore_backup
from pharos.helm.backup.revert import first_unknown, revert
from pharos.helm.ca.providers import Provider, wrap_key_file, wrap_passphrase
from pharos.helm.ca.vault import RecoveryKit, keep_data_key, key_file
from pharos.helm.errors import BackupError, BusyError
from pharos.helm.onboard.ssh.keys import SshKeys
from pharos.helm.onboard.ssh.pins import HostKey
from pharos.helm.store.checks import COPIES, CORE, is_good, list_copies
from pharos.helm.store.copies import make_copy
from pharos.helm.store.database import open_store
from pharos.helm.store.migrations import core_migrations
from pharos.wire.errors import StateFileError
from pharos.wire.files import sync_directory
from tests.support.faultstories import Story, View
from tests.support.helm import sample_act
from tests.support.helmstory import KIT, digest_of, prepare
from tests.support.nodestory import short

AT: Final = 1_800_000_000_000_000
HOUR: Final = 3_600_000_000
_BLOB: Final = b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(range(32))


def host_key() -> HostKey:
    return HostKey.parse("ssh-ed25519", base64.b64encode(_BLOB).decode())


def out_of(state: Path) -> Path:
    """Return where backups go; beside helm's own directory."""
    return made(state.parent / "out")


def second_of(state: Path) -> Path:
    """Return where a backup is restored to."""
    return made(state.parent / "second")


def made(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    sync_directory(path.parent)
    return path


def look_at_files(state: Path) -> View:
    """Return what helm would find."""
    second = state.parent / "second"
    key = key_file(state).load()
    keys = SshKeys(state / "ssh")
    copies = list_copies(state)
    assert all(is_good(copy) for copy in copies)
    backups = {path.name: digest_octets(path) for path in sorted(state.parent.glob("out/pharos-*"))}
    return {
        "key": short(key),
        "ssh": keys.public_line(),
        "pins": len(keys.pins.of("host.example")),
        # The one of 8 is removed in the end, and may come back without power: the next copy removes it again.
        **{f"copy {hour}": any(f"T{hour:02}0000Z" in copy.name for copy in copies) for hour in (9, 10)},
        "backups": backups,
        "restored": digest_of(second / CORE) if (second / CORE).exists() else None,
    }


def digest_octets(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def back_up(state: Path) -> None:
    """Make a backup, where another one was killed."""
    left = made(state / ".backup-01234567")
    make_backup(state, out_of(state), at=AT)
    assert not left.exists()


def restore(state: Path) -> None:
    if (second_of(state) / CORE).exists():
        return
    (backup,) = sorted(out_of(state).glob("pharos-*"))
    kit = RecoveryKit.parse((state.parent / KIT).read_text())
    with backup.open("rb") as file:
        restore_backup(file, second_of(state), kit, sample_act())


def entrust(to: Provider, state: Path) -> None:
    """Let something else open the data key."""
    key = _data_key(state)
    match to:
        case Provider.PASSPHRASE:
            wrap_passphrase(state, key, "four words in a row")
        case _:
            wrap_key_file(state, key)


def _data_key(state: Path) -> bytes:
    """Return the data key of the fleet; of one that a passphrase wraps by now, the test's own note of it."""
    body, note = key_file(state).load(), state.parent / "noted"
    assert body is not None
    if "key" in body:
        note.write_text(body["key"])
    return base64.b64decode(note.read_text())


def files_story() -> Story:
    """The story."""
    act = functools.partial
    return Story(
        look=look_at_files,
        refusals=(OSError, BackupError, BusyError, StateFileError),
        steps=[
            lambda state: SshKeys.open_keys(state).make(),
            lambda state: SshKeys.open_keys(state).pins.add("host.example", host_key()),
            act(entrust, Provider.PASSPHRASE),
            act(entrust, Provider.KEY_FILE),
            lambda state: keep_data_key(state, _data_key(state)),
            lambda state: make_copy(state, AT, keep=1),
            lambda state: make_copy(state, AT + HOUR, keep=2),
            lambda state: make_copy(state, AT + 2 * HOUR, keep=2),
            back_up,
            restore,
        ],
    )


# -- the way back from a newer helm

UNKNOWN: Final = "m0901_colour"


def prepare_newer(state: Path) -> None:
    """Lay down a fleet that a newer helm has changed, with the copy that it made before."""
    prepare(state)
    folder = made(state / COPIES)
    copied = folder / f"before-m0901-{CORE}"
    copied.write_bytes((state / CORE).read_bytes())
    copied.chmod(0o600)
    with closing(sqlite3.connect(state / CORE)) as db:
        db.execute("ALTER TABLE fleet ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)",
            (core_migrations.name, UNKNOWN, "2030-01-01"),
        )
        db.commit()


def look_at_reverted(state: Path) -> View:
    """Return whether it is the newer record, and whether that is still somewhere."""
    newer = first_unknown(state / CORE, core_migrations) is not None
    kept = [path for path in state.glob(f"newer-*/{CORE}") if first_unknown(path, core_migrations)]
    return {"newer": newer, "kept": newer or bool(kept)}


def revert_at_last(state: Path) -> None:
    """Go back, if that is not done yet, and start."""
    if first_unknown(state / CORE, core_migrations) is not None:
        revert(state, sample_act())
    with open_store(state):
        pass


def revert_story() -> Story:
    """The story of `helm revert`."""
    return Story(look=look_at_reverted, refusals=(OSError, BackupError, BusyError), steps=[revert_at_last])

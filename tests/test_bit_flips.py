"""A flipped bit in a file that is kept is refused with a clear error, or changes nothing; nothing else is taken.

Seeded bits of a node's, a relay's and a device's directory, of a backup and of helm's record, a thousand of each in the
heavy suites. Which bit it was is in the message of a failure. A quick run costs 20 s, the heavy suites 50 more.
"""

from __future__ import annotations

import collections
import contextlib
import io
import json
import logging
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pharos.buoy import journal
from pharos.caravel.errors import CaravelError, SystemModeError
from pharos.caravel.system import restore as restore_module
from pharos.helm.audit.chain import Link, verify_rows
from pharos.helm.backup.archive import open_members
from pharos.helm.ca.sealedfile import BackupHeader, SealedReader
from pharos.helm.ca.vault import RecoveryKit
from pharos.helm.errors import DatabaseCorruptError, HelmError
from pharos.helm.store.audit import audit_rows
from pharos.helm.store.checks import CORE, TELEMETRY, find_damage
from pharos.helm.store.database import open_store
from pharos.wire import files
from pharos.wire.desired import Fence
from pharos.wire.errors import WireError
from tests.support import devices, devicestory, helmfiles, helmstory
from tests.support.crashing import in_memory
from tests.support.faultfs import Rehearsal, rehearsing
from tests.support.faultstories import View, views_of
from tests.support.figures import Fault, record
from tests.support.helm import fleet_in_memory
from tests.support.nodestory import look_at_node, look_at_relay, push
from tests.support.strategies import peer_of

REFUSALS = (WireError, CaravelError, SystemModeError, HelmError)
# Nothing depends on it: which way worked where, and a lock's holder (caravel/tunnel/memory.py, wire/files.py).
ADVICE = {"networks.json", "lock", "writing.lock"}


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    with rehearsing() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with in_memory(tmp_path) as found:
        yield found


@pytest.fixture(params=[150, pytest.param(1_000, marks=pytest.mark.system)])
def flips(request: pytest.FixtureRequest) -> int:
    """How many bits are flipped, one at a time."""
    return int(request.param)


class Loud(logging.Handler):
    """Hears whether something was logged as an error, and keeps it from whoever else listens."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said = 0

    def emit(self, _record: logging.LogRecord) -> None:
        self.said += 1


def told(rehearsal: Rehearsal, folder: Path, work: str, prepare: Callable[[Path], object]) -> Path:
    """Return a directory in which a story was told to its last step but two, where most is kept."""
    state = folder / work.replace(" ", "-") / "state"
    state.mkdir(mode=0o700, parents=True)
    prepare(state)
    attempt = rehearsal.attempt(work, state)
    assert attempt.finished
    assert views_of(attempt.acknowledged)
    return state


def flip_all(
    root: Path,
    look: Callable[[], View],
    monkeypatch: pytest.MonkeyPatch,
    flips: int,
    *,
    refusals: tuple[type[Exception], ...] = REFUSALS,
) -> tuple[collections.Counter[str], list[str]]:
    """Flip one bit at a time in all files below ``root``; return what came of it, and what was taken wrong."""
    chance, whole = random.Random(13), look()
    kept = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name not in ADVICE]
    kept = [path for path in kept if path.stat().st_size]
    came, wrong = collections.Counter[str](), []
    loud = Loud()
    monkeypatch.setattr(logging.getLogger("pharos"), "handlers", [loud])
    monkeypatch.setattr(logging.getLogger("pharos"), "propagate", False)
    for number in range(flips):
        path = kept[number % len(kept)]
        before = path.read_bytes()
        bit = chance.randrange(len(before) * 8)
        damaged = bytearray(before)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        loud.said = 0
        try:
            seen = look()
        except refusals:
            came["refused"] += 1
        else:
            if seen == whole:
                came["without effect"] += 1
            elif loud.said:
                came["loudly without"] += 1
            elif path.name == "given.json" and seen == whole | {"given": False}:
                came["taken for none"] += 1
            else:
                wrong.append(f"{path.name}, bit {bit}")
        assert path.read_bytes() == damaged, f"{path.name} was not left as it was"
        path.write_bytes(before)
    return came, wrong


def test_flipped_bit_of_a_node_is_seen(
    folder: Path, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, flips: int
) -> None:
    state = told(rehearsal, folder, "node", lambda _: None)
    came, wrong = flip_all(state, lambda: look_at_node(state), monkeypatch, flips)
    assert wrong == []
    assert came["refused"] > flips * 0.3
    record(Fault.CORRUPT, "flipped bits of a node's files that were taken for something else", 0, f"of {flips}")


def test_flipped_bit_of_a_relay_is_seen(
    folder: Path, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, flips: int
) -> None:
    state = told(rehearsal, folder, "relay", lambda _: None)
    came, wrong = flip_all(state, lambda: look_at_relay(state), monkeypatch, flips)
    assert wrong == []
    assert came["refused"] > flips * 0.5
    record(Fault.CORRUPT, "flipped bits of a relay's files that were taken for something else", 0, f"of {flips}")


@pytest.fixture
def device(folder: Path) -> Path:
    """A device's directory, with notes of what was changed on its machine beside it."""
    original, state = folder / "original", folder / "device" / "state"
    with fleet_in_memory() as (_, authority):
        devices.lay_down(original, authority)
    state.mkdir(mode=0o700, parents=True)
    devicestory.prepare(original)(state)
    for step in devicestory.device_story().steps[:7]:
        step(state)
    devicestory.add_conf(state)
    devicestory.sign_in(state)
    devicestory.note("dns", state, lasting=True)
    devicestory.note("rule", state, lasting=False)
    # Not ours: what stands there the machine's owner has written. What is empty has no bits.
    devicestory.resolver_of(state).write_text("")
    return state


def test_flipped_bit_of_a_device_is_seen(device: Path, monkeypatch: pytest.MonkeyPatch, flips: int) -> None:
    came, wrong = flip_all(device.parent, lambda: devicestory.look_at_device(device), monkeypatch, flips)
    assert wrong == []
    assert came["refused"] > flips * 0.5
    record(Fault.CORRUPT, "flipped bits of a device's files that were taken for something else", 0, f"of {flips}")


@pytest.mark.parametrize("weak", ["checksum", "journal"])
def test_flipped_bit_is_taken_without_the_checks_turns_red(
    folder: Path, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch, weak: str
) -> None:
    state = told(rehearsal, folder, "node", lambda _: None)
    push(state, fence=Fence(5, 3, 2), snapshot=False, upsert=(peer_of(8),))
    if weak == "checksum":
        monkeypatch.setattr(files.StateFile, "load_any", _load_unchecked)
    else:
        monkeypatch.setattr(journal, "_is_of_another", lambda _first, _line: True)
    _, wrong = flip_all(state, lambda: look_at_node(state), monkeypatch, 300, refusals=(Exception,))
    assert wrong


def test_flipped_bit_of_the_notes_is_taken_without_their_checksum_turns_red(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_module, "checksum", lambda _body: "always")
    notes = device.parent / "lasting"
    for folder in (notes, device.parent / "running"):
        shutil.rmtree(folder)
    devicestory.note("dns", device, lasting=True)
    _, wrong = flip_all(notes, lambda: devicestory.look_at_device(device), monkeypatch, 300)
    assert wrong


def _load_unchecked(self: files.StateFile, *formats: str) -> tuple[str, files.Json] | None:
    """Weakened: whatever is JSON is believed."""
    try:
        document = json.loads(self.path.read_bytes())
        return document["format"], document["body"]
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise self._corrupt(str(error)) from None


def test_flipped_bit_of_a_backup_is_seen(folder: Path, rehearsal: Rehearsal, flips: int) -> None:
    state = told(rehearsal, folder, "helm files", helmstory.prepare)
    (backup,) = sorted(helmfiles.out_of(state).glob("pharos-*"))
    kit = RecoveryKit.parse((state.parent / helmstory.KIT).read_text())
    whole, chance = backup.read_bytes(), random.Random(13)
    good, refused = contents_of(whole, kit), 0
    for _ in range(flips):
        bit = chance.randrange(len(whole) * 8)
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert contents_of(bytes(damaged), kit) == good, f"bit {bit}"
        except HelmError:
            refused += 1
    assert refused > flips * 0.9
    record(Fault.CORRUPT, "flipped bits of a backup that were taken for something else", 0, f"of {flips}")


def contents_of(blob: bytes, kit: RecoveryKit) -> dict[str, bytes]:
    """Return what would be restored. Raises: HelmError."""
    file = io.BytesIO(blob)
    header = BackupHeader.read(file)
    with open_members(SealedReader(file, header, header.key_by_kit(kit))) as members:
        return {name: content.read() for name, content in members}


def test_flipped_bit_of_helms_record_breaks_no_structure(folder: Path, rehearsal: Rehearsal, flips: int) -> None:
    """What SQLite's check and the audit's chain see of a record that has no checksum, for helm was killed.

    A bit inside of a plain value neither does.

    How many of a thousand those are is measured and shown, for that is as far as the promise goes.
    """
    state = told(rehearsal, folder, "helm", helmstory.prepare)
    with closing(sqlite3.connect(state / CORE)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA journal_mode = DELETE")
    came, rows = collections.Counter[str](), rows_of(state)
    path = state / CORE
    whole, chance = path.read_bytes(), random.Random(13)
    for _ in range(flips):
        bit = chance.randrange(len(whole) * 8)
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        came[judged(state, rows)] += 1
    path.write_bytes(whole)
    assert came["a row is gone"] == 0
    assert came["refused at start"] > flips / 50
    assert came["seen by the audit"] > flips / 200
    for what in ("refused at start", "seen by the audit", "another value"):
        record(Fault.CORRUPT, f"flipped bits of helm's record: {what}", came[what], f"of {flips}")


@pytest.mark.parametrize("name", [CORE, TELEMETRY])
def test_flipped_bit_of_a_database_that_was_closed_is_seen(
    folder: Path, rehearsal: Rehearsal, flips: int, name: str
) -> None:
    state = told(rehearsal, folder, "helm", helmstory.prepare)
    with open_store(state):
        pass
    for bit, damaged in flipped(state / name, flips):
        with pytest.raises(DatabaseCorruptError), open_store(state):
            pytest.fail(f"bit {bit} of {name} was not seen")
        assert (state / name).read_bytes() == damaged, f"{name} was not left as it was"
    with open_store(state):
        pass
    record(Fault.CORRUPT, f"flipped bits of a {name} that was closed cleanly, unseen at start", 0, f"of {flips}")


def test_flipped_bit_is_taken_where_the_sum_is_not_looked_at_turns_red(
    folder: Path, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = told(rehearsal, folder, "helm", helmstory.prepare)
    monkeypatch.setattr("pharos.helm.store.database.difference", lambda _path: "")
    taken = 0
    for _ in flipped(state / CORE, 100):
        with contextlib.suppress(HelmError, sqlite3.Error, UnicodeDecodeError), open_store(state):
            taken += 1
    assert taken > 10


def flipped(path: Path, flips: int) -> Iterator[tuple[int, bytes]]:
    """Give a file with one bit flipped at a time, and which one it is; the file is whole again at the end."""
    whole, chance = path.read_bytes(), random.Random(13)
    for _ in range(flips):
        bit = chance.randrange(len(whole) * 8)
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        yield bit, bytes(damaged)
    path.write_bytes(whole)


def rows_of(state: Path) -> dict[str, list[bytes]]:
    with closing(sqlite3.connect(state / CORE)) as db:
        db.text_factory = bytes
        names = [name.decode() for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(repr(row).encode() for row in db.execute(f'SELECT * FROM "{name}"')) for name in names}


def judged(state: Path, rows: dict[str, list[bytes]]) -> str:
    """Say what comes of a record with a flipped bit."""
    try:
        with closing(sqlite3.connect(f"file:{state / CORE}?mode=ro&immutable=1", uri=True)) as db:
            db.row_factory = sqlite3.Row
            if find_damage(db):
                return "refused at start"
            try:
                verify_rows(audit_rows(db, 0), Link())
            except (HelmError, WireError):
                return "seen by the audit"
        after = rows_of(state)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return "refused at start"
    if {name: len(found) for name, found in after.items()} != {name: len(found) for name, found in rows.items()}:
        return "a row is gone"
    return "without effect" if after == rows else "another value"


def test_start_says_where_the_way_back_is(folder: Path, rehearsal: Rehearsal) -> None:
    state = told(rehearsal, folder, "helm files", helmstory.prepare)
    path = state / CORE
    damaged = bytearray(path.read_bytes())
    damaged[100:108] = bytes(8)
    path.write_bytes(damaged)
    with pytest.raises(HelmError, match="newest good copy is"), open_store(state):
        pass
    assert path.read_bytes() == damaged

"""A backup is one file that the recovery kit opens, and that nobody can alter."""

from __future__ import annotations

import io
import sqlite3
import stat
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from pharos.helm.backup.archive import Made, make_backup, open_members
from pharos.helm.ca.kit import ROOT
from pharos.helm.ca.sealedfile import CHUNK, BackupHeader, SealedReader, SealedWriter
from pharos.helm.ca.vault import RecoveryKit, Vault, create_vault, open_vault
from pharos.helm.errors import BackupError, NotInitialisedError
from pharos.helm.store.fleet import get_secret
from pharos.wire.files import write_atomic
from pharos.wire.ids import FleetId
from tests.support.helm import make_fleet_files
from tests.support.restore import VAULT

AT = 1_800_000_000_000_000


@attrs.frozen
class Site:
    state: Path
    out: Path
    kit: RecoveryKit

    def backup(self, **how: Any) -> Made:
        return make_backup(self.state, self.out, at=AT, **how)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    files, kit = make_fleet_files()
    state, out = tmp_path / "s", tmp_path / "out"
    state.mkdir(mode=0o700)
    out.mkdir()
    for name, content in files.items():
        write_atomic(state / name, content)
    return Site(state, out, kit)


def contents(path: Path, kit: RecoveryKit) -> dict[str, bytes]:
    with path.open("rb") as file:
        header = BackupHeader.read(file)
        with open_members(SealedReader(file, header, header.key_by_kit(kit))) as members:
            return {name: content.read() for name, content in members}


@contextmanager
def record_in(content: bytes) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(content)
        db.row_factory = sqlite3.Row
        yield db


def test_kit_alone_opens_what_helm_wrote_without_it(site: Site) -> None:
    made = site.backup()
    assert made.path.name == f"pharos-{made.header.fleet}-20270115T080000Z.backup"
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert [path.name for path in site.out.iterdir()] == [made.path.name]
    assert {path.name for path in site.state.iterdir()} == {"core.db", "data.key"}
    found = contents(made.path, site.kit)
    assert found.keys() == {"core.db"}
    with record_in(found["core.db"]) as db:
        assert db.execute("SELECT id FROM fleet").fetchone()[0] == made.header.fleet
    with pytest.raises(BackupError, match="does not open a backup of fleet"):
        contents(made.path, RecoveryKit.create())


def test_roots_key_is_left_out_of_every_page_unless_it_is_asked_for(site: Site) -> None:
    with record_in((site.state / "core.db").read_bytes()) as db:
        _, wrapped = get_secret(db, ROOT)
    without = contents(site.backup().path, site.kit)["core.db"]
    assert wrapped not in without
    assert wrapped in contents(site.backup(with_root=True).path, site.kit)["core.db"]
    # The fleet's own record was not touched.
    assert wrapped in (site.state / "core.db").read_bytes()


def test_nothing_of_the_record_can_be_read_in_the_file(site: Site) -> None:
    raw = site.backup(with_root=True).path.read_bytes()
    assert b"SQLite" not in raw
    assert b"CREATE TABLE" not in raw


def test_history_comes_along_when_it_is_asked_for(site: Site) -> None:
    with closing(sqlite3.connect(site.state / "telemetry.db")) as db:
        db.execute("CREATE TABLE t (x)")
    assert contents(site.backup(with_telemetry=True).path, site.kit).keys() == {"core.db", "telemetry.db"}


def test_disk_that_gives_back_another_file_is_found_and_nothing_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = SealedWriter.write

    def flip(self: SealedWriter, data: bytes) -> int:
        return write(self, data.replace(b"SQLite format 3", b"SQLite format 4"))

    monkeypatch.setattr(SealedWriter, "write", flip)
    with pytest.raises(BackupError, match="not what was written"):
        site.backup()
    assert list(site.out.iterdir()) == []


def test_folder_without_room_or_right_is_told(site: Site) -> None:
    (site.out / "f").write_text("")
    with pytest.raises(BackupError, match="cannot be written"):
        make_backup(site.state, site.out / "f", at=AT)


def test_state_without_a_fleet_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotInitialisedError, match="helm init"):
        make_backup(tmp_path, tmp_path, at=AT)


def test_fleet_of_an_older_helm_takes_the_kit(site: Site) -> None:
    with closing(sqlite3.connect(site.state / "core.db", isolation_level=None)) as db:
        db.execute("DELETE FROM secrets WHERE name = 'kit-key'")
    with pytest.raises(BackupError, match="--kit -"):
        site.backup()
    assert contents(site.backup(kit=site.kit).path, site.kit).keys() == {"core.db"}


def test_public_key_that_somebody_put_into_the_database_is_not_sealed_to(site: Site) -> None:
    with closing(sqlite3.connect(site.state / "core.db", isolation_level=None)) as db:
        mine = bytes(RecoveryKit.create().sealing_key().public_key)
        db.execute("UPDATE secrets SET wrapped = ? WHERE name = 'kit-key'", (mine,))
    with pytest.raises(Exception, match="does not open with this key"):
        site.backup()


def sealed(plain: bytes, kit: RecoveryKit) -> bytes:
    file = io.BytesIO()
    writer = SealedWriter(
        file,
        kit_key=bytes(kit.sealing_key().public_key),
        vault=VAULT,
        fleet=FleetId("0123456789abcdef"),
        at=1,
        epoch=2,
        with_root=False,
        by="test",
    )
    for start in range(0, len(plain), 10_000):
        writer.write(plain[start : start + 10_000])
    writer.close()
    return file.getvalue()


def opened(blob: bytes, kit: RecoveryKit) -> bytes:
    file = io.BytesIO(blob)
    header = BackupHeader.read(file)
    reader = SealedReader(file, header, header.key_by_kit(kit))
    plain = b"".join(iter(lambda: reader.read(7_777), b""))
    reader.finish()
    return plain


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
def test_every_length_is_given_back(size: int) -> None:
    kit = RecoveryKit.create()
    plain = bytes(range(256)) * (size // 256 + 1)
    assert opened(sealed(plain[:size], kit), kit) == plain[:size]


def test_every_altered_cut_or_lengthened_file_is_refused() -> None:
    kit = RecoveryKit.create()
    blob = sealed(bytes(CHUNK + 100), kit)
    assert len(opened(blob, kit)) == CHUNK + 100
    # The whole header octet by octet, and samples of the rest.
    places = [*range(600), *range(600, len(blob), 4_999), len(blob) - 1]
    for place in places:
        bad = bytearray(blob)
        bad[place] ^= 1
        with pytest.raises(BackupError):
            opened(bytes(bad), kit)
    for length in (0, 5, 15, 19, 300, len(blob) - 117, len(blob) - 1):
        with pytest.raises(BackupError):
            opened(blob[:length], kit)
    with pytest.raises(BackupError, match="altered or is missing"):
        opened(blob + b"x", kit)
    with pytest.raises(BackupError, match="behind its end"):
        opened(sealed(bytes(CHUNK), kit) + b"x", kit)
    # Red: a reader that goes by the chunks alone takes the first of them for a whole file.
    file = io.BytesIO(blob[: len(blob) - 117])
    header = BackupHeader.read(file)
    assert SealedReader(file, header, header.key_by_kit(kit)).read(CHUNK) == bytes(CHUNK)


def test_newer_version_and_strange_files_are_told_apart() -> None:
    with pytest.raises(BackupError, match="newer version"):
        BackupHeader.read(io.BytesIO(b"pharos-backup\x00\x02" + bytes(100)))
    with pytest.raises(BackupError, match="not a backup"):
        BackupHeader.read(io.BytesIO(b"PK\x03\x04" + bytes(100)))


def archive_of(*members: tuple[str, bytes, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind, content in members:
            about = tarfile.TarInfo(name)
            about.type, about.size = kind, len(content)
            tar.addfile(about, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        [("../core.db", tarfile.REGTYPE, b"x")],
        [("/etc/passwd", tarfile.REGTYPE, b"x")],
        [("core.db", tarfile.SYMTYPE, b"")],
        [("core.db", tarfile.DIRTYPE, b"")],
        [("core.db", tarfile.REGTYPE, b"x"), ("core.db", tarfile.REGTYPE, b"y")],
        [("data.key", tarfile.REGTYPE, b"x")],
        [("telemetry.db", tarfile.REGTYPE, b"x")],
    ],
)
def test_archive_with_other_members_is_refused(members: list[tuple[str, bytes, bytes]]) -> None:
    kit = RecoveryKit.create()
    file = io.BytesIO(sealed(archive_of(*members), kit))
    header = BackupHeader.read(file)
    with (
        pytest.raises(BackupError, match=r"no backup does|no record in it"),
        open_members(SealedReader(file, header, header.key_by_kit(kit))) as found,
    ):
        for _, content in found:
            content.read()


def test_only_the_helm_that_made_it_reads_it_without_the_kit(tmp_path: Path) -> None:
    kit = RecoveryKit.create()
    header = BackupHeader.read(cast(Any, io.BytesIO(sealed(b"", kit))))
    assert header.key_by_vault(VAULT) == header.key_by_kit(kit)
    create_vault(tmp_path)
    with pytest.raises(BackupError, match="not made by this helm"):
        header.key_by_vault(open_vault(tmp_path))
    assert Vault(bytes(32)) == VAULT

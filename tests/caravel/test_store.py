"""The local store keeps secrets private, keeps them before they are shown, and hands out nothing that is damaged."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from pharos.caravel.errors import NotEnrolledError
from pharos.caravel.profiles import writing
from pharos.caravel.profiles.store import ProfileStore, generate_secrets
from pharos.wire.errors import StateFileError, WireError
from tests.support import devices
from tests.support.pki import utc_now


def test_empty_store_holds_no_device(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "s")
    assert store.secrets() is None
    assert store.bundle() is None
    with pytest.raises(NotEnrolledError):
        store.enrolled()
    with pytest.raises(NotEnrolledError):
        store.profile(utc_now())


def test_secrets_come_back_as_they_were_and_are_private(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "s")
    secrets = generate_secrets()
    store.save_secrets(secrets)
    again = ProfileStore(tmp_path / "s").secrets()
    assert again is not None
    assert again.tls == secrets.tls
    for name in ("sealing", "derive", "noise", "awg"):
        assert getattr(again, name).private_bytes() == getattr(secrets, name).private_bytes()
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.path.iterdir()} == {0o600}


def test_secrets_never_show_in_a_repr() -> None:
    secrets = generate_secrets()
    shown = repr(secrets)
    for name in ("sealing", "derive", "noise", "awg"):
        assert getattr(secrets, name).private_bytes().hex() not in shown
    assert repr(secrets.tls) not in shown


def test_store_open_to_others_is_refused(tmp_path: Path) -> None:
    ProfileStore(tmp_path / "s")
    (tmp_path / "s").chmod(0o755)
    with pytest.raises(StateFileError, match="chmod 700"):
        ProfileStore(tmp_path / "s")


def test_keys_are_distinct(tmp_path: Path) -> None:
    secrets = generate_secrets()
    publics = {getattr(secrets, name).public for name in ("sealing", "derive", "noise", "awg")}
    assert len(publics) == 4


def trace_of_a_save(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what keeping a bundle does to the disk, in order, up to when it may be used."""
    store = devices.open_store(path)
    store.save_secrets(generate_secrets())
    trace: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        trace.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        trace.append(f"rename {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    store.save_bundle(devices.bundle(1), devices.blob(1))
    trace.append("used")
    return trace


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="which file a descriptor is of, Linux tells")
def test_bundle_and_its_order_are_on_the_disk_before_anybody_uses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = trace_of_a_save(tmp_path / "s", monkeypatch)
    pins = ["sync .pins.json.new", "rename pins.json", "sync s"]
    assert trace == [*pins, "sync .bundle.json.new", "rename bundle.json", "sync s", "used"]


def writers(path: Path) -> list[BaseException]:
    """Let two programs write to one store at once; return what went wrong."""
    troubles: list[BaseException] = []

    def write(start: int) -> None:
        store = devices.open_store(path)
        try:
            for revision in range(start, start + 80):
                store.save_bundle(devices.bundle(revision), devices.blob(revision))
                store.bundle()
        except (OSError, WireError) as error:
            troubles.append(error)

    threads = [threading.Thread(target=write, args=(start,)) for start in (1, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return troubles


def test_programs_that_write_at_once_take_turns_and_the_newest_bundle_stays(tmp_path: Path) -> None:
    devices.open_store(tmp_path / "s").save_secrets(generate_secrets())
    assert writers(tmp_path / "s") == []
    assert devices.open_store(tmp_path / "s").bundle() is not None


def write_in_the_middle_of_a_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second program write the same file while the first has written half of it."""
    first, second = devices.open_store(path), devices.open_store(path)
    fsync = os.fsync

    def interrupted(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        second.save_heard(devices.HEARD)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    first.save_heard(devices.HEARD)


def test_second_writer_is_kept_out_of_the_middle_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "PATIENCE", 0.05)
    with pytest.raises(StateFileError, match="another program"):
        write_in_the_middle_of_a_write(tmp_path / "s", monkeypatch)


def test_second_writer_takes_the_firsts_file_away_where_nobody_takes_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weakened."""
    monkeypatch.setattr(writing, "lock_nowait", lambda _descriptor: True)
    with pytest.raises(FileNotFoundError):
        write_in_the_middle_of_a_write(tmp_path / "s", monkeypatch)

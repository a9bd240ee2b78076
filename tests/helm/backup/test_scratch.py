"""What a killed backup left goes with the next one or with helm's next start; one that is being made is let be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pharos.helm.backup import scratch
from pharos.helm.backup.scratch import open_scratch, sweep
from pharos.wire.files import lock_state_directory

KILLED = """
import os, pathlib, signal, sys
from pharos.helm.backup.scratch import open_scratch
with open_scratch(pathlib.Path(sys.argv[1])) as folder:
    (folder / "core.db").write_bytes(b"a copy of the record")
    print(folder.name, flush=True)
    sys.stdin.read()
"""


def folders(state: Path) -> list[str]:
    return sorted(path.name for path in state.iterdir())


def test_backup_leaves_nothing(tmp_path: Path) -> None:
    with open_scratch(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert folders(tmp_path) == []


@pytest.mark.parametrize("by", ["the next backup", "a start"])
def test_what_a_killed_backup_left_is_removed_and_not_before_it_is_dead(tmp_path: Path, by: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        name = child.stdout.readline().strip()
        sweep(tmp_path)
        assert folders(tmp_path) == [name]
        assert (tmp_path / name / "core.db").exists()
        os.kill(child.pid, signal.SIGKILL)
    assert folders(tmp_path) == [name]
    if by == "a start":
        sweep(tmp_path)
    else:
        with open_scratch(tmp_path) as folder:
            assert folders(tmp_path) == [folder.name]
    assert folders(tmp_path) == []


def test_only_what_is_ours_is_removed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".backup-mine").mkdir()
    (tmp_path / ".backup-OFTHEOWN").mkdir()
    (tmp_path / ".backup-01234567").write_text("a file")
    (tmp_path / ".backup-abcdefgh").symlink_to(tmp_path / "elsewhere")
    before = folders(tmp_path)
    sweep(tmp_path)
    assert folders(tmp_path) == before


def test_folder_that_was_swept_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []

    def lock_late(path: Path) -> object:
        if not swept:
            swept.append(path)
            (path / "lock").touch()
            monkeypatch.setattr(scratch, "lock_state_directory", lock_state_directory)
            sweep(tmp_path)
        return lock_state_directory(path)

    monkeypatch.setattr(scratch, "lock_state_directory", lock_late)
    with open_scratch(tmp_path) as folder:
        assert folder != swept[0]
        assert folders(tmp_path) == [folder.name]
    assert folders(tmp_path) == []


def test_folder_that_cannot_be_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_path: Path) -> object:
        raise OSError(28, "No space left on device")

    (tmp_path / ".backup-abcdefgh").mkdir()
    monkeypatch.setattr(scratch, "lock_state_directory", refuse)
    sweep(tmp_path)
    assert ".backup-abcdefgh is left of a backup that was broken off, and stays" in caplog.text
    caplog.clear()

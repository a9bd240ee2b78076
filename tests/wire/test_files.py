"""State files survive a crash at any step, damage is seen and never overwritten, one process holds a directory."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire import files
from pharos.wire.errors import StateFileError
from pharos.wire.files import StateFile, lock_state_directory, open_state_directory, write_atomic
from tests.support.strategies import quick

OLD, NEW = b"old " * 1000, b"new " * 3000
# The steps of one atomic write that can fail or be the last before the power goes.
STEPS = ("open", "fchmod", "write", "fsync", "replace")


class PowerCutError(BaseException):
    """The process ends here; no handler of ours may swallow it."""


def fail_at(monkeypatch: pytest.MonkeyPatch, target: int, error: type[BaseException]) -> list[str]:
    """Let the ``target``-th system call raise instead; return the names of the calls, which grows as they are made."""
    made: list[str] = []

    def guarded(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            if len(made) - 1 == target:
                raise error(name)
            return real(*args, **kwargs)

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, guarded(name, getattr(os, name)))
    return made


def state_file(folder: Path) -> StateFile:
    return StateFile(folder / "state.json", "pharos/test/v1", "restore it from a copy")


@pytest.mark.parametrize("error", [PowerCutError, OSError])
def test_write_that_ends_at_any_step_leaves_the_old_or_the_new_file_whole(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    for step in range(100):
        path.write_bytes(OLD)
        with pytest.MonkeyPatch.context() as patch:
            made = fail_at(patch, step, error)
            try:
                write_atomic(path, NEW)
            except error:
                replaced = "replace" in made[:-1]
            else:
                break
        assert path.read_bytes() == (NEW if replaced else OLD)
        write_atomic(path, NEW)
        assert path.read_bytes() == NEW
    # Both fsyncs are there, each where it counts: the content before its name, the name before success.
    assert made == ["open", "fchmod", "write", "fsync", "replace", "open", "fsync"]


def test_power_cut_while_saving_leaves_a_document_that_loads(tmp_path: Path) -> None:
    file = state_file(tmp_path)
    file.save({"n": 0})
    for step in range(7):
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, step, PowerCutError)
            with pytest.raises(PowerCutError):
                file.save({"n": 1})
        assert file.load() in ({"n": 0}, {"n": 1})
        file.save({"n": 0})


def test_kernel_that_takes_few_bytes_at_a_time_gets_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    write_atomic(tmp_path / "file", OLD)
    assert (tmp_path / "file").read_bytes() == OLD


def test_written_file_is_private_whatever_the_umask_and_the_old_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    path.chmod(0o666)
    before = os.umask(0)
    try:
        write_atomic(path, NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"], "no scratch file is left behind"


def test_planted_symlink_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".file.new").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        write_atomic(tmp_path / "file", NEW)
    assert victim.read_bytes() == b"precious"


def test_missing_state_file_is_no_document(tmp_path: Path) -> None:
    assert state_file(tmp_path).load() is None


documents = st.dictionaries(
    st.text(max_size=8), st.none() | st.integers() | st.text() | st.lists(st.booleans()), max_size=4
)


@quick
@given(documents)
def test_saved_document_loads_as_it_was(tmp_path_factory: pytest.TempPathFactory, body: dict[str, Any]) -> None:
    file = state_file(tmp_path_factory.mktemp("state"))
    file.save(body)
    assert file.load() == body


def good_document() -> bytes:
    return json.dumps({"format": "pharos/test/v1", "sha256": files.checksum({"n": 1}), "body": {"n": 1}}).encode()


DAMAGE = {
    "empty": b"",
    "truncated": good_document()[:-5],
    "not text": b"\xff\xfe\x00",
    "another checksum": good_document().replace(b'"n": 1', b'"n": 2'),
    "another format": good_document().replace(b"test/v1", b"test/v2"),
    "another program's": b'{"peers": []}',
    "a list": b"[]",
    "a body that is none": b'{"format": "pharos/test/v1", "sha256": "", "body": []}',
    "one member too many": good_document()[:-1] + b', "more": 1}',
    "nested beyond reason": b"[" * 100_000,
}


@pytest.mark.parametrize("raw", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_file_is_refused_by_name_with_the_way_out_and_left_alone(tmp_path: Path, raw: bytes) -> None:
    file = state_file(tmp_path)
    file.path.write_bytes(raw)
    with pytest.raises(StateFileError) as caught:
        file.load()
    assert str(file.path) in str(caught.value)
    assert str(caught.value).endswith("restore it from a copy")
    assert file.path.read_bytes() == raw


def test_every_flipped_byte_is_seen(tmp_path: Path) -> None:
    file = state_file(tmp_path)
    file.save({"n": 1, "name": "lighthouse"})
    good = file.path.read_bytes()
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1
        file.path.write_bytes(bad)
        try:
            loaded = file.load()
        except StateFileError:
            continue
        # White space between two tokens may change without changing what is said.
        assert loaded == {"n": 1, "name": "lighthouse"}


def test_too_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = state_file(tmp_path)
    file.save({"n": 1})
    monkeypatch.setattr(files, "MAX_STATE_SIZE", file.path.stat().st_size - 1)
    with pytest.raises(StateFileError, match="too large"):
        file.load()


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = state_file(tmp_path)
    file.path.mkdir()
    with pytest.raises(StateFileError, match=r"cannot be read.*restore it"):
        file.load()


def test_state_directory_is_made_private(tmp_path: Path) -> None:
    made = open_state_directory(tmp_path / "deep" / "state")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert open_state_directory(made) == made


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o755, 0o777])
def test_state_directory_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    with pytest.raises(StateFileError, match=f"{mode:04o}.*chmod 700 {state}"):
        open_state_directory(state)
    assert stat.S_IMODE(state.stat().st_mode) == mode, "the operator's directory is not changed for them"


def test_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StateFileError, match="not a directory"):
        open_state_directory(tmp_path / "state")


HOLDER = """
import pathlib, sys
from pharos.wire.files import lock_state_directory
with lock_state_directory(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_process_is_refused_by_the_pid_of_the_first_until_that_dies(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StateFileError, match=f"in use by process {holder.pid};"), lock_state_directory(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        # A killed process holds nothing, whatever is still written in the file.
        with lock_state_directory(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_lock_is_given_back_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock_state_directory(tmp_path):
        raise ZeroDivisionError
    with lock_state_directory(tmp_path):
        assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def test_a_system_without_flock_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with lock_state_directory(tmp_path), lock_state_directory(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_windows_locks_in_its_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def locking(descriptor: int, how: int, count: int) -> None:
        assert (how, count) == (2, 1)
        if held:
            raise PermissionError
        held.append(descriptor)

    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    with lock_state_directory(tmp_path):
        with pytest.raises(StateFileError, match="is in use by process"):
            with lock_state_directory(tmp_path):
                raise AssertionError("it is held")

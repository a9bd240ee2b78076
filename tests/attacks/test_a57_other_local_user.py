"""Row 57. Position: another user of helm's machine. Wants: its databases, copies and keys, and its operator's socket.

Countermeasure: a directory of mode 0700 and files of mode 0600 from their first byte, whatever the umask; and helm does
not start over state that is open wider.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.helm.cli import browsers, main
from pharos.helm.config import SOCKET_NAME
from pharos.helm.store import connections, copies
from pharos.helm.store.copies import make_copy
from pharos.helm.store.database import open_store
from pharos.helm.web.app import make_operator_app, serve_operator
from pharos.wire import files
from pharos.wire.errors import StateFileError
from tests.support.commands import invoke_json
from tests.support.helm import STARTED_AT, open_helm

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root, as CI has it")

NOBODY = 65534
SECRET = "the-canary-of-row-57"
# Opens what it is told to, connects to sockets, and names what let it.
ATTACKER = """
import os, socket, stat, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in sys.argv[1:]:
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(path)
                client.sendall(b"GET /api/v1/users HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
                assert b"200" in client.recv(100)
        elif stat.S_ISDIR(os.stat(path).st_mode):
            os.listdir(path)
        else:
            open(path, "rb").read()
    except OSError:
        continue
    print(os.path.basename(path))
"""


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory to which another user can find the way, as to one below /var/lib; pytest's own hides it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        folder = Path(name) / "helm"
        folder.mkdir(mode=0o700)
        yield folder


@pytest.fixture(autouse=True)
def lax_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@asynccontextmanager
async def running(state: Path) -> AsyncIterator[list[Path]]:
    """Run what holds files and the socket of a helm, and give all that is in its directory."""
    async with open_helm(state) as helm, trio.open_nursery() as nursery:
        await helm.store.run(lambda db: db.execute("UPDATE nodes SET note = ?", (SECRET,)).rowcount)
        make_copy(state, STARTED_AT, keep=1)
        await nursery.start(serve_operator, make_operator_app(helm.context), state)
        yield everything_in(state)
        nursery.cancel_scope.cancel()


def everything_in(state: Path) -> list[Path]:
    return [state, *sorted(state.rglob("*"))]


def open_up(state: Path) -> None:
    for folder in (state, state / "copies"):
        if folder.exists():
            folder.chmod(0o755)


def give_away(paths: list[Path]) -> None:
    for path in paths:
        os.chown(path, NOBODY, NOBODY)


async def reached_by_another(paths: list[Path]) -> set[str]:
    """Return the names of what another user could open."""
    words = [sys.executable, "-c", ATTACKER, *map(str, paths)]
    done = await trio.run_process(words, capture_stdout=True)
    return set(done.stdout.decode().split())


@pytest.mark.red_inside
async def test_a57_another_user_reaches_nothing(state: Path) -> None:
    async with running(state) as paths:
        assert {"core.db", "core.db-wal", "data.key", "copies", SOCKET_NAME} <= {path.name for path in paths}
        assert await reached_by_another(paths) == set()
        # Behind the directory stand the files' own modes: nothing of it opens even if the way in does.
        open_up(state)
        assert await reached_by_another(paths) == {state.name, "copies"}
        # Weakened: files as the umask leaves them.
        for path in paths[1:]:
            path.chmod(0o777)
        assert {"core.db", "core.db-wal", "data.key", SOCKET_NAME} <= await reached_by_another(paths)


async def test_a57_turns_red_where_files_are_made_as_usual(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakened: each maker of files lets others read, as SQLite and ``open`` do by themselves."""
    monkeypatch.setattr(connections, "PRIVATE_FILE", 0o666)
    monkeypatch.setattr(copies, "PRIVATE_FILE", 0o666)
    monkeypatch.setattr(copies, "PRIVATE_DIRECTORY", 0o777)
    monkeypatch.setattr(files.write_atomic, "__kwdefaults__", {"mode": 0o666})
    monkeypatch.setattr("pharos.helm.store.database.check_private", lambda _state: None)
    open_up(state)
    async with running(state) as paths:
        reached = await reached_by_another(paths)
    assert {"core.db", "core.db-wal", "telemetry.db", "data.key", "copies"} <= reached
    assert any(name.startswith("core-") for name in reached)


@pytest.mark.parametrize(
    "name", ["", "core.db", "telemetry.db", "data.key", "lock", "helm.sock", "copies", "copies/core"]
)
@pytest.mark.parametrize("bits", [0o040, 0o001, 0o004, 0o020])
async def test_a57_helm_does_not_start_over_what_is_open_to_others(state: Path, name: str, bits: int) -> None:
    async with open_helm(state):
        copy = make_copy(state, STARTED_AT, keep=1)
        for other in ("lock", "helm.sock"):
            (state / other).touch(0o600)
    path = copy if name == "copies/core" else state / name
    mode = path.stat().st_mode & 0o777
    path.chmod(mode | bits)
    with pytest.raises(StateFileError, match="open to other users") as caught, open_store(state):
        pass
    command = str(caught.value).partition("run: ")[2]
    assert command == f"chmod {mode:o} {path}"
    subprocess.run(command, shell=True, check=True)  # noqa: ASYNC221 -- a moment
    with open_store(state):
        pass


@pytest.mark.red_inside
def test_a57_key_file_of_a_browser_is_its_makers_own(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `helm admins certificate` writes, where others may look around; what the page shows is no secret."""
    invoke_json(main, "init", "--state", state)
    folder = state.parent
    for made, reached in ("ada.p12", {"localhost.pem"}), ("weak.p12", {"localhost.pem", "weak.p12"}):
        if made == "weak.p12":
            # Weakened: written as files are.
            monkeypatch.setattr(browsers, "write_atomic", lambda path, data, mode=0o666: path.write_bytes(data))
        invoke_json(main, "admins", "certificate", "owner", "--out", folder / made, "--state", state)
        assert trio.run(reached_by_another, [folder / made, folder / "localhost.pem"]) == reached


async def test_a57_file_of_another_user_is_refused(state: Path) -> None:
    async with open_helm(state):
        pass
    give_away([state / "core.db"])
    with pytest.raises(StateFileError, match="belongs to user 65534"), open_store(state):
        pass
    # A service's own directory, in which root looks something up, is all right.
    give_away(everything_in(state))
    with open_store(state):
        pass

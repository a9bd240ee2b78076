"""Commands and files on a machine that answers, and what is left of them when it does not."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.helm.onboard.errors import (
    CommandTimeoutError,
    ConnectionLostError,
    RemoteAnswerError,
    RemoteCommandError,
)
from pharos.helm.onboard.remote import Remote
from pharos.helm.onboard.ssh import SshKeys, open_remote
from tests.support.prompts import Person
from tests.support.sshd import Server, needs_sshd, running_sshd

pytestmark = needs_sshd

SIZE = 1_000_000


@asynccontextmanager
async def connected(server: Server, state: SshKeys) -> AsyncIterator[Remote]:
    with trio.fail_after(60):
        async with open_remote(server.destination, keys=state, prompts=Person(), program=server.program) as remote:
            yield remote


@asynccontextmanager
async def cuttable(server: Server) -> AsyncIterator[tuple[Server, Callable[[], None]]]:
    """Put a line before the server, and yield what cuts it."""

    async def carry(client: trio.SocketStream) -> None:
        async with client, await trio.open_tcp_stream("127.0.0.1", server.port) as beyond, trio.open_nursery() as pair:
            pair.start_soon(pump, client, beyond)
            pair.start_soon(pump, beyond, client)

    async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while part := await source.receive_some():
                await sink.send_all(part)

    async def lay(task_status: trio.TaskStatus[tuple[int, trio.CancelScope]]) -> None:
        async with trio.open_nursery() as line:
            (listener,) = await line.start(functools.partial(trio.serve_tcp, carry, 0, host="127.0.0.1"))
            task_status.started((listener.socket.getsockname()[1], line.cancel_scope))

    async with trio.open_nursery() as nursery:
        port, scope = await nursery.start(lay)
        yield attrs.evolve(server, port=port), scope.cancel
        nursery.cancel_scope.cancel()


def processes_of(server: Server) -> set[str]:
    """Return the command lines of processes that were given this client's configuration."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = os.fsdecode(path.read_bytes()).split("\0")
            if str(server.folder / "config") in words:
                found.add(" ".join(words))
    return found


def listed(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def wait_gone(server: Server) -> None:
    await wait_until(lambda: not processes_of(server))


async def wait_until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not holds():  # noqa: ASYNC110 -- processes and files of others tell nobody of themselves
            await trio.sleep(0.02)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where connections have their sockets: pytest's own folders are too long for them."""
    with tempfile.TemporaryDirectory(prefix="runtime-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


async def test_command_gets_words_and_input_and_its_failure_is_told(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        async with connected(server, state) as remote:
            words = ["it's", "$(id)", "a\nb", '"', "-e", ""]
            assert await remote.run("printf", "%s|", *words) == ("|".join(words) + "|").encode()
            assert await remote.run("cat", stdin=b"\0\xff" * 100_000) == b"\0\xff" * 100_000
            with pytest.raises(RemoteCommandError, match=r"^sh failed there with 3: one; �\[31mtwo$") as caught:
                await remote.run("sh", "-c", "echo one >&2; printf '\\033[31mtwo' >&2; exit 3")
            assert caught.value.returncode == 3
            # What ssh itself would end with, a command may as well.
            with pytest.raises(RemoteCommandError) as odd:
                await remote.run("sh", "-c", "exit 255")
            assert odd.value.returncode == 255
            with pytest.raises(CommandTimeoutError, match=r"^sleep 600 did not end within 0 s"):
                await remote.run("sleep", "600", timeout=0.2)
            assert await remote.run("echo", "ahoy") == b"ahoy\n", "one command's end is nobody else's"


async def test_file_arrives_whole_or_not_at_all(
    tmp_path: Path, state: SshKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = tmp_path / "source", tmp_path / "there; $(id) it's"
    source.write_bytes(os.urandom(SIZE))
    folder.mkdir()
    target = folder / "a.deb"
    target.write_text("an older one")
    told: list[tuple[int, int]] = []
    with running_sshd(tmp_path / "sshd") as server:
        async with connected(server, state) as remote:
            await remote.upload(source, str(target), lambda sent, size: told.append((sent, size)))
            assert target.read_bytes() == source.read_bytes()
            assert target.stat().st_mode & 0o777 == 0o600
            assert (told[0], told[-1]) == ((0, SIZE), (SIZE, SIZE))
            assert told == sorted(told)
            assert len(told) > 10

            with pytest.raises(RemoteCommandError, match=r"upload source failed .*nonexistent|No such"):
                await remote.upload(source, str(folder / "nowhere" / "a.deb"), lambda *_: None)
            # As if a bit had been turned over on the way.
            monkeypatch.setattr("pharos.helm.onboard.ssh.machine._measure", lambda _: (SIZE, "0" * 64))
            with pytest.raises(RemoteAnswerError, match="arrived damaged"):
                await remote.upload(source, str(folder / "b.deb"), lambda *_: None)
    assert [path.name for path in folder.iterdir()] == ["a.deb"]


@pytest.mark.system
async def test_upload_that_is_cut_leaves_nothing_there(tmp_path: Path, state: SshKeys) -> None:
    source, folder = tmp_path / "source", tmp_path / "there"
    source.write_bytes(os.urandom(40 * SIZE))
    folder.mkdir()
    with running_sshd(tmp_path / "sshd") as server:
        async with cuttable(server) as (line, cut), connected(line, state) as remote:

            def told(sent: int, size: int) -> None:
                if sent > size / 4:
                    cut()

            with pytest.raises(ConnectionLostError, match="broke"):
                await remote.upload(source, str(folder / "a.deb"), told)
            with pytest.raises(ConnectionLostError):
                await remote.run("echo", "ahoy")
        await wait_until(lambda: not list(folder.iterdir()))


async def test_connection_that_is_cut_ends_the_command_that_waits(tmp_path: Path, state: SshKeys) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        async with cuttable(server) as (line, cut), connected(line, state) as remote:
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    with pytest.raises(ConnectionLostError, match=r"the connection to .* broke"):
                        await remote.run("sh", "-c", 'echo > "$1"; exec sleep 600', "sh", str(tmp_path / "begun"))

                nursery.start_soon(wait)
                await wait_until((tmp_path / "begun").exists)
                cut()


@pytest.mark.system
async def test_nothing_of_ours_is_left_whichever_way_the_block_ends(
    tmp_path: Path, state: SshKeys, runtime: Path
) -> None:
    with running_sshd(tmp_path / "jump") as jump, running_sshd(tmp_path / "sshd") as server:
        server.client(
            f'Match host 127.0.0.1 exec "test %p = {server.port}"\n  ProxyJump 127.0.0.1:{jump.port}\nMatch all',
            f"IdentityFile {server.key}\nIdentityFile {jump.key}\nUserKnownHostsFile {tmp_path}/mine",
            "StrictHostKeyChecking accept-new",
        )
        with trio.move_on_after(60) as scope:
            async with connected(server, state):
                assert len(listed(runtime)) == 1
                assert len(processes_of(server)) == 3, "to the machine, to the jump host, and what ends them with us"
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        await wait_gone(server)
        with pytest.raises(ZeroDivisionError):
            async with connected(server, state):
                raise ZeroDivisionError
        await wait_gone(server)
    assert listed(runtime) == []


DIES = """
import os, signal, sys, trio
from pathlib import Path
from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh import NobodyToAsk, SshKeys, open_remote

async def main(state, port, *program):
    destination = Destination(host="127.0.0.1", port=int(port))
    async with open_remote(destination, keys=SshKeys(Path(state)), prompts=NobodyToAsk(), program=program):
        os.kill(os.getpid(), signal.SIGKILL)

trio.run(main, *sys.argv[1:])
"""


@pytest.mark.system
async def test_killed_helm_leaves_no_connection_behind(tmp_path: Path, state: SshKeys, runtime: Path) -> None:
    with running_sshd(tmp_path / "sshd") as server:
        async with connected(server, state):
            pass
        words = [sys.executable, "-c", DIES, str(state.folder), str(server.port), *server.program]
        done = await trio.run_process(words, check=False)
        assert done.returncode == -signal.SIGKILL
        await wait_gone(server)
        await wait_until(lambda: not listed(runtime))


async def test_machine_that_takes_the_connection_and_says_nothing_is_given_up(
    tmp_path: Path, state: SshKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pharos.helm.onboard.ssh.master.PATIENCE", 0.3)
    with running_sshd(tmp_path / "sshd") as server:
        async with trio.open_nursery() as nursery:
            (mute,) = await nursery.start(functools.partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1"))
            silent = attrs.evolve(server, port=mute.socket.getsockname()[1])
            with pytest.raises(ConnectionLostError, match="did not let anybody in"):
                async with connected(silent, state):
                    raise AssertionError("it got in")
            await wait_gone(server)
            nursery.cancel_scope.cancel()


async def say_nothing(_: trio.SocketStream) -> None:
    await trio.sleep_forever()

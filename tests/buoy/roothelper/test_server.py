"""Who may ask is answered, act by act; nobody else is, and no peer can hold the helper up."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.roothelper import server
from pharos.buoy.roothelper.acts import Act, Answer, AwgDump, Done, DumpAwg, Interface, RemoveLink
from pharos.buoy.roothelper.client import SocketRootHelper
from pharos.buoy.roothelper.errors import ActFailedError, ActRefusedError
from pharos.buoy.roothelper.server import FRAME_TIMEOUT, MAX_CONNECTIONS, activated_socket, serve_acts
from pharos.buoy.roothelper.wire import FrameReader, Outcome, Reply, decode_reply, encode_act
from pharos.wire.localsocket import listen_local
from pharos.wire.pki.canonical import encode_canonical

ACT = DumpAwg(Interface.AWG0)
DUMP = AwgDump(port=443)


@attrs.define
class Hands:
    """What would act, and does not."""

    done: list[Act] = attrs.field(factory=list)
    error: Exception | None = None
    wait: trio.Event | None = None

    async def perform(self, act: Act) -> Answer:
        self.done.append(act)
        if self.wait is not None:
            await self.wait.wait()
        if self.error is not None:
            raise self.error
        return DUMP if isinstance(act, DumpAwg) else Done()


@attrs.frozen
class Served:
    path: Path
    hands: Hands
    ended: trio.Event

    @property
    def client(self) -> SocketRootHelper:
        return SocketRootHelper(self.path)


@asynccontextmanager
async def served(
    folder: Path, *, uids: Collection[int] | None = None, idle: float = math.inf, hands: Hands | None = None
) -> AsyncIterator[Served]:
    running = Served(folder / "helper.sock", hands or Hands(), trio.Event())

    async def serve(*, task_status: trio.TaskStatus[None]) -> None:
        with listen_local(running.path, directory_mode=0o700) as listener:
            await serve_acts(
                running.hands.perform,
                listener,
                uids={os.getuid()} if uids is None else uids,
                idle=idle,
                task_status=task_status,
            )
        running.ended.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        with trio.fail_after(30):
            yield running
        nursery.cancel_scope.cancel()


async def test_act_is_done_and_answered(tmp_path: Path) -> None:
    async with served(tmp_path) as target:
        assert await target.client.perform(ACT) == DUMP
        assert await target.client.perform(RemoveLink(Interface.AWG9)) == Done()
        assert target.hands.done == [ACT, RemoveLink(Interface.AWG9)]


async def test_several_acts_of_one_connection_have_an_answer_each(tmp_path: Path) -> None:
    async with served(tmp_path) as target, await trio.open_unix_socket(str(target.path)) as stream:
        await stream.send_all(encode_act(ACT) * 3)
        reader = FrameReader()
        replies: list[Reply] = []
        while len(replies) < 3:
            replies += [decode_reply(body, ACT) for body in reader.receive_data(await stream.receive_some())]
        assert [reply.answer for reply in replies] == [DUMP] * 3


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ActRefusedError("not that one"), "refused it: not that one"),
        (ActFailedError("no such\ndevice"), "could not do it: no such device"),
    ],
)
async def test_act_that_was_not_done_is_an_error_with_the_reason(tmp_path: Path, error: Exception, says: str) -> None:
    async with served(tmp_path, hands=Hands(error=error)) as target:
        with pytest.raises(EngineError, match=f"DumpAwg: the root helper {says}"):
            await target.client.perform(ACT)


def everybody(_uid: int, _uids: frozenset[int]) -> bool:
    """Weakened: whoever can open the socket may ask."""
    return True


async def test_other_users_are_refused_before_a_byte_of_theirs_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    somebody_else = {os.getuid() + 1}
    with monkeypatch.context() as weakened:
        weakened.setattr(server, "is_allowed", everybody)
        async with served(tmp_path, uids=somebody_else) as target:
            assert await target.client.perform(ACT) == DUMP
    async with served(tmp_path, uids=somebody_else) as target:
        with pytest.raises(EngineError):
            await target.client.perform(ACT)
        assert target.hands.done == []
    assert f"uid {os.getuid()} may not ask for anything" in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "Shell", "command": "id"},
        {"kind": "UnitAct", "unit": "ssh.service", "verb": "stop"},
        {"kind": "UnitAct", "unit": "pharos-reality.service", "verb": "mask"},
        {"kind": "UnitAct", "unit": "pharos-awg@awg0.service", "verb": "restart", "force": True},
        {"kind": "RemoveLink", "interface": "eth0"},
        {"kind": "RemoveLink", "interface": "awg0; reboot"},
        {},
    ],
)
async def test_hostile_act_is_refused_and_the_next_one_is_done(tmp_path: Path, body: dict[str, object]) -> None:
    data = encode_canonical(body)
    async with served(tmp_path) as target, await trio.open_unix_socket(str(target.path)) as stream:
        await stream.send_all(len(data).to_bytes(4, "big") + data + encode_act(ACT))
        reader = FrameReader()
        replies: list[Reply] = []
        while len(replies) < 2:
            replies += [decode_reply(body, ACT) for body in reader.receive_data(await stream.receive_some())]
        assert [reply.outcome for reply in replies] == [Outcome.REFUSED, Outcome.OK]
        assert target.hands.done == [ACT]


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"GET / HTTP/1.1\r\n\r\n"])
async def test_frame_that_is_none_ends_its_own_connection(tmp_path: Path, data: bytes) -> None:
    async with served(tmp_path) as target:
        async with await trio.open_unix_socket(str(target.path)) as stream:
            await stream.send_all(data)
            assert await receive_end(stream)
        assert await target.client.perform(ACT) == DUMP


async def receive_end(stream: trio.SocketStream) -> bool:
    try:
        return await stream.receive_some() == b""
    except trio.BrokenResourceError:
        # It was closed with bytes of ours unread.
        return True


async def test_silent_connection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert FRAME_TIMEOUT == 10
    monkeypatch.setattr(server, "FRAME_TIMEOUT", 0.05)
    async with served(tmp_path) as target, await trio.open_unix_socket(str(target.path)) as stream:
        await stream.send_all(encode_act(ACT)[:-1])
        assert await receive_end(stream)
    assert "it fell silent" in caplog.text


async def test_more_connections_than_an_agent_needs_are_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hands = Hands(wait=trio.Event())
    async with served(tmp_path, hands=hands) as target:
        streams = [await trio.open_unix_socket(str(target.path)) for _ in range(MAX_CONNECTIONS)]
        for stream in streams:
            await stream.send_all(encode_act(ACT))
        with pytest.raises(EngineError):
            await target.client.perform(ACT)
        assert hands.wait is not None
        hands.wait.set()
        for stream in streams:
            async with stream:
                assert await stream.receive_some()
        assert len(hands.done) == MAX_CONNECTIONS
    assert f"more than {MAX_CONNECTIONS} ask at once" in caplog.text


async def test_helper_ends_when_nobody_asked_for_a_while(tmp_path: Path) -> None:
    hands = Hands(wait=trio.Event())
    assert hands.wait is not None
    async with served(tmp_path, hands=hands, idle=0.2) as target, trio.open_nursery() as nursery:
        # As long as something is being done it stays, however long that takes.
        nursery.start_soon(target.client.perform, ACT)
        with trio.move_on_after(1):
            await target.ended.wait()
        assert not target.ended.is_set()
        hands.wait.set()
        await target.ended.wait()
    assert hands.done == [ACT]


async def test_absent_helper_is_an_error_of_the_engine(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="the root helper is not there"):
        await SocketRootHelper(tmp_path / "nobody.sock").perform(ACT)


async def test_helper_that_never_answers_is_an_error_of_the_engine(tmp_path: Path) -> None:
    async with served(tmp_path, hands=Hands(wait=trio.Event())) as target:
        with pytest.raises(EngineError, match="did not answer in 0 s"):
            await SocketRootHelper(target.path, timeout=0.1).perform(ACT)


async def test_act_that_is_too_large_is_an_error_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as target:
        monkeypatch.setattr("pharos.buoy.roothelper.wire.MAX_FRAME", 20)
        with pytest.raises(EngineError, match="more than the root helper takes at once"):
            await target.client.perform(ACT)


def test_socket_is_systemds_only_if_it_is_meant_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    assert activated_socket() is None
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert activated_socket() is None
    # Our children are not to take it for theirs.
    assert "LISTEN_FDS" not in os.environ


@pytest.mark.parametrize(
    ("family", "count", "fits"), [("AF_UNIX", 1, True), ("AF_INET", 1, False), ("AF_UNIX", 2, False)]
)
def test_socket_of_systemd_is_a_unix_stream(family: str, count: int, fits: bool) -> None:
    kind: Any = getattr(socket, family)
    with socket.socket(kind, socket.SOCK_STREAM) as sock:
        code = (
            "import os, sys\n"
            "os.dup2(int(sys.argv[1]), 3)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[2])\n"
            "from pharos.buoy.roothelper.server import activated_socket\n"
            "try: print(activated_socket().family.name)\n"
            "except ValueError: print('refused')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(sock.fileno()), str(count)],
            pass_fds=[sock.fileno()],
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.strip() == ("AF_UNIX" if fits else "refused")

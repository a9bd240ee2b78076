"""A running connection is looked at and steered over its socket."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.caravel.errors import AlreadyRunningError, CaravelError, NoSuchNodeError, NotRunningError
from pharos.caravel.running import MAX_LINE, SOCKET_NAME, Running, ask_running, open_control, watch_running


class Connection:
    """A connection that does as it is told."""

    def __init__(self) -> None:
        self.node = "amsterdam"
        self._send, self._receive = trio.open_memory_channel[dict[str, Any]](8)

    def status(self) -> dict[str, Any]:
        return {"phase": "up", "name": self.node}

    async def watch(self) -> AsyncGenerator[dict[str, Any], None]:
        async for event in self._receive:
            yield event

    async def switch(self, question: dict[str, Any]) -> dict[str, Any]:
        if question["node"] == "atlantis":
            raise NoSuchNodeError("the profile has no node 'atlantis'")
        self.node = question["node"]
        await self._send.send({"kind": "connected", "name": self.node})
        return {"node": self.node}

    def running(self) -> Running:
        return Running(status=self.status, watch=self.watch, acts={"switch": self.switch})


async def test_status_is_told_and_acts_are_done(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    async with open_control(path, Connection().running()):
        assert await ask_running(path, "status") == {"phase": "up", "name": "amsterdam"}
        assert await ask_running(path, "switch", node="oslo") == {"node": "oslo"}
        assert (await ask_running(path, "status"))["name"] == "oslo"


async def test_refusal_is_its_own_sentence_and_the_connection_goes_on(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    async with open_control(path, Connection().running()):
        with pytest.raises(CaravelError, match="no node 'atlantis'"):
            await ask_running(path, "switch", node="atlantis")
        with pytest.raises(CaravelError, match="does not know how to 'fly'"):
            await ask_running(path, "fly")
        assert (await ask_running(path, "status"))["phase"] == "up"


async def test_watchers_see_events_with_the_status_after_them(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    async with open_control(path, Connection().running()), watch_running(path) as lines:
        assert (await anext(lines))["status"]["name"] == "amsterdam"
        await ask_running(path, "switch", node="oslo")
        with trio.fail_after(5):
            told = [await anext(lines)]
            while told[-1].get("status", {}).get("name") != "oslo":
                told.append(await anext(lines))
        assert {"event": {"kind": "connected", "name": "oslo"}} in told


async def test_nobody_answers_where_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="caravel up"):
        await ask_running(tmp_path / SOCKET_NAME, "status")


async def test_second_one_is_refused_and_what_a_killed_one_left_gives_way(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    async with open_control(path, Connection().running()):
        with pytest.raises(AlreadyRunningError, match="has this connection up"):
            async with open_control(path, Connection().running()):
                pass
        assert (await ask_running(path, "status"))["phase"] == "up"
    left = trio.socket.socket(trio.socket.AF_UNIX)
    await left.bind(str(path))
    left.close()
    async with open_control(path, Connection().running()):
        assert (await ask_running(path, "status"))["phase"] == "up"


async def test_only_its_owner_reaches_it(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    async with open_control(path, Connection().running()):
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("question", [b"hello\n", b"[]\n", b'{"do": 3}\n', b"x" * (MAX_LINE + 1), b"\xff\xfe\n", b""])
async def test_nonsense_ends_its_own_connection_alone(tmp_path: Path, question: bytes) -> None:
    path = tmp_path / SOCKET_NAME
    async with open_control(path, Connection().running()):
        async with await trio.open_unix_socket(path) as stream:
            try:
                await stream.send_all(question)
                await stream.send_eof()
                answer = b""
                while piece := await stream.receive_some():
                    answer += piece
            except trio.BrokenResourceError:
                answer = b""
        assert not answer or "error" in json.loads(answer)
        assert (await ask_running(path, "status"))["phase"] == "up"

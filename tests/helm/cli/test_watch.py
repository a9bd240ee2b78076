"""helm watch shows what every open page sees, on any number of terminals, and goes on after helm was away."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.helm.cli import main
from pharos.helm.cli.watch import Follower, sentence
from pharos.helm.config import SOCKET_NAME
from pharos.helm.live import replay
from pharos.helm.live.follow import run_feed
from pharos.helm.model.users import User
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.outbox import last_sequence
from pharos.helm.store.records import add_record
from pharos.helm.store.users import USERS
from pharos.helm.web import live
from pharos.helm.web.app import make_operator_app, serve_operator
from pharos.wire.console import CommandError, Exit
from tests.support.commands import invoke, running_program
from tests.support.helm import SampleHelm, open_helm

ACT = Act(actor="ada", at=1_800_000_000_000_000)


@attrs.define
class Terminal:
    """What one ``helm watch`` has printed."""

    lines: list[dict[str, Any]] = attrs.field(factory=list, init=False)
    _more: trio.Event = attrs.field(factory=trio.Event, init=False)

    def say(self, line: str) -> None:
        self.lines.append(json.loads(line))
        self._more.set()
        self._more = trio.Event()

    async def wait(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first line that is as wanted."""
        seen = 0
        with trio.fail_after(15):
            while True:
                for line in self.lines[seen:]:
                    if holds(line):
                        return line
                seen = len(self.lines)
                await self._more.wait()

    async def wait_delta(self, name: str) -> dict[str, Any]:
        line = await self.wait(lambda line: "delta" in line and line["delta"]["record"]["name"] == name)
        delta: dict[str, Any] = line["delta"]
        return delta

    def sequences(self) -> list[int]:
        return [line["delta"]["seq"] for line in self.lines if "delta" in line]

    def follower(self, state: Path, since: int | None = None) -> Follower:
        return Follower(state / SOCKET_NAME, sequence=since, as_json=True, say=self.say)


def add_user(db: Database, name: str) -> None:
    add_record(db, USERS, User(id=fresh_id(), name=name), ACT)


@asynccontextmanager
async def answering(helm: SampleHelm) -> AsyncIterator[None]:
    """helm's Unix socket while the block lasts."""
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_operator, make_operator_app(helm.context), helm.state)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[SampleHelm]:
    async with open_helm(folder) as helm, trio.open_nursery() as nursery:
        await nursery.start(run_feed, helm.store, helm.context.hub)
        yield helm
        nursery.cancel_scope.cancel()


async def test_two_terminals_agree_while_a_third_edits(tmp_path: Path) -> None:
    left, right = Terminal(), Terminal()
    async with running(tmp_path) as helm, answering(helm), trio.open_nursery() as nursery:
        for terminal in (left, right):
            nursery.start_soon(terminal.follower(tmp_path).run)
            await terminal.wait(lambda line: "following" in line)
        for number in range(20):
            await helm.store.run(add_user, f"user {number}")
        helm.context.hub.publish("handshake", at=1, node="n", device="d")
        for terminal in (left, right):
            await terminal.wait_delta("user 19")
            await terminal.wait(lambda line: "event" in line and line["event"]["kind"] == "handshake")
        nursery.cancel_scope.cancel()
    assert left.sequences() == right.sequences()
    assert len(left.sequences()) == 20


async def test_watch_goes_on_where_it_was_when_helm_comes_back(tmp_path: Path) -> None:
    terminal = Terminal()
    async with running(tmp_path) as helm, trio.open_nursery() as nursery:
        async with answering(helm):
            nursery.start_soon(terminal.follower(tmp_path).run)
            await terminal.wait(lambda line: "following" in line)
            await helm.store.run(add_user, "before")
            await terminal.wait_delta("before")
        await terminal.wait(lambda line: "lost" in line)
        await helm.store.run(add_user, "meanwhile")
        async with answering(helm):
            await terminal.wait_delta("meanwhile")
            await helm.store.run(add_user, "after")
            await terminal.wait_delta("after")
        nursery.cancel_scope.cancel()
    first = terminal.sequences()[0]
    assert terminal.sequences() == [first, first + 1, first + 2]
    assert not [line for line in terminal.lines if "gap" in line]


async def test_gap_is_said_and_following_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_REPLAY", 2)
    terminal = Terminal()
    async with running(tmp_path) as helm, answering(helm), trio.open_nursery() as nursery:
        since = await helm.store.run(last_sequence)
        for number in range(5):
            await helm.store.run(add_user, f"user {number}")
        nursery.start_soon(terminal.follower(tmp_path, since).run)
        gap = await terminal.wait(lambda line: "gap" in line)
        await terminal.wait(lambda line: "following" in line)
        await helm.store.run(add_user, "after")
        await terminal.wait_delta("after")
        nursery.cancel_scope.cancel()
    assert gap == {"gap": {"from": since + 1, "to": since + 5}}
    assert terminal.sequences() == [since + 6]


async def test_since_begins_behind_that_change(tmp_path: Path) -> None:
    terminal = Terminal()
    async with running(tmp_path) as helm, answering(helm), trio.open_nursery() as nursery:
        for number in range(3):
            await helm.store.run(add_user, f"user {number}")
        last = await helm.store.run(last_sequence)
        nursery.start_soon(terminal.follower(tmp_path, last - 2).run)
        await terminal.wait_delta("user 2")
        nursery.cancel_scope.cancel()
    assert terminal.sequences() == [last - 1, last]


async def test_helm_that_never_answered_is_unreachable(tmp_path: Path) -> None:
    terminal = Terminal()
    with pytest.raises(CommandError, match="helm does not run here") as caught:
        await terminal.follower(tmp_path).run()
    assert caught.value.exit_code == Exit.UNREACHABLE


def test_command_says_that_helm_does_not_run(tmp_path: Path) -> None:
    result = invoke(main, "watch", "--state", tmp_path)
    assert result.exit_code == Exit.UNREACHABLE
    assert "start it with: helm run" in result.stderr


async def test_refusal_ends_it_and_a_full_house_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    follower = terminal.follower(tmp_path)
    follower.sequence = -1
    async with running(tmp_path) as helm, answering(helm):
        with pytest.raises(CommandError, match="refused: since is a number") as caught:
            await follower.run()
        assert caught.value.exit_code == Exit.REFUSED
        monkeypatch.setattr(live, "MAX_OPEN", 0)
        follower = terminal.follower(tmp_path)
        follower.connected = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.run)
            await terminal.wait(lambda line: "0 live feeds are open" in line.get("lost", {}).get("why", ""))
            monkeypatch.setattr(live, "MAX_OPEN", math.inf)
            await terminal.wait(lambda line: "following" in line)
            nursery.cancel_scope.cancel()


async def test_command_prints_line_by_line_and_ends_well_with_ctrl_c(tmp_path: Path) -> None:
    async with running(tmp_path) as helm, answering(helm):
        with running_program("helm", "watch", "--state", tmp_path) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            with trio.fail_after(30):
                first = await trio.to_thread.run_sync(process.stdout.readline)
                await helm.store.run(add_user, "eve")
                second = await trio.to_thread.run_sync(process.stdout.readline)
                process.send_signal(signal.SIGINT)
                assert await trio.to_thread.run_sync(process.wait) == 0
            assert process.stderr.read() == ""
    assert first.startswith("-- following from change ")
    assert second.split()[1:] == ["ada", "user", "added", "eve"]


def test_sentences_are_for_people_and_move_no_cursor() -> None:
    at = "2027-01-15T08:00:00Z"
    delta = {"at": at, "actor": "ada", "kind": "user_changed", "id": "u", "detail": "note", "record": {"name": "Zoë"}}
    assert sentence({"delta": delta})[8:] == "  ada           user changed            Zoë  note"
    gone = delta | {"record": None, "detail": "", "actor": "\x1b[2J"}
    assert sentence({"delta": gone})[8:] == "  \N{REPLACEMENT CHARACTER}[2J          user changed            u"
    event = {"at": at, "kind": "link_up", "text": "amsterdam", "device": None, "node": "n"}
    assert sentence({"event": event})[8:] == "  helm          link up                 amsterdam"
    shaken = event | {"kind": "handshake", "text": "198.51.100.7:4000", "device": "d", "name": "phone"}
    assert sentence({"event": shaken})[8:] == "  helm          handshake               phone  198.51.100.7:4000"
    assert sentence({"event": shaken | {"name": None, "text": ""}})[8:] == "  helm          handshake               d"
    assert "changes 3 to 9 are not shown" in sentence({"gap": {"from": 3, "to": 9}})
    assert sentence({"lost": {"why": "\r\n"}}).startswith("-- helm is away")

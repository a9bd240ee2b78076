from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.roothelper.acts import (
    MAX_SOCKETS,
    Act,
    Answer,
    Done,
    Killed,
    KillSockets,
    SocketAddress,
    SocketPair,
    Unit,
    UnitAct,
    UnitVerb,
)
from pharos.buoy.xray.places import Ports, listen_address
from pharos.buoy.xray.runner import ChildRunner, UnitRunner, dry_run, kill_through
from tests.buoy.xray.double import make_program
from tests.buoy.xray.rig import OLD_KEY, endpoint


class Helper:
    def __init__(self) -> None:
        self.acts: list[Act] = []

    async def perform(self, act: Act) -> Answer:
        await trio.lowlevel.checkpoint()
        self.acts.append(act)
        return Killed(len(act.sockets)) if isinstance(act, KillSockets) else Done()


async def test_the_unit_is_told_by_way_of_root() -> None:
    helper = Helper()
    runner = UnitRunner(helper)
    await runner.restart()
    await runner.stop()
    assert helper.acts == [UnitAct(Unit.XRAY, UnitVerb.RESTART), UnitAct(Unit.XRAY, UnitVerb.STOP)]


async def test_connections_are_ended_in_so_many_acts_as_it_takes() -> None:
    helper = Helper()
    own = SocketAddress(ip_address("192.0.2.1"), 443)
    pairs = tuple(SocketPair(own, SocketAddress(ip_address("203.0.113.7"), port)) for port in range(1, 600))
    await kill_through(helper)(pairs)
    assert [len(act.sockets) for act in helper.acts if isinstance(act, KillSockets)] == [MAX_SOCKETS, MAX_SOCKETS, 87]
    assert tuple(pair for act in helper.acts if isinstance(act, KillSockets) for pair in act.sockets) == pairs


class Child:
    """A program that tells of each of its starts."""

    def __init__(self, folder: Path) -> None:
        self.starts, self.config, program = folder / "starts", folder / "config.json", folder / "program"
        os.mkfifo(self.starts)
        program.write_text(f"#!/bin/sh\necho $* > {self.starts}\nexec sleep 100\n")
        program.chmod(0o755)
        self.runner = ChildRunner(program, self.config)

    async def wait_started(self) -> trio.Process:
        async with await trio.open_file(self.starts) as starts:
            assert await starts.read() == f"run -c {self.config}\n"
        async with self.runner._turn:
            assert self.runner._process is not None
        return self.runner._process


@contextlib.asynccontextmanager
async def running(runner: ChildRunner) -> AsyncIterator[None]:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            yield
            nursery.cancel_scope.cancel()


async def test_a_child_runs_when_it_is_told_and_until(tmp_path: Path) -> None:
    child = Child(tmp_path)
    async with running(child.runner):
        await trio.testing.wait_all_tasks_blocked()
        await child.runner.stop()
        await child.runner.restart()
        first = await child.wait_started()
        await child.runner.restart()
        assert first.returncode is not None
        second = await child.wait_started()
        assert second is not first
        await child.runner.stop()
        assert second.returncode is not None
        assert child.runner._process is None


async def test_a_child_that_falls_is_started_again_over_what_it_left(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("pharos.buoy.xray.runner.RESPAWN", 0)
    child = Child(tmp_path)
    async with running(child.runner):
        await child.runner.restart()
        first = await child.wait_started()
        (tmp_path / "api.sock").touch()
        first.kill()
        assert await child.wait_started() is not first
        assert not (tmp_path / "api.sock").exists()


async def test_a_child_that_cannot_be_run_ends_nothing_else(tmp_path: Path, monkeypatch) -> None:
    warned = trio.Event()
    monkeypatch.setattr("pharos.buoy.xray.runner.log.warning", lambda *_: warned.set())
    runner = ChildRunner(tmp_path / "nothing", tmp_path / "config.json")
    async with running(runner):
        await runner.restart()
        await warned.wait()


async def test_a_configuration_that_would_not_do_is_told_without_its_contents(tmp_path: Path) -> None:
    await dry_run(make_program(tmp_path), tmp_path / "config.json")
    with pytest.raises(EngineError, match=r"exit 23.*xray run -test -c"):
        await dry_run(make_program(tmp_path, refuses=True), tmp_path / "config.json")
    with pytest.raises(EngineError, match="cannot be run"):
        await dry_run(tmp_path / "nothing", tmp_path / "config.json")


def test_one_address_is_for_both_families_where_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, wanted in ((True, "::"), (False, "0.0.0.0")):
        monkeypatch.setattr("pharos.buoy.xray.places._has_ipv6", lambda has=has: has)
        assert listen_address(("0.0.0.0", "::")) == wanted
        assert listen_address(("192.0.2.1",)) == "192.0.2.1"
    assert listen_address(("::",)) == "::"


def test_a_port_that_was_chosen_is_chosen_once() -> None:
    ports = Ports()
    one, other = ports.settle((endpoint(0), endpoint(8443, key=OLD_KEY)))
    assert one.port > 0
    assert other.port == 8443
    assert ports.settle((endpoint(0),)) == (one,)
    assert ports.settle((endpoint(443),)) == (endpoint(443),)

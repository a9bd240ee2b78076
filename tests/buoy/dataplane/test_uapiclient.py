"""The manager's end of the UAPI: what an engine says, and that whatever goes wrong there is an EngineError."""

from __future__ import annotations

import functools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.buoy.dataplane import uapiclient
from pharos.buoy.dataplane.awgchange import change_for
from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.dataplane.uapiclient import UapiClient
from pharos.wire.awg.events import HandshakeCompleted, SessionEnded
from pharos.wire.awg.params import Generation
from pharos.wire.awg.uapi import DeviceChange, FaceChange, PeerChange
from pharos.wire.localsocket import listen_local
from tests.buoy.dataplane.engines import free_ports, running_device, served_engine
from tests.buoy.dataplane.plans import NODE_KEY, device, plain_plan


@asynccontextmanager
async def answering(path: Path, *replies: bytes) -> AsyncIterator[None]:
    """Answer each question with the next of these, and hang up."""
    left = list(replies)

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        await stream.send_all(left.pop(0))
        await stream.aclose()

    with listen_local(path, directory_mode=0o755) as listener:
        async with trio.open_nursery() as nursery:
            await nursery.start(functools.partial(trio.serve_listeners, handle, [listener]))
            yield
            nursery.cancel_scope.cancel()


async def test_an_engine_is_changed_and_says_what_it_is(tmp_path: Path) -> None:
    async with served_engine(tmp_path) as engine:
        client = UapiClient(tmp_path / "awg0.sock")
        change = DeviceChange(private_key=NODE_KEY, peers=(PeerChange(public_key=device(0).public_key, send_rate=7),))
        await client.change(change, ours=True)
        assert await client.read_state() == engine.state()
        assert engine.state().peers[0].send_rate == 7


@pytest.mark.parametrize("foreign", [False, True])
async def test_a_question_that_changes_nothing_tells_our_engine_from_others(tmp_path: Path, foreign: bool) -> None:
    async with served_engine(tmp_path, foreign=foreign) as engine:
        before = engine.state()
        assert await UapiClient(tmp_path / "awg0.sock").probe_ours() is not foreign
        assert engine.state() == before


async def test_events_come_as_they_happen(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    plan = plain_plan(port, device(0))
    client = UapiClient(tmp_path / "awg0.sock")
    async with served_engine(tmp_path) as engine, running_device() as dialling, client.open_watch() as told:
        await client.change(change_for(plan, await client.read_state()), ours=True)
        dialling.dial(port)
        assert await dialling.echoes() == 3
        with trio.fail_after(5):
            async for event in told:
                if isinstance(event, HandshakeCompleted):
                    break
        assert isinstance(event, HandshakeCompleted)
        assert event.at_ns == engine.state().peers[0].last_handshake_ns


async def test_a_watch_ends_when_the_engine_does(tmp_path: Path) -> None:
    client = UapiClient(tmp_path / "awg0.sock")
    async with answering(tmp_path / "awg0.sock", b""), client.open_watch() as told:
        with trio.fail_after(5):
            assert [event async for event in told] == []


async def test_kinds_of_events_that_a_newer_engine_has_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "awg0.sock"
    text = b"event=moonrise\npublic_key=zz\n\nevent=session_ended\npublic_key=" + b"07" * 32 + b"\n\n"
    async with answering(path, text), UapiClient(path).open_watch() as told:
        assert [event async for event in told] == [SessionEnded(peer=b"\x07" * 32)]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"", "closed the connection"),
        (b"errno=-22\n\n", r"EINVAL"),
        (b"errno=0\nerrno=\n\n", "no errno"),
        (b"public_key=zz\nerrno=0\n\n", "does not fit"),
        (b"\xff\xfe\n\n", "no errno"),
        (b"errno=4095\n\n", "4095"),
    ],
)
async def test_a_reply_that_is_none_is_an_engine_error(tmp_path: Path, reply: bytes, says: str) -> None:
    path = tmp_path / "awg0.sock"
    async with answering(path, reply, reply):
        with pytest.raises(EngineError, match=says):
            await UapiClient(path).read_state()
        if b"public_key" not in reply:
            with pytest.raises(EngineError, match=says):
                await UapiClient(path).change(DeviceChange(listen_port=1), ours=False)


async def test_a_reply_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uapiclient, "MAX_REPLY_BYTES", 100)
    path = tmp_path / "awg0.sock"
    async with answering(path, b"x" * 200):
        with pytest.raises(EngineError, match="too long"):
            await UapiClient(path).read_state()


@pytest.mark.parametrize("text", [b"x" * 5000, b"event=handshake\npublic_key=zz\n\n", b"event=session_ended\n\n"])
async def test_an_event_that_is_none_is_an_engine_error(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "awg0.sock"
    async with answering(path, text), UapiClient(path).open_watch() as told:
        with pytest.raises(EngineError, match="event"):
            async for _ in told:
                pass


async def test_nobody_there_and_somebody_dead_are_engine_errors(tmp_path: Path) -> None:
    path = tmp_path / "awg0.sock"
    with pytest.raises(EngineError, match=str(path)):
        await UapiClient(path).read_state()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(EngineError, match="refused"):
        await UapiClient(path).probe_ours()
    with pytest.raises(EngineError, match="refused"):
        async with UapiClient(path).open_watch():
            raise AssertionError("nobody is there")


async def test_an_engine_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uapiclient, "REPLY_TIMEOUT", 0.1)
    path = tmp_path / "awg0.sock"
    with listen_local(path, directory_mode=0o755), pytest.raises(EngineError, match="did not answer"):
        await UapiClient(path).read_state()


async def test_what_an_engine_does_not_know_is_not_sent(tmp_path: Path) -> None:
    async with served_engine(tmp_path) as engine:
        before = engine.state()
        client = UapiClient(tmp_path / "awg0.sock", generation=Generation.WIREGUARD)
        for change, ours in (
            (DeviceChange(parameters={"jc": 4}), True),
            (DeviceChange(faces=(FaceChange(number=1),)), False),
        ):
            with pytest.raises(EngineError):
                await client.change(change, ours=ours)
        assert engine.state() == before

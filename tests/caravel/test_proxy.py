"""`caravel proxy`, its own process: programs on this machine reach the world through a node."""

from __future__ import annotations

import functools
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from pharos.caravel.cli import main
from pharos.demo.processes import free_port
from pharos.wire.console import Exit
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.sharelink import ShareLink
from tests.support.reality import NAME, SHORT_ID, node_public_key
from tests.wire.reality.fronts import HOST, receive_all, receive_exactly, running_target
from tests.wire.reality.nodes import IDS, VISION, running_node, running_site, site_context

PATIENCE = 60


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    return site_context(tmp_path)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def link_to(port: int, user_id: bytes = IDS[VISION]) -> str:
    return ShareLink(
        user_id=user_id,
        address=Address(HOST, port),
        public_key=node_public_key(),
        server_name=NAME,
        short_id=SHORT_ID.hex(),
        name="cafe",
    ).render()


def command(state: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-c", "from pharos.caravel.cli import main; main()", *arguments, "--state", str(state)]


@asynccontextmanager
async def running_proxy(state: Path, *arguments: str) -> AsyncIterator[dict[str, Any]]:
    """Run the command; yields what it says once it listens, and sees to it that it ends well by SIGTERM."""
    with trio.fail_after(PATIENCE):
        process = await trio.lowlevel.open_process(
            command(state, "proxy", "--json", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            said = b""
            while not said.rstrip().endswith(b"}"):
                piece = await process.stdout.receive_some()
                if not piece:
                    pytest.fail(b"".join([bytes(part) async for part in process.stderr]).decode())
                said += piece
            yield json.loads(said)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == Exit.DONE
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                await process.stdout.aclose()
                await process.stderr.aclose()


async def failed(state: Path, *arguments: str) -> tuple[int, str]:
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            command(state, "proxy", *arguments), capture_stdout=True, capture_stderr=True, check=False
        )
    return done.returncode, done.stderr.decode()


async def connect(place: str) -> trio.SocketStream:
    host, _, port = place.rpartition(":")
    return await trio.open_tcp_stream(host, int(port))


async def socks_echoes(place: str, target: int) -> bool:
    async with await connect(place) as client:
        await client.send_all(b"\5\1\0")
        assert await receive_exactly(client, 2) == b"\5\0"
        await client.send_all(b"\5\1\0\1\x7f\0\0\1" + target.to_bytes(2, "big"))
        assert (await receive_exactly(client, 10))[:2] == b"\5\0"
        await client.send_all(b"data")
        await client.send_eof()
        return await receive_all(client) == b"data"


async def http_answers(place: str, target: int, *, head: bytes = b"") -> bytes:
    async with await connect(place) as client:
        await client.send_all(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: h\r\n%s\r\n" % (target, head))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await client.receive_some()
        if not answer.startswith(b"HTTP/1.1 200"):
            return answer.partition(b"\r\n")[0]
        await client.send_all(b"data")
        await client.send_eof()
        return await receive_all(client)


async def test_an_imported_link_carries_socks_and_http(context: ssl.SSLContext, state: Path) -> None:
    async with running_site(context) as site, running_target() as target, running_node(site.port) as node:
        # In a thread: the command has a loop of its own.
        importing = functools.partial(CliRunner().invoke, main, ["import", link_to(node.port), "--state", str(state)])
        assert (await trio.to_thread.run_sync(importing)).exit_code == Exit.DONE
        async with running_proxy(state, "--link", "cafe", "--socks", "0", "--http", "127.0.0.1:0") as said:
            assert said["through"] == "cafe"
            assert await socks_echoes(said["socks"], target.port)
            assert await http_answers(said["http"], target.port) == b"data"


async def test_a_link_on_the_command_line_is_enough_and_a_login_is_asked_for(
    context: ssl.SSLContext, state: Path, tmp_path: Path
) -> None:
    login = tmp_path / "login"
    login.write_text("me:secret\n")
    async with running_site(context) as site, running_target() as target, running_node(site.port) as node:
        async with running_proxy(state, "--link", link_to(node.port), "--http", "0", "--login", f"@{login}") as said:
            assert "socks" not in said
            assert b" 407 " in await http_answers(said["http"], target.port)
            right = b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"
            assert await http_answers(said["http"], target.port, head=right) == b"data"


async def test_what_fails_at_the_start_has_its_exit_code(context: ssl.SSLContext, state: Path) -> None:
    async with running_site(context) as site, running_node(site.port) as node:
        code, said = await failed(state, "--link", link_to(node.port, bytes(16)), "--socks", "0")
        assert (code, "does not let this device in" in said) == (Exit.REFUSED, True)
        code, said = await failed(state, "--link", link_to(site.port), "--socks", "0")
        assert (code, "is not a node's" in said) == (Exit.REFUSED, True)
        code, said = await failed(state, "--link", link_to(node.port), "--socks", "192.0.2.1:0")
        assert (code, "loopback" in said) == (Exit.FAILED, True)


def test_a_node_that_is_not_there_is_unreachable(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pharos.caravel.cli.proxy.WAIT_UP", 0.2)
    link = link_to(free_port(socket.SOCK_STREAM))
    done = CliRunner().invoke(main, ["proxy", "--link", link, "--state", str(state)])
    assert done.exit_code == Exit.UNREACHABLE
    assert "cafe did not answer within 0.2 s" in done.stderr


def test_a_command_line_that_is_not_right_is_told_so(state: Path) -> None:
    for arguments, sentence in (
        (("--node", "a", "--link", "b"), "exclude each other"),
        (("--anywhere", "--socks", "0.0.0.0:1080"), "takes --login"),
        (("--socks", "host:port"), "is not HOST:PORT"),
        (("--socks", ":1080"), "is not HOST:PORT"),
        (("--http", "65536"), "is not HOST:PORT"),
    ):
        done = CliRunner().invoke(main, ["proxy", *arguments, "--state", str(state)])
        assert done.exit_code == Exit.USAGE, done.output
        assert sentence in done.stderr
    failing: tuple[tuple[tuple[str, ...], str], ...] = (
        (("--link", "cafe"), "there is no link 'cafe'"),
        (("--link", "vless://x"), "vless link"),
        (("--login", "hunter2"), "must be USER:PASSWORD"),
        (("--login", ":hunter2"), "must be USER:PASSWORD"),
        ((), "caravel enroll"),
    )
    for options, sentence in failing:
        done = CliRunner().invoke(main, ["proxy", *options, "--state", str(state)])
        assert done.exit_code == Exit.FAILED, done.output
        assert sentence in done.stderr
        assert "hunter2" not in done.output

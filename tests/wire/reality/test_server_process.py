"""The node's process: told over its socket, and silent about what it was told."""

from __future__ import annotations

import base64
import errno
import functools
import os
import signal
import socket
import stat
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pharos.wire.reality.addresses import Address
from pharos.wire.reality.dial import open_reality
from pharos.wire.reality.vless import Command, Flow, Request
from pharos.wire.reality.vlessstream import request_over
from tests.support.reality import NAME, NODE_KEY, SHORT_ID, node_public_key, settings
from tests.wire.reality.fronts import HOST, PATIENCE, receive_exactly, running_target
from tests.wire.reality.nodes import running_site, site_context
from tests.wire.reality.proxied import OTHER_ID

USER = str(uuid.UUID(bytes=OTHER_ID))


@attrs.define
class Process:
    path: Path
    log: Path
    process: subprocess.Popen[Any]

    async def say(self, text: str) -> str:
        """Send a request and return the whole reply."""
        async with await trio.open_unix_socket(str(self.path)) as stream:
            await stream.send_all(text.encode())
            found = ""
            while "errno=" not in found or not found.endswith("\n\n"):
                found += (await receive_something(stream)).decode()
            return found

    async def state(self) -> dict[str, str]:
        lines = (await self.say("get=1\n\n")).splitlines()
        return dict(line.partition("=")[::2] for line in lines if line)


async def receive_something(stream: trio.SocketStream) -> bytes:
    data = bytes(await stream.receive_some())
    assert data, "the node has closed the connection"
    return data


@asynccontextmanager
async def running_process(folder: Path) -> AsyncIterator[Process]:
    """Run the command until the block ends; it has said that it is ready, as systemd hears it."""
    path, log = folder / "run" / "control.sock", folder / "log"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
        log.open("wb") as out,
    ):
        notified.bind(str(folder / "notify"))
        notified.settimeout(PATIENCE)
        command = [sys.executable, "-m", "pharos.wire.reality.process", "--socket", str(path), "--verbose"]
        environment = os.environ | {"NOTIFY_SOCKET": str(folder / "notify")}
        process = await trio.to_thread.run_sync(
            functools.partial(subprocess.Popen, command, stdout=out, stderr=out, env=environment)
        )
        with process:
            try:
                assert await trio.to_thread.run_sync(notified.recv, 100) == b"READY=1"
                with trio.fail_after(PATIENCE):
                    yield Process(path, log, process)
            finally:
                process.send_signal(signal.SIGTERM)
                await trio.to_thread.run_sync(process.wait)


def whole(target: int) -> str:
    return (
        f"set=1\nprivate_key={NODE_KEY.hex()}\ntarget={HOST}:{target}\nserver_names={NAME}\n"
        f"short_ids={SHORT_ID.hex()}\nlisten={HOST}:0\nallowed_networks=127.0.0.0/8\n"
        f"user=one\nid={USER}\nflow=none\n\n"
    )


async def test_a_node_is_told_serves_counts_and_ends(tmp_path: Path) -> None:
    async with (
        running_site(site_context(tmp_path)) as site,
        running_target() as target,
        running_process(tmp_path) as process,
    ):
        mode = stat.S_IMODE(process.path.stat().st_mode)
        assert mode == 0o660
        # It serves nobody before it is told everything.
        assert (await process.state())["listen"] == ""
        assert await process.say(whole(site.port)) == "errno=0\n\n"
        state = await process.state()
        assert state["public_key"] == node_public_key().hex()
        port = int(state["listen"].rpartition(":")[2])
        async with await trio.open_unix_socket(str(process.path)) as watcher:
            await watcher.send_all(b"watch=1\n\n")
            assert await receive_exactly(watcher, 9) == b"errno=0\n\n"
            request = Request(user_id=OTHER_ID, command=Command.TCP, target=Address(HOST, target.port), flow=Flow.NONE)
            async with open_reality(HOST, port, settings()) as outer:
                stream = request_over(outer, request)
                await stream.send_all(b"data")
                assert await receive_exactly(stream, 4) == b"data"
                assert (await receive_something(watcher)).startswith(b"event=connected\nuser=one\nsession=1\n")
                assert await process.say("set=1\nuser=one\nkick=true\n\n") == "errno=0\n\n"
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
            event = (await receive_something(watcher)).decode()
            assert "event=disconnected\nuser=one\nsession=1\nrx_bytes=4\ntx_bytes=4\nkicked=true\n" in event
        state = await process.state()
        assert (state["rx_bytes"], state["tx_bytes"], state["sessions"]) == ("4", "4", "0")
    assert process.process.returncode == 0
    assert not process.path.exists()


async def test_no_secret_is_in_the_log_the_arguments_or_a_reply(tmp_path: Path) -> None:
    wrong = "c0ffee" * 5
    async with running_site(site_context(tmp_path)) as site, running_process(tmp_path) as process:
        assert await process.say(whole(site.port)) == "errno=0\n\n"
        assert await process.say(f"set=1\nprivate_key={wrong}\n\n") == f"errno=-{errno.EINVAL}\n\n"
        assert await process.say(f"set=1\nuser=thief\nid={USER}\n\n") == f"errno=-{errno.EINVAL}\n\n"
        replies = await process.say("get=1\n\n")
        kernel = trio.Path(f"/proc/{process.process.pid}")
        arguments = (await (kernel / "cmdline").read_bytes()).decode()
        environment = (await (kernel / "environ").read_bytes()).decode()
    for text in (replies, arguments, environment, process.log.read_text()):
        for secret in (NODE_KEY.hex(), base64.b64encode(NODE_KEY).decode(), USER, OTHER_ID.hex(), wrong):
            assert secret not in text.lower()


async def test_a_request_is_done_whole_or_not_at_all(tmp_path: Path) -> None:
    async with running_site(site_context(tmp_path)) as site, running_process(tmp_path) as process:
        assert await process.say(whole(site.port)) == "errno=0\n\n"
        before = await process.state()
        taken = site.port
        for lines, number in (
            (f"listen={HOST}:{taken}\nshort_ids=ab\n", errno.EADDRINUSE),
            (f"short_ids=ab\nuser=two\nid={USER}\n", errno.EINVAL),
            ("short_ids=ab\nuser=two\n", errno.EINVAL),
            ("short_ids=ab\nlisten=192.0.2.1:1\n", errno.EADDRNOTAVAIL),
        ):
            assert await process.say(f"set=1\n{lines}\n") == f"errno=-{number}\n\n"
            after = await process.state()
            assert {key: after[key] for key in ("short_ids", "listen", "user")} == {
                key: before[key] for key in ("short_ids", "listen", "user")
            }


async def test_connections_outlive_a_change_of_the_port(tmp_path: Path) -> None:
    async with (
        running_site(site_context(tmp_path)) as site,
        running_target() as target,
        running_process(tmp_path) as process,
    ):
        assert await process.say(whole(site.port)) == "errno=0\n\n"
        port = int((await process.state())["listen"].rpartition(":")[2])
        request = Request(user_id=OTHER_ID, command=Command.TCP, target=Address(HOST, target.port), flow=Flow.NONE)
        async with open_reality(HOST, port, settings()) as outer:
            stream = request_over(outer, request)
            await stream.send_all(b"data")
            assert await receive_exactly(stream, 4) == b"data"
            assert await process.say("set=1\nlisten=127.0.0.2:0\n\n") == "errno=0\n\n"
            assert (await process.state())["listen"].startswith("127.0.0.2:")
            with pytest.raises(OSError, match=r"."):
                await trio.open_tcp_stream(HOST, port)
            await stream.send_all(b"more")
            assert await receive_exactly(stream, 4) == b"more"


async def test_a_second_node_does_not_take_the_first_ones_socket(tmp_path: Path) -> None:
    async with running_process(tmp_path) as process:
        command = [sys.executable, "-m", "pharos.wire.reality.process", "--socket", str(process.path)]
        done = await trio.run_process(command, check=False, capture_stderr=True)
        assert done.returncode != 0
        assert "errno=0" in await process.say("get=1\n\n")
        # One that was killed leaves its socket, and the next takes its place.
        process.process.kill()
        await trio.to_thread.run_sync(process.process.wait)
        assert process.path.exists()
    (tmp_path / "notify").unlink()
    async with running_process(tmp_path) as process:
        assert "errno=0" in await process.say("get=1\n\n")


def test_help_says_what_it_is() -> None:
    command = [sys.executable, "-m", "pharos.wire.reality.process", "--help"]
    assert "VLESS with REALITY" in subprocess.run(command, capture_output=True, text=True, check=True).stdout

"""Tunnels between two hosts of a lab, each end an engine as a process: ours, or wireguard-go."""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.wire.awg.keys import generate_private_key, public_key
from pharos.wire.awg.uapi import DeviceState
from pharos.wire.awg.uapiwrite import parse_reply
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.processes import Process
from tests.system.lab.traffic import round_trips

OURS, GO = "pharos-awg", "wireguard-go"
TOOLS = {"wireguard-go": "wireguard-go", "wg": "wireguard-tools", "wg-quick": "wireguard-tools"}
COMMAND = [sys.executable, "-m", "pharos.wire.awg.process"]
SOCKETS = Path("/var/run/wireguard")
"""Of all namespaces, so that names of interfaces differ between tests."""
PORT = 51820
INNER = {"clienta": {4: "10.7.0.2", 6: "fd07::2"}, "buoya": {4: "10.7.0.1", 6: "fd07::1"}}
POLL_INTERVAL = 0.05
START_TIMEOUT = 20.0


def skip_without_tools() -> None:
    """Skip where the tools of WireGuard are missing, and say how to get them."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        pytest.skip(f"the tunnel's tools are missing: apt install {' '.join(missing)}")


@attrs.frozen(kw_only=True)
class End:
    """One end of a tunnel: an engine that runs at a host."""

    lab: Lab
    host: str
    interface: str
    private_key: bytes
    process: Process
    sockets: Path = SOCKETS
    """Where its engine answers."""

    @property
    def public_key(self) -> bytes:
        return public_key(self.private_key)

    def inner(self, family: int) -> str:
        """Return its address inside the tunnel."""
        return INNER[self.host][family]

    async def wg(self, *words: str, stdin: str = "") -> str:
        """Run wg(8) at the host."""
        return await self.lab.run(self.host, "wg", *words, stdin=stdin)

    async def uapi(self, *lines: str) -> str:
        """Speak the UAPI, and return the reply."""
        async with await trio.open_unix_socket(self.sockets / f"{self.interface}.sock") as stream:
            await stream.send_all("\n".join([*lines, "", ""]).encode())
            reply = b""
            while not reply.endswith(b"\n\n"):
                reply += await stream.receive_some()
        return reply.decode()

    async def state(self) -> DeviceState:
        """Return all that the engine says of itself."""
        return parse_reply(await self.uapi("get=1"))[0]

    async def endpoint(self) -> str:
        """Return where the one peer was heard last."""
        return (await self.wg("show", self.interface, "endpoints")).split()[1]

    async def handshakes(self) -> int:
        """Return when the last handshake with the one peer was, in Unix time, 0 for never."""
        return int((await self.wg("show", self.interface, "latest-handshakes")).split()[1])

    async def ping(self, other: End, family: int, *, count: int = 3) -> int:
        """Return how many of the echoes to the other end were answered."""
        return await self.reach(other.inner(family), count=count)

    async def reach(self, address: str, *, count: int = 3) -> int:
        """Return how many of the echoes to an address were answered."""
        return len(await round_trips(self.lab, self.host, address, count=count))


async def start_engine(lab: Lab, host: str, kind: str, *, private_key: bytes | None = None) -> End:
    """Run an engine at a host, with addresses on its interface; it has no peers yet."""
    interface = f"w{os.getpid()}{host[0]}"
    name = f"{host}-{kind}"
    if kind == OURS:
        process = await lab.start(host, *COMMAND, "--foreground", interface, name=name, ready=True)
    else:
        # One that was killed left its socket, which must not be taken for that of the next.
        (SOCKETS / f"{interface}.sock").unlink(missing_ok=True)
        process = await lab.start(host, "wireguard-go", "--foreground", interface, name=name)
        with trio.fail_after(START_TIMEOUT):
            while not (SOCKETS / f"{interface}.sock").exists():
                process.check()
                await trio.sleep(POLL_INTERVAL)
    end = End(
        lab=lab,
        host=host,
        interface=interface,
        private_key=private_key or generate_private_key(os.urandom),
        process=process,
    )
    await set_wg(end, "private-key", "/dev/stdin", "listen-port", str(PORT), stdin=encode(end.private_key))
    for family, length in ((4, 24), (6, 64)):
        at_once = ["nodad"] if family == 6 else []
        await lab.run(host, "ip", "addr", "add", f"{end.inner(family)}/{length}", "dev", interface, *at_once)
    await lab.run(host, "ip", "link", "set", interface, "up")
    return end


async def set_wg(end: End, *words: str, stdin: str = "") -> None:
    """Run ``wg set`` on an end's interface."""
    await end.wg("set", end.interface, *words, stdin=stdin)


async def introduce(end: End, other: End, *, family: int | None = None, settings: Sequence[str] = ()) -> None:
    """Make the other end a peer, whose address is known if ``family`` says by which version of IP."""
    words = ["peer", encode(other.public_key), "allowed-ips", f"{other.inner(4)},{other.inner(6)}", *settings]
    if family is not None:
        address = end.lab.host(other.host).address(family)
        words += ["endpoint", f"[{address}]:{PORT}" if family == 6 else f"{address}:{PORT}"]
    await set_wg(end, *words)


@asynccontextmanager
async def joined(
    folder: Path, client: str, server: str, *, family: int = 4, timeout: float = 120
) -> AsyncIterator[tuple[Lab, End, End]]:
    """Join two hosts of a lab by an engine at each, while the block lasts; the client knows where the server is."""
    skip_without_tools()
    with trio.fail_after(timeout):
        async with open_lab(folder) as lab:
            near = await start_engine(lab, "clienta", client)
            far = await start_engine(lab, "buoya", server)
            try:
                await introduce(far, near)
                await introduce(near, far, family=family)
                yield lab, near, far
                lab.check()
            finally:
                with trio.CancelScope(shield=True):
                    # Killed, wireguard-go would leave its socket behind.
                    for end in (near, far):
                        await end.process.stop()


def encode(key: bytes) -> str:
    """Write a key as wg(8) does."""
    return base64.b64encode(key).decode()


def counters(shown: str) -> list[int]:
    """Return the numbers in a line of ``wg show … transfer``."""
    return [int(found) for found in re.findall(r"\t(\d+)", shown)]

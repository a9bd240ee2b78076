"""Servers as a provider hands them over, and the rest of the Internet: names, a mirror of Debian's, two websites.

All of it stays in the lab. The websites have addresses that nobody uses for documentation, because a node carries its
devices to the Internet and to nothing special (RFC 6890).
"""

from __future__ import annotations

import contextlib
import functools
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio
from cryptography.hazmat.primitives.serialization import Encoding

from pharos.helm.model.reality import PRESETS
from pharos.wire.tasks import open_background
from tests.support.sites import authority, site_context
from tests.system.lab.commands import run_ip
from tests.system.lab.names import serve_names
from tests.system.lab.network import Lab
from tests.system.machines import Machine, open_machine
from tests.system.trees import BARE, MIRROR, ensure_tree

INTERNET: Final = "clientb"
"""The host of the lab that stands for everybody else."""
DEBIAN: Final = "deb.debian.org"
PAGE_NAME: Final = "example.org"
GREETING: Final = "you come from"
"""What its page says, with the visitor's address behind it."""
PAGE_ADDRESS, BORROWED_ADDRESS = "93.184.215.14", "93.184.215.15"
BORROWED_NAME: Final = PRESETS[0].partition(":")[0]
"""The site that REALITY of the first node stands before, if nobody has set another."""
HTTPS, HTTP = 443, 80
POLL_INTERVAL = 0.02

# What a virtual machine has and nspawn's does not: switches of its own, and a TUN device for everybody. Its mirror is
# elsewhere.
_SET_UP = f"""
mount -o remount,bind,rw /proc/sys
chmod 0666 /dev/net/tun
rm -rf /{MIRROR} /etc/apt/sources.list.d/*
echo "deb [trusted=yes] http://{DEBIAN}/debian/ ./" > /etc/apt/sources.list
"""


def hosts(lab: Lab, name: str = "localhost") -> str:
    """Return a hosts(5) that knows the names of the lab's Internet, in place of a resolver."""
    names = {
        "127.0.0.1": f"localhost {name}",
        lab.host(INTERNET).address4: DEBIAN,
        PAGE_ADDRESS: PAGE_NAME,
        BORROWED_ADDRESS: BORROWED_NAME,
    }
    return "".join(f"{address} {name}\n" for address, name in names.items())


def trusted() -> str:
    """Return the certificate that browsers in the lab's Internet believe."""
    return authority()[1].public_bytes(Encoding.PEM).decode()


@asynccontextmanager
async def open_bare_machine(lab: Lab, host: str, release: str, *, key: str) -> AsyncIterator[Machine]:
    """Boot a server with nothing on it but sshd, which lets in whoever has the key."""
    async with open_machine(lab, host, release, recipe=BARE) as machine:
        await machine.run("sh", "-euc", _SET_UP)
        await machine.put("/etc/hosts", hosts(lab, host))
        # A node asks for its devices, who have no file of names there.
        await machine.put("/etc/resolv.conf", f"nameserver {lab.host(INTERNET).address4}\n")
        await machine.put("/root/.ssh/authorized_keys", key, mode=0o600)
        yield machine


@asynccontextmanager
async def open_internet(lab: Lab, release: str) -> AsyncIterator[None]:
    """Have everybody reach the Internet, which has the packages of a release, while the block lasts."""
    tree = await ensure_tree(release, BARE)
    own = [f"addr add {address}/32 dev lo" for address in (PAGE_ADDRESS, BORROWED_ADDRESS)]
    await run_ip(own, lab.namespace(INTERNET).name)
    for host in ("nat", "buoya", "beacon", "clienta"):
        await run_ip([f"route add default via {lab.host(INTERNET).address4}"], lab.namespace(host).name)
    await _serve_mirror(lab, tree / MIRROR)
    async with open_background(_hold) as nursery:
        zone = {PAGE_NAME: (f"A {PAGE_ADDRESS}",), BORROWED_NAME: (f"A {BORROWED_ADDRESS}",)}
        await nursery.start(serve_names, lab.namespace(INTERNET), lab.host(INTERNET).address4, zone, [])
        for address, context in (
            (PAGE_ADDRESS, site_context(PAGE_NAME, alpn=("http/1.1",))),
            (BORROWED_ADDRESS, site_context(BORROWED_NAME)),
        ):
            listener = await lab.namespace(INTERNET).listen(address, HTTPS)
            nursery.start_soon(trio.serve_listeners, functools.partial(_greet, context), [listener])
        yield


async def _serve_mirror(lab: Lab, folder: Path) -> None:
    address = lab.host(INTERNET).address4
    # One repository, under the name that Debian's has.
    root = await trio.to_thread.run_sync(_under, lab.folder / "mirror", folder)
    words = ["-m", "http.server", str(HTTP), "--bind", address, "--directory", str(root)]
    process = await lab.start(INTERNET, sys.executable, *words, name="mirror")
    while True:
        process.check()
        with contextlib.suppress(OSError):
            await (await lab.namespace(INTERNET).connect(address, HTTP)).aclose()
            return
        await trio.sleep(POLL_INTERVAL)


def _under(root: Path, folder: Path) -> Path:
    root.mkdir()
    (root / "debian").symlink_to(folder)
    return root


async def _greet(context: ssl.SSLContext, stream: trio.SocketStream) -> None:
    page = f"{GREETING} {stream.socket.getpeername()[0]}\n".encode()
    secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
    with contextlib.suppress(trio.BrokenResourceError):
        async with secure:
            asked = b""
            while b"\r\n\r\n" not in asked and (chunk := await secure.receive_some()):
                asked += chunk
            await secure.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page))


async def _hold(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()

"""The REALITY server under systemd, on a machine: what its unit allows is enough, and it outlives its manager."""

from __future__ import annotations

import site
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.support.reality import NAME, NODE_KEY, SHORT_ID, node_public_key
from tests.system.lab.network import open_lab
from tests.system.lab.relayprocess import ROOT
from tests.system.machines import BOOT_TIMEOUT, Machine, open_machine
from tests.system.needs import missing_for_machines
from tests.system.trees import ensure_tree
from tests.wire.reality.nodes import site_pem

pytestmark = pytest.mark.system

RELEASE = "bookworm"
UNIT = ROOT / "packaging/systemd/pharos-reality.service"
USER = ROOT / "packaging/sysusers.d/pharos-reality.conf"
# The package's launcher, on the sources of this checkout: its libraries are those of the Python that runs the tests.
LAUNCHER = """#!/usr/bin/python3
import sys
sys.path[:0] = ["/opt/pharos", "/opt/site"]
from pharos.wire.reality.process import main
main()
"""
# A manager that says what is in its standard input, and prints the reply.
MANAGER = """#!/usr/bin/python3
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("/run/pharos-reality/control.sock")
    sock.sendall(open(sys.argv[1], "rb").read())
    reply = b""
    while not (b"errno=" in reply and reply.endswith(b"\\n\\n")):
        reply += sock.recv(65536)
print(reply.decode())
"""
# A device: it asks for the web server behind the node, and prints what that says.
DEVICE = f"""#!/usr/bin/python3
import sys
sys.path[:0] = ["/opt/pharos", "/opt/site"]
import trio
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.client import ClientSettings
from pharos.wire.reality.dial import open_reality
from pharos.wire.reality.vless import Command, Flow, Request
from pharos.wire.reality.vlessstream import request_over

async def main():
    told = ClientSettings(server_name={NAME!r}, public_key={node_public_key()!r}, short_id={SHORT_ID!r})
    async with open_reality("127.0.0.1", 443, told) as outer:
        request = Request(
            user_id=bytes(range(16)), command=Command.TCP, target=Address("localhost", 8080), flow=Flow.VISION
        )
        stream = request_over(outer, request)
        await stream.send_all(b"GET /etc/hosts HTTP/1.0\\r\\n\\r\\n")
        async for data in stream:
            print(data.decode())

trio.run(main)
"""
TOLD = (
    f"set=1\nprivate_key={NODE_KEY.hex()}\ntarget=127.0.0.1:8443\nserver_names={NAME}\nshort_ids={SHORT_ID.hex()}\n"
    f"listen=0.0.0.0:443,[::]:443\nallowed_networks=127.0.0.0/8,::1/128\n"
    f"user=one\nid={uuid.UUID(bytes=bytes(range(16)))}\n\n"
)


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@asynccontextmanager
async def installed(folder: Path) -> AsyncIterator[Machine]:
    """Boot a machine with the server's unit on it, a site to borrow from and a web server behind it."""
    await ensure_tree(RELEASE)
    binds = [f"{ROOT}/pharos:/opt/pharos/pharos", f"{site.getsitepackages()[0]}:/opt/site"]
    with trio.fail_after(3 * BOOT_TIMEOUT):
        async with open_lab(folder) as lab, open_machine(lab, "buoya", RELEASE, binds=binds) as machine:
            await machine.put("/usr/bin/pharos-reality", LAUNCHER, mode=0o755)
            await machine.put(f"/usr/lib/systemd/system/{UNIT.name}", UNIT.read_text())
            await machine.put("/usr/lib/sysusers.d/pharos-reality.conf", USER.read_text())
            await machine.put("/usr/local/bin/manager", MANAGER, mode=0o755)
            await machine.put("/usr/local/bin/device", DEVICE, mode=0o755)
            await machine.put("/etc/told", TOLD)
            await machine.put("/etc/hosts", "127.0.0.1 localhost\n")
            await machine.put("/etc/get", "get=1\n\n")
            await machine.put("/etc/site.pem", site_pem().decode())
            await machine.put("/usr/local/lib/site.py", SITE)
            await machine.run("systemd-sysusers")
            await machine.run("systemctl", "daemon-reload")
            await machine.run("systemd-run", "--unit=site", "/usr/bin/python3", "/usr/local/lib/site.py")
            await machine.run(
                *("systemd-run", "--unit=web", "/usr/bin/python3", "-m", "http.server", "--directory=/", "8080")
            )
            for port in (8443, 8080):
                while f":{port} " not in await machine.run("ss", "--listening", "--tcp", "--numeric"):
                    # Fails, with what systemd says of it, when one of them has.
                    await machine.run("systemctl", "is-active", "site", "web")
            yield machine


# A site that speaks TLS 1.3 and says nothing.
SITE = """
import contextlib, socket, ssl, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/site.pem")
def serve(sock):
    with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as tls:
        tls.recv(100)
with socket.create_server(("127.0.0.1", 8443)) as door:
    while True:
        threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"""


async def show(machine: Machine, name: str) -> str:
    said = await machine.run("systemctl", "show", "--value", f"--property={name}", "pharos-reality")
    return said.strip()


async def test_server_carries_under_its_unit_and_forgets_everything_when_it_is_killed(tmp_path: Path) -> None:
    async with installed(tmp_path) as machine:
        await machine.run("systemctl", "start", "pharos-reality")
        assert "errno=0" in await machine.run("manager", "/etc/told")
        pid = await show(machine, "MainPID")
        status = await machine.run("cat", f"/proc/{pid}/status")
        # CAP_NET_BIND_SERVICE is 10 (capability.h).
        assert f"CapEff:\t{1 << 10:016x}" in status
        assert f"CapBnd:\t{1 << 10:016x}" in status
        mode = await machine.run("stat", "--format=%a %U", "/run/pharos-reality", "/run/pharos-reality/control.sock")
        assert mode.splitlines() == ["750 pharos-reality", "660 pharos-reality"]

        assert "200 OK" in await machine.run("device")
        state = await machine.run("manager", "/etc/get")
        assert f"public_key={node_public_key().hex()}" in state
        assert "user=one\nflow=xtls-rprx-vision" in state
        said = await machine.run("journalctl", "--unit=pharos-reality", "--output=cat")
        assert NODE_KEY.hex() not in said

        # Nothing of what it was told is on a disk: the next one has to be told everything anew.
        await machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "pharos-reality")
        with trio.fail_after(BOOT_TIMEOUT):
            while await show(machine, "NRestarts") != "1" or await show(machine, "ActiveState") != "active":
                assert await show(machine, "Result") != "start-limit-hit"
        assert "public_key" not in await machine.run("manager", "/etc/get")
        await machine.run("systemctl", "stop", "pharos-reality")
        assert await show(machine, "Result") == "success"

"""The engine under systemd, on a machine: what its unit allows is enough, and it outlives its manager."""

from __future__ import annotations

import os
import site
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.wire.awg.keys import generate_private_key, public_key
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.relayprocess import ROOT
from tests.system.machines import BOOT_TIMEOUT, Machine, open_machine
from tests.system.needs import missing_for_machines
from tests.system.trees import ensure_tree
from tests.system.tunnels import OURS, encode, start_engine

pytestmark = pytest.mark.system

RELEASE = "bookworm"
UNIT = ROOT / "packaging/systemd/pharos-awg@.service"
USER = ROOT / "packaging/sysusers.d/pharos-awg.conf"
# The package's launcher, on the sources of this checkout: its libraries are those of the Python that runs the tests.
LAUNCHER = """#!/usr/bin/python3
import sys
sys.path[:0] = ["/opt/pharos", "/opt/site"]
from pharos.wire.awg.process import main
main()
"""
# A manager that tells the engine what to be, and then has nothing more to say.
MANAGER = """
import socket, time
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("/run/wireguard/wg0.sock")
    sock.sendall(open("/etc/tunnel", "rb").read())
    assert sock.recv(100) == b"errno=0\\n\\n"
open("/run/told", "w").close()
time.sleep(3600)
"""
MANAGER_UNIT = """
[Unit]
Wants=pharos-awg@wg0.service
After=pharos-awg@wg0.service
[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/manager.py
"""
KEY, OTHER_KEY = (generate_private_key(os.urandom) for _ in range(2))


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@asynccontextmanager
async def installed(folder: Path) -> AsyncIterator[tuple[Lab, Machine]]:
    """Boot a machine with the engine's unit on it."""
    await ensure_tree(RELEASE)
    binds = [f"{ROOT}/pharos:/opt/pharos/pharos", f"{site.getsitepackages()[0]}:/opt/site"]
    with trio.fail_after(3 * BOOT_TIMEOUT):
        async with open_lab(folder) as lab, open_machine(lab, "buoya", RELEASE, binds=binds) as machine:
            await machine.put("/usr/bin/pharos-awg", LAUNCHER, mode=0o755)
            await machine.put(f"/usr/lib/systemd/system/{UNIT.name}", UNIT.read_text())
            await machine.put("/usr/lib/sysusers.d/pharos-awg.conf", USER.read_text())
            await machine.put("/usr/local/lib/manager.py", MANAGER)
            await machine.put("/etc/systemd/system/manager.service", MANAGER_UNIT)
            tunnel = f"set=1\nprivate_key={KEY.hex()}\nlisten_port=443\npublic_key={public_key(OTHER_KEY).hex()}\n"
            await machine.put("/etc/tunnel", f"{tunnel}allowed_ip=10.7.0.2/32\n\n")
            await machine.run("systemd-sysusers")
            # As udev's own rule has it; nspawn copies the device of its host, which may have no udev.
            await machine.run("chmod", "0666", "/dev/net/tun")
            await machine.run("systemctl", "daemon-reload")
            yield lab, machine


async def show(machine: Machine, name: str) -> str:
    said = await machine.run("systemctl", "show", "--value", f"--property={name}", "pharos-awg@wg0")
    return said.strip()


async def test_engine_serves_under_its_unit_and_outlives_its_manager(tmp_path: Path) -> None:
    async with installed(tmp_path) as (lab, machine):
        await machine.run("systemctl", "start", "manager")
        while "told" not in await machine.run("ls", "/run"):
            # Fails, with what systemd says of it, when one of them has.
            await machine.run("systemctl", "is-active", "manager", "pharos-awg@wg0")
        await machine.run("ip", "addr", "add", "10.7.0.1/24", "dev", "wg0")
        await machine.run("ip", "link", "set", "wg0", "up")
        pid = await show(machine, "MainPID")
        status = await machine.run("cat", f"/proc/{pid}/status")
        # CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12 (capability.h).
        assert f"CapEff:\t{1 << 10 | 1 << 12:016x}" in status
        assert f"CapBnd:\t{1 << 10 | 1 << 12:016x}" in status

        near = await start_engine(lab, "clienta", OURS, private_key=OTHER_KEY)
        address = lab.host("buoya").address4
        await near.wg(
            "set",
            near.interface,
            "peer",
            encode(public_key(KEY)),
            "endpoint",
            f"{address}:443",
            "allowed-ips",
            "10.7.0.1/32",
        )
        assert await near.reach("10.7.0.1") == 3

        # The manager is stopped, and then killed, as in an upgrade that fails; nobody notices.
        await machine.run("systemctl", "stop", "manager")
        assert await near.reach("10.7.0.1") == 3
        await machine.run("systemctl", "start", "manager")
        await machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "manager")
        assert await near.reach("10.7.0.1") == 3
        assert await show(machine, "MainPID") == pid
        assert await show(machine, "NRestarts") == "0"

        # Stopped itself, it takes its interface along.
        await machine.run("systemctl", "stop", "pharos-awg@wg0")
        assert "wg0" not in await machine.run("ip", "link")
        assert await show(machine, "Result") == "success"
        await near.process.stop()

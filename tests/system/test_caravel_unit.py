"""Always-on under systemd, on a machine: what its units allow is enough, and what holds is up before a network is."""

from __future__ import annotations

import json
import site
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.caravel.system import unit
from pharos.caravel.system.nft import TABLE, nft_document
from pharos.caravel.system.plan import SystemPlan
from tests.system.lab.network import open_lab
from tests.system.lab.relayprocess import ROOT
from tests.system.machines import BOOT_TIMEOUT, Machine, open_machine
from tests.system.needs import missing_for_machines
from tests.system.nodes import DEVICE
from tests.system.trees import ensure_tree

pytestmark = pytest.mark.system

RELEASE = "bookworm"
PLAN = SystemPlan(addresses=DEVICE, hold=True)
CARAVEL = "/usr/local/bin/caravel"
# What `caravel up` does with its machine, without a profile: the connection itself is told about elsewhere.
PROGRAM = f"""#!/usr/bin/python3
import sys
sys.path[:0] = ["/opt/pharos", "/opt/site"]
import trio
from pharos.caravel.system import open_system
from pharos.caravel.system.plan import SystemPlan
from pharos.wire.daemon import run_daemon

async def main(*, task_status):
    async with open_system(SystemPlan(addresses={DEVICE!r}, hold=True)):
        task_status.started()
        await trio.sleep_forever()

run_daemon(main)
"""
RESTORE = """
import sys
sys.path[:0] = ["/opt/pharos", "/opt/site"]
import trio
from pharos.caravel.system import restore_system
print(*trio.run(restore_system))
"""


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@asynccontextmanager
async def always_on(folder: Path) -> AsyncIterator[Machine]:
    """Boot a machine that was told to be always on before it was turned off."""
    await ensure_tree(RELEASE)
    boot, table = folder / unit.BOOT, folder / "boot.json"
    boot.write_text(unit.boot_unit("/usr/sbin/nft", Path("/") / unit.BOOT_TABLE))
    table.write_text(json.dumps(nft_document(PLAN)))
    wants = folder / "wants"
    wants.mkdir()
    (wants / unit.BOOT).symlink_to(f"../{unit.BOOT}")
    binds = [
        f"{ROOT}/pharos:/opt/pharos/pharos",
        f"{site.getsitepackages()[0]}:/opt/site",
        f"{boot}:/{unit.UNITS / unit.BOOT}",
        # Enabled, as systemctl does it, in a folder of which the machine has none of its own.
        f"{wants}:/{unit.UNITS}/sysinit.target.requires",
        f"{table}:/{unit.BOOT_TABLE}",
    ]
    with trio.fail_after(3 * BOOT_TIMEOUT):
        async with open_lab(folder) as lab, open_machine(lab, "clienta", RELEASE, binds=binds) as machine:
            yield machine


async def show(machine: Machine, name: str, of: str) -> str:
    return (await machine.run("systemctl", "show", "--value", f"--property={name}", of)).strip()


async def test_the_kill_switch_is_up_before_the_network_and_the_tunnel_takes_it_over(tmp_path: Path) -> None:
    async with always_on(tmp_path) as machine:
        assert await show(machine, "Result", unit.BOOT) == "success"
        up, network = [
            int(await show(machine, name, of))
            for name, of in (
                ("ExecMainExitTimestampMonotonic", unit.BOOT),
                ("ActiveEnterTimestampMonotonic", "network-pre.target"),
            )
        ]
        assert 0 < up <= network
        assert "policy drop" in await machine.run("nft", "list", "table", "inet", TABLE)

        await machine.put(CARAVEL, PROGRAM, mode=0o755)
        await machine.put(f"/{unit.UNITS / unit.UP}", unit.up_unit([CARAVEL, "up"]))
        await machine.run("chmod", "0666", "/dev/net/tun")
        await machine.run("systemctl", "daemon-reload")
        await machine.run("systemctl", "start", unit.UP)
        assert "pharos0" in await machine.run("ip", "link")
        assert "20803:" in await machine.run("ip", "rule")
        assert "1" in await machine.run("cat", "/proc/sys/net/ipv4/conf/all/src_valid_mark")

        # It falls, and is back by itself, in charge of what it left.
        first = await show(machine, "MainPID", unit.UP)
        await machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit.UP)
        assert "policy drop" in await machine.run("nft", "list", "table", "inet", TABLE)
        while await show(machine, "MainPID", unit.UP) in (first, "0"):
            await trio.lowlevel.checkpoint()
        while (state := await show(machine, "ActiveState", unit.UP)) != "active":
            assert state in ("activating", "deactivating"), await machine.run("journalctl", "-u", unit.UP)
        rules = await machine.run("ip", "rule")
        assert rules.count("20803:") == 1

        # Stopped, it leaves what holds; to be asked for is something else.
        await machine.run("systemctl", "stop", unit.UP)
        assert await show(machine, "Result", unit.UP) == "success"
        assert "20803:" not in await machine.run("ip", "rule")
        assert "policy drop" in await machine.run("nft", "list", "table", "inet", TABLE)
        assert (await machine.run("python3", "-c", RESTORE)).split() == ["nft"]
        assert await machine.run("nft", "list", "ruleset") == ""

"""A driver, the engine's unit and the root helper on a machine: each may begin anew, and the tunnel is there again."""

from __future__ import annotations

import json
import re
import site
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.wire.awg.keys import public_key
from tests.system.lab.network import open_lab
from tests.system.lab.relayprocess import ROOT
from tests.system.lab.traffic import round_trips
from tests.system.machines import BOOT_TIMEOUT, POLL_INTERVAL, Machine, open_machine
from tests.system.needs import missing_for_machines
from tests.system.test_drivers import KEY, NODE, PORT, PSK, dial
from tests.system.test_root_helper_unit import COMMANDS, LAUNCHER, UNITS, tmpfiles
from tests.system.trees import ensure_tree
from tests.system.tunnels import GO, INNER, End, encode, set_wg, skip_without_tools, start_engine

pytestmark = pytest.mark.system

RELEASE = "bookworm"
ENGINE, AGENT = "pharos-awg@awg0", "agent"
# The part of an agent that has to do with its AmneziaWG engine; it writes down what its manager would hear.
PROGRAM = """#!/usr/bin/python3
import json, logging, signal, sys
sys.path[:0] = ["/opt/pharos", "/opt/site"]
import trio
from pharos.buoy.dataplane.base import AwgEndpoint, AwgPeer, AwgPlan, EngineError
from pharos.buoy.dataplane.choose import choose
from pharos.buoy.dataplane.links import link_by_helper
from pharos.buoy.dataplane.probing import probe_awg
from pharos.buoy.dataplane.userspace import make_userspace_awg, restart_by_helper
from pharos.buoy.roothelper.acts import Unit
from pharos.buoy.roothelper.client import SocketRootHelper
from pharos.wire.awg.params import PLAIN

told = json.load(open("/etc/plan.json"))
peer = AwgPeer(
    device_id="d1",
    public_key=bytes.fromhex(told["peer"]),
    preshared_key=bytes.fromhex(told["psk"]),
    addresses=("10.7.0.2/32", "fd07::2/128"),
)
plan = AwgPlan(
    private_key=bytes.fromhex(told["key"]),
    endpoints=(AwgEndpoint(port=told["port"], parameters=PLAIN),),
    addresses=("10.7.0.1", "fd07::1"),
    networks=("10.7.0.0/24", "fd07::/64"),
    peers={"d1": peer},
)

def say(*words):
    print(*words, flush=True)

def on_event(kind, *, at, device_id, detail):
    say("event", kind.name, detail)

async def main():
    helper = SocketRootHelper()
    say("chosen", choose("auto", probe_awg()).name)
    driver = make_userspace_awg(
        on_event=on_event, set_link=link_by_helper(helper), restart=restart_by_helper(helper, Unit.AWG0)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(driver.run)
        while True:
            try:
                await driver.apply(plan)
                break
            except EngineError as error:
                say("not yet:", error)
                await trio.sleep(0.2)
        say("told", driver.port)
        with trio.open_signal_receiver(signal.SIGUSR1) as signals:
            async for _ in signals:
                await driver.restart()
                say("restarted")

logging.basicConfig(level="INFO", stream=sys.stdout)
trio.run(main)
"""
UNIT = """
[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/agent.py
User=pharos-buoy
StandardOutput=append:/run/agent.log
StandardError=append:/run/agent.log
"""


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)
    skip_without_tools()


@attrs.frozen(kw_only=True)
class Node:
    """The machine, and a client that is known to it."""

    machine: Machine
    client: End

    async def said(self) -> str:
        return await self.machine.run("cat", "/run/agent.log", check=False)

    async def wait_said(self, pattern: str, *, times: int = 1, seconds: float = 20) -> None:
        """Wait for lines of the agent."""
        with trio.move_on_after(seconds):
            while len(re.findall(pattern, await self.said(), re.MULTILINE)) < times:  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(POLL_INTERVAL)
            return
        journal = await self.machine.run("journalctl", "--no-pager", "--lines=60", check=False)
        raise AssertionError(f"no {pattern!r} in:\n{await self.said()}\n{journal}")

    async def show(self, unit: str, name: str) -> str:
        return (await self.machine.run("systemctl", "show", "--value", f"--property={name}", unit)).strip()

    async def reach(self, count: int = 3, *, interval: float = 0.05) -> int:
        lab = self.client.lab
        return len(await round_trips(lab, self.client.host, INNER[NODE][4], count=count, interval=interval))

    async def begin_anew(self) -> None:
        """Have the client forget its session."""
        await set_wg(self.client, "peer", encode(public_key(KEY)), "remove")
        await dial(self.client)


@asynccontextmanager
async def running_node(folder: Path) -> AsyncIterator[Node]:
    await ensure_tree(RELEASE)
    binds = [f"{ROOT}/pharos:/opt/pharos/pharos", f"{site.getsitepackages()[0]}:/opt/site"]
    with trio.fail_after(4 * BOOT_TIMEOUT):
        async with open_lab(folder) as lab, open_machine(lab, NODE, RELEASE, binds=binds) as machine:
            client = await start_engine(lab, "clienta", GO)
            for command, module in COMMANDS.items():
                await machine.put(f"/usr/bin/{command}", LAUNCHER.format(module=module), mode=0o755)
            for name in UNITS:
                text = (ROOT / "packaging/systemd" / name).read_text()
                await machine.put(f"/usr/lib/systemd/system/{name}", text)
            for path in (ROOT / "packaging/sysusers.d").glob("*.conf"):
                await machine.put(f"/usr/lib/sysusers.d/{path.name}", path.read_text())
            await machine.put("/usr/lib/tmpfiles.d/pharos-buoy.conf", tmpfiles())
            await machine.put("/usr/local/lib/agent.py", PROGRAM)
            await machine.put(f"/etc/systemd/system/{AGENT}.service", UNIT)
            plan = {"key": KEY.hex(), "psk": PSK.hex(), "peer": client.public_key.hex(), "port": PORT}
            await machine.put("/etc/plan.json", json.dumps(plan))
            await machine.run("systemd-sysusers")
            await machine.run("systemd-tmpfiles", "--create", "pharos-buoy.conf")
            # As udev's own rule has it; nspawn copies the device of its host, which may have no udev.
            await machine.run("chmod", "0666", "/dev/net/tun")
            await machine.run("systemctl", "daemon-reload")
            await machine.run("systemctl", "enable", "--now", "pharos-buoy-helper.socket", ENGINE)
            await machine.run("systemctl", "start", AGENT)
            try:
                yield Node(machine=machine, client=client)
            finally:
                with trio.CancelScope(shield=True):
                    # Killed, wireguard-go would leave its socket behind.
                    await client.process.stop()


async def test_engine_and_agent_may_begin_anew_and_the_tunnel_is_there_again(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node:
        await node.wait_said(f"^told {PORT}$")
        assert "chosen userspace" in await node.said()
        await dial(node.client)
        assert await node.reach() == 3
        await node.wait_said("^event CONNECTED")

        # The agent goes, and comes again: no packet is lost, and no handshake made.
        pid, shaken = await node.show(ENGINE, "MainPID"), await node.client.handshakes()
        answered = 0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                nonlocal answered
                answered = await node.reach(300, interval=0.02)

            await node.machine.run("systemctl", "restart", AGENT)
            await node.wait_said(f"^told {PORT}$", times=2)
        assert answered == 300
        assert await node.client.handshakes() == shaken
        assert await node.show(ENGINE, "MainPID") == pid

        # The engine is killed: systemd starts it, and it is told everything, its new interface included.
        await node.machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", ENGINE)
        await node.wait_said("^event DISCONNECTED silent")
        await node.begin_anew()
        with trio.fail_after(10):
            while await node.reach(1) == 0:
                pass
        assert await node.reach() == 3
        assert await node.show(ENGINE, "NRestarts") == "1"

        # The agent has it begin anew, through the root helper: it may do nothing to a unit itself.
        pid = await node.show(ENGINE, "MainPID")
        await node.machine.run("systemctl", "kill", "--kill-whom=main", "--signal=USR1", AGENT)
        await node.wait_said("^restarted$")
        assert await node.show(ENGINE, "MainPID") != pid
        await node.wait_said("^event DISCONNECTED silent", times=2)
        await node.begin_anew()
        with trio.fail_after(10):
            while await node.reach(1) == 0:
                pass
        assert await node.reach() == 3

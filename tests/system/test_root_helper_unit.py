"""The root helper under systemd, on a machine: its socket starts it, it serves the agent alone, its rights suffice."""

from __future__ import annotations

import json
import site
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.buoy.roothelper.acts import (
    Act,
    ApplyNetwork,
    Interface,
    RemoveNetwork,
    SetLink,
    Unit,
    UnitAct,
    UnitVerb,
)
from pharos.buoy.roothelper.codec import to_json
from pharos.wire.netpolicy import NetworkPlan
from pharos.wire.netrules import FAMILY, TABLE
from tests.system.lab.commands import CommandError
from tests.system.lab.network import open_lab
from tests.system.lab.relayprocess import ROOT
from tests.system.machines import BOOT_TIMEOUT, POLL_INTERVAL, Machine, open_machine
from tests.system.needs import missing_for_machines
from tests.system.trees import ensure_tree

pytestmark = pytest.mark.system

RELEASE = "bookworm"
HELPER, AWG, REALITY, BUOY = "pharos-buoy-helper", "pharos-awg@awg0", "pharos-reality", "pharos-buoy"
UNITS = ("pharos-buoy-helper.socket", "pharos-buoy-helper.service", "pharos-awg@.service", "pharos-reality.service")
COMMANDS = {
    "pharos-buoy-helper": "pharos.buoy.roothelper.process",
    "pharos-awg": "pharos.wire.awg.process",
    "pharos-reality": "pharos.wire.reality.process",
}
# The package's launcher, on the sources of this checkout: its libraries are those of the Python that runs the tests.
LAUNCHER = """#!/usr/bin/python3
import sys
sys.path[:0] = ["/opt/pharos", "/opt/site"]
from {module} import main
main()
"""
# The agent's part, in one act: what it asks, as JSON, and what it hears.
ASK = """
import json, socket, sys
body = json.dumps(json.loads(sys.argv[1]), sort_keys=True, separators=(",", ":")).encode()
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("/run/pharos-buoy-helper.sock")
    sock.sendall(len(body).to_bytes(4, "big") + body)
    reply = b""
    while len(reply) < 4 or len(reply) < 4 + int.from_bytes(reply[:4], "big"):
        part = sock.recv(65536)
        if not part:
            sys.exit("closed")
        reply += part
print(reply[4:].decode())
"""
# An agent that does nothing but live under the agent's unit.
AGENT = """#!/usr/bin/python3
import os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    while True:
        notify.sendto(b"WATCHDOG=1", os.environ["NOTIFY_SOCKET"])
        time.sleep(5)
"""
# A connection that a user of the machine has accepted; what the helper says to its end, as the agent asks for it.
TALK = """
import json, os, pwd, socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 7000))
far = socket.create_connection(("127.0.0.1", 7000))
os.seteuid(pwd.getpwnam(sys.argv[1]).pw_uid)
near, _ = listener.accept()
os.seteuid(0)
ends = [dict(address=sock[0], port=sock[1]) for sock in (near.getsockname(), near.getpeername())]
act = dict(kind="KillSockets", sockets=[dict(local=ends[0], remote=ends[1])])
ask = ["setpriv", "--reuid=pharos-buoy", "--regid=pharos-buoy", "--clear-groups", "python3", "/usr/local/lib/ask.py"]
said = subprocess.run([*ask, json.dumps(act)], capture_output=True, text=True, check=True).stdout
far.settimeout(1)
try:
    far.recv(1)
    ended = True
except ConnectionResetError:
    ended = True
except TimeoutError:
    ended = False
assert ended == (json.loads(said)["outcome"] == "ok")
print(said)
"""
DONE = {"answer": {"kind": "Done"}, "outcome": "ok", "text": ""}


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@asynccontextmanager
async def installed(folder: Path) -> AsyncIterator[Machine]:
    """Boot a machine with the helper, the engines and an agent on it, as the package lays them out."""
    await ensure_tree(RELEASE)
    binds = [f"{ROOT}/pharos:/opt/pharos/pharos", f"{site.getsitepackages()[0]}:/opt/site"]
    with trio.fail_after(4 * BOOT_TIMEOUT):
        async with open_lab(folder) as lab, open_machine(lab, "buoya", RELEASE, binds=binds) as machine:
            for command, module in COMMANDS.items():
                await machine.put(f"/usr/bin/{command}", LAUNCHER.format(module=module), mode=0o755)
            for name in (*UNITS, "pharos-buoy.service"):
                text = (ROOT / "packaging/systemd" / name).read_text()
                await machine.put(f"/usr/lib/systemd/system/{name}", text)
            for path in (ROOT / "packaging/sysusers.d").glob("*.conf"):
                await machine.put(f"/usr/lib/sysusers.d/{path.name}", path.read_text())
            await machine.put("/usr/lib/tmpfiles.d/pharos-buoy.conf", tmpfiles())
            await machine.put("/usr/bin/buoy", AGENT, mode=0o755)
            await machine.put("/usr/local/lib/ask.py", ASK)
            await machine.put("/var/lib/pharos-buoy/identity.json", "{}")
            await machine.run("systemd-sysusers")
            await machine.run("systemd-tmpfiles", "--create", "pharos-buoy.conf")
            # As udev's own rule has it; nspawn copies the device of its host, which may have no udev.
            await machine.run("chmod", "0666", "/dev/net/tun")
            # nspawn makes it read-only where the network is another namespace's.
            await machine.run("mount", "-o", "remount,bind,rw", "/proc/sys")
            await machine.run("systemctl", "daemon-reload")
            yield machine


def tmpfiles() -> str:
    return (ROOT / "packaging/tmpfiles.d/pharos-buoy.conf").read_text()


def drop_in() -> str:
    """The first of the settings that docs/guide/packages.md tells to write."""
    return (ROOT / "docs/guide/packages.md").read_text().split("```ini\n")[1].split("```")[0]


async def ask(machine: Machine, act: Act, *, user: str = "pharos-buoy", groups: str = "pharos-buoy") -> dict[str, Any]:
    """Ask the helper as a user of the machine, and return its reply.

    Raises: CommandError — there was none.
    """
    words = ["setpriv", f"--reuid={user}", f"--regid={groups}", "--clear-groups"]
    said = await machine.run(*words, "python3", "/usr/local/lib/ask.py", json.dumps(to_json(act, Act)))
    reply: dict[str, Any] = json.loads(said)
    return reply


async def show(machine: Machine, unit: str, name: str) -> str:
    return (await machine.run("systemctl", "show", "--value", f"--property={name}", unit)).strip()


async def wait_for(machine: Machine, unit: str, state: str) -> None:
    """Wait until a unit is in a state; the caller owns the timeout."""
    while True:
        if await show(machine, unit, "ActiveState") == state:
            return
        await trio.sleep(POLL_INTERVAL)


async def wait_table(machine: Machine, table: str) -> None:
    """Wait until the network policy's table reads so again; the caller owns the timeout."""
    while True:
        if await machine.run("nft", "list", "table", FAMILY, TABLE, check=False) == table:
            return
        await trio.sleep(POLL_INTERVAL)


async def test_agent_has_no_right_and_its_helper_serves_nobody_else(tmp_path: Path) -> None:
    async with installed(tmp_path) as machine:
        await machine.run("systemctl", "start", BUOY)
        # The engines and the socket have come along; the helper itself waits to be asked.
        for unit in (f"{HELPER}.socket", AWG, REALITY):
            assert await show(machine, unit, "ActiveState") == "active", unit
        assert await show(machine, HELPER, "ActiveState") == "inactive"
        status = await machine.run("cat", f"/proc/{await show(machine, BUOY, 'MainPID')}/status")
        for name in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
            assert f"Cap{name}:\t{0:016x}" in status

        # Who is in no group of the agent's does not get as far as the helper; who is, is not served.
        restart = UnitAct(Unit.REALITY, UnitVerb.RESTART)
        before = await show(machine, REALITY, "MainPID")
        with pytest.raises(CommandError, match="PermissionError"):
            await ask(machine, restart, user="daemon", groups="daemon")
        assert await show(machine, HELPER, "ActiveState") == "inactive"
        with pytest.raises(CommandError, match=r"closed|ConnectionResetError|BrokenPipeError"):
            await ask(machine, restart, user="daemon")
        assert "uid 1 may not ask for anything" in await machine.run("journalctl", "--no-pager", "-u", HELPER)
        assert await show(machine, REALITY, "MainPID") == before

        # The agent is, and so is root.
        assert await ask(machine, restart) == DONE
        assert await show(machine, REALITY, "MainPID") != before
        assert await ask(machine, restart, user="root", groups="root") == DONE
        status = await machine.run("cat", f"/proc/{await show(machine, HELPER, 'MainPID')}/status")
        # CAP_NET_ADMIN is 12 (capability.h).
        for name in ("Prm", "Eff", "Bnd"):
            assert f"Cap{name}:\t{1 << 12:016x}" in status

        # systemd counts in tenths on this scale; a service that runs scores a little less than its file.
        for unit, exposure in ((HELPER, 15), (BUOY, 13)):
            await machine.run("systemd-analyze", "security", "--no-pager", f"--threshold={exposure}", unit)

        # The engines outlive the agent.
        engines = [await show(machine, unit, "MainPID") for unit in (AWG, REALITY)]
        await machine.run("systemctl", "stop", BUOY)
        assert [await show(machine, unit, "MainPID") for unit in (AWG, REALITY)] == engines

        # With the guide's drop-in it has what an engine inside it needs.
        await machine.put("/etc/systemd/system/pharos-buoy.service.d/embedded.conf", drop_in())
        await machine.run("systemctl", "daemon-reload")
        await machine.run("systemctl", "start", BUOY)
        status = await machine.run("cat", f"/proc/{await show(machine, BUOY, 'MainPID')}/status")
        # CAP_NET_BIND_SERVICE is 10.
        assert f"CapEff:\t{1 << 10:016x}" in status
        await machine.run("systemctl", "stop", BUOY)

        # And the helper ends when nobody asks any more.
        await wait_for(machine, HELPER, "inactive")
        assert await show(machine, HELPER, "Result") == "success"
        assert await ask(machine, restart) == DONE


async def test_helper_may_do_all_its_acts_under_its_unit(tmp_path: Path) -> None:
    async with installed(tmp_path) as machine:
        await machine.run("systemctl", "start", f"{HELPER}.socket", AWG, REALITY)
        link = SetLink(
            interface=Interface.AWG0,
            addresses=(ip_interface("10.7.0.1"), ip_interface("fd07::1")),
            networks=(ip_network("10.7.0.0/16"), ip_network("fd07::/64")),
            mtu=1420,
        )
        assert await ask(machine, link) == DONE
        assert "inet 10.7.0.1/32" in await machine.run("ip", "address", "show", "dev", "awg0")
        assert "fd07::/64 dev awg0" in await machine.run("ip", "-6", "route")

        # Connections of the server's user may be ended, and no others.
        await machine.put("/usr/local/lib/talk.py", TALK)
        for user, outcome in (("pharos-reality", "ok"), ("root", "refused")):
            said = await machine.run("python3", "/usr/local/lib/talk.py", user)
            assert json.loads(said)["outcome"] == outcome, said

        await machine.run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
        plan = NetworkPlan(interfaces=("awg0",), networks=("10.7.0.0/16", "fd07::/64"), addresses=("10.7.0.1",))
        reply = await ask(machine, ApplyNetwork(plan))
        assert (reply["outcome"], reply["answer"]["kind"]) == ("ok", "Applied"), reply
        table = await machine.run("nft", "list", "table", FAMILY, TABLE)
        assert (await machine.run("cat", "/proc/sys/net/ipv4/ip_forward")).strip() == "1"

        # Of the kernel's switches those of the network are the helper's, and no others.
        inside = ["nsenter", f"--target={await show(machine, HELPER, 'MainPID')}", "--mount", "sh", "-c"]
        with pytest.raises(CommandError, match="Read-only file system"):
            await machine.run(*inside, "echo 1 > /proc/sys/vm/drop_caches")
        with pytest.raises(CommandError, match="Read-only file system"):
            await machine.run(*inside, "echo x > /etc/x")

        # Whoever comes after a helper that was killed keeps the policy in force.
        await machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", HELPER)
        await machine.run("nft", "flush", "ruleset")
        await wait_table(machine, table)
        assert await ask(machine, RemoveNetwork()) == DONE
        assert await machine.run("nft", "list", "ruleset") == ""
        assert (await machine.run("cat", "/proc/sys/net/ipv4/ip_forward")).strip() == "0"

        # As the package is removed.
        assert (await ask(machine, ApplyNetwork(plan)))["outcome"] == "ok"
        await machine.run("systemctl", "stop", f"{HELPER}.socket", HELPER)
        assert await machine.run("nft", "list", "ruleset") != ""
        await machine.run("pharos-buoy-helper", "--undo")
        assert await machine.run("nft", "list", "ruleset") == ""
        assert (await machine.run("cat", "/proc/sys/net/ipv4/ip_forward")).strip() == "0"

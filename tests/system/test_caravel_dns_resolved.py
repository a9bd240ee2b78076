"""systemd-resolved itself, on a Debian machine, told whom to ask while a tunnel is up."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from pharos.caravel.system import dnsresolved
from pharos.caravel.system.dnsproxy import ADDRESS
from pharos.caravel.system.dnsresolved import Resolved, revert_link, set_link
from pharos.caravel.system.dnstext import Server, is_stub, read_servers
from pharos.caravel.system.plan import IpAddress, SystemPlan
from tests.system.lab.names import serve_names
from tests.system.lab.network import Lab, open_lab
from tests.system.lab.topology import HOSTS
from tests.system.machines import Machine, open_machine
from tests.system.needs import missing_for_machines
from tests.system.trees import FULL, Recipe

pytestmark = pytest.mark.system

HOST, NEIGHBOUR = "clienta", "beacon"
NEAR = HOSTS[NEIGHBOUR].address4
RESOLVED = Recipe(
    "resolved-",
    tuple(f"{one},systemd-resolved" if one.startswith("--include=") else one for one in FULL.arguments),
)
SERVER: tuple[IpAddress, ...] = SystemPlan(addresses=("10.7.0.2/24",), resolvers=(ADDRESS,)).resolvers


@attrs.frozen(kw_only=True)
class Stage:
    """A machine whose names systemd-resolved looks up, with a TUN's stand-in."""

    machine: Machine
    tunnel: list[str]
    """Names that the tunnel's side was asked for."""
    cable: list[str]
    """Those that the cable's resolver was."""

    async def look_up(self, name: str) -> str:
        """Return what a program of the machine finds."""
        return await self.machine.run("getent", "ahostsv4", name, check=False)


@pytest.fixture(autouse=True)
def needs_machines() -> None:
    if (missing := missing_for_machines()) is not None:
        pytest.skip(missing)


@asynccontextmanager
async def open_stage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    with trio.fail_after(1200):
        async with open_lab(folder) as lab, open_machine(lab, HOST, "bookworm", recipe=RESOLVED) as machine:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    stage = Stage(machine=machine, tunnel=[], cable=[])
                    await _prepare(lab, machine)
                    serve = functools.partial(nursery.start, serve_names)
                    zone = {"in.test": ("A 192.0.2.1",), "printer.corp.test": ("A 192.0.2.2",)}
                    await serve(lab.namespace(HOST), ADDRESS, zone, stage.tunnel)
                    own = {"in.test": ("A 192.0.2.99",), "printer.corp.test": ("A 192.0.2.98",)}
                    await serve(lab.namespace(NEIGHBOUR), NEAR, own, stage.cable)

                    async def run(name: str, *words: str, stdin: str = "") -> str:
                        return await machine.run(name, *words, stdin=stdin)

                    monkeypatch.setattr(dnsresolved, "run_command", run)
                    yield stage
                    nursery.cancel_scope.cancel()


async def _prepare(lab: Lab, machine: Machine) -> None:
    for words in (
        "link add pharos0 type veth peer name far0",
        "link set far0 up",
        "addr add 10.7.0.2/24 dev pharos0",
        "link set pharos0 up",
    ):
        await lab.run(HOST, "ip", *words.split())
    await machine.run("resolvectl", "dns", "eth0", NEAR)
    await machine.run("resolvectl", "domain", "eth0", "corp.test")


async def test_all_names_are_asked_of_the_tunnel_and_afterwards_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage(tmp_path, monkeypatch) as stage:
        assert "192.0.2.99" in await stage.look_up("in.test")
        assert stage.cable.pop() == "in.test"
        await set_link("pharos0", SERVER)
        # What was known is forgotten, too.
        assert "192.0.2.1" in await stage.look_up("in.test")
        await stage.look_up("other.test")
        assert "other.test" in stage.tunnel
        # What the cable's own domain claims is still asked there, and refused by the kill switch's table.
        assert all(name.endswith(".corp.test") for name in stage.cable)
        # Anew, it still knows.
        await stage.machine.run("systemctl", "restart", "systemd-resolved")
        await stage.machine.run("resolvectl", "dns", "eth0", NEAR)
        assert "192.0.2.1" in await stage.look_up("in.test")
        status = await stage.machine.run("resolvectl", "status", "pharos0")
        assert "-LLMNR" in status
        assert "-mDNS" in status
        await revert_link("pharos0")
        assert "192.0.2.99" in await stage.look_up("in.test")
        # A TUN that is gone has taken all along: nothing is left by who is killed.
        await set_link("pharos0", SERVER)
        await stage.machine.run("ip", "link", "del", "pharos0")
        await stage.machine.run("resolvectl", "flush-caches")
        assert "192.0.2.99" in await stage.look_up("in.test")


async def test_names_that_another_interface_claims_are_asked_of_the_tunnel_if_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage(tmp_path, monkeypatch) as stage:
        await set_link("pharos0", SERVER, ["*.corp.test"])
        assert await stage.look_up("printer.corp.test")
        assert "printer.corp.test" in stage.tunnel
        # Of one machine alone, both are asked; that the other's question is refused is the kill switch's business.
        assert set(stage.cable) <= {"printer.corp.test"}


async def test_it_is_found_where_it_runs_and_its_file_names_the_machines_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage(tmp_path, monkeypatch) as stage:
        root = Path(f"/proc/{stage.machine._leader}/root")
        resolved = Resolved(folder=root / "run/systemd/resolve")
        assert await resolved.is_running()
        assert is_stub((resolved.folder / "stub-resolv.conf").read_text())
        await set_link("pharos0", SERVER)
        assert Server(NEAR) in read_servers(resolved.machine_file.read_text())
        await stage.machine.run("systemctl", "stop", "systemd-resolved")
        assert not await resolved.is_running()

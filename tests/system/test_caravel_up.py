"""`caravel up` leads a whole machine through a fleet, and back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.wire.profile import VLESS_REALITY
from tests.support.sites import SITE_NAME, site_context
from tests.system.lab.commands import CommandError
from tests.system.lab.fleet import running_fleet
from tests.system.lab.topology import HOSTS
from tests.system.leaks import Leaks, count_leaks
from tests.system.machinehost import CLIENT, NEIGHBOUR, NODES, MachineHost, open_machine_host
from tests.wire.reality.nodes import Site

pytestmark = pytest.mark.system

FAIL_OVER = 3 * 5
"""Seconds, with slack."""
AWG_PORTS = (443, 2053)
"""The node's own and its spare one."""
TLS_PORT = 443
PATIENCE = 30
SWITCHES = 20
SITE = "clientb"
REALITY_WITHIN = 5
"""Seconds until REALITY carries where AmneziaWG does not, with what a process takes to start."""
NO_UDP = """
table inet block {
  chain input { type filter hook input priority 0; meta l4proto udp drop; }
}
"""


@asynccontextmanager
async def open_host(folder: Path) -> AsyncIterator[MachineHost]:
    async with running_fleet(folder, buoys=NODES, timeout=180) as fleet, open_machine_host(fleet, folder) as host:
        yield host


def leaks_of(host: MachineHost) -> AbstractAsyncContextManager[Leaks]:
    """Count what leaves the machine but to its nodes, and to the relay by which it hears of helm."""
    return count_leaks(
        host.fleet.lab,
        CLIENT,
        nodes=[(HOSTS[node].address4, port) for node in NODES for port in AWG_PORTS],
        streams=[(HOSTS[name].address4, TLS_PORT) for name in (*NODES, NEIGHBOUR)],
    )


async def inner_address(host: MachineHost, name: str) -> str:
    """Return a node's own address inside the tunnel, by the device's own profile: helm is not asked."""
    listed = await host.caravel("profiles", "--no-sync")
    (node,) = [one for one in listed["nodes"] if one["name"] == name]
    return str(node["addresses"][0])


async def test_up_leads_everything_through_a_node_and_down_puts_all_back(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        before = await host.shape()
        process = await host.up()
        status = await host.wait_phase("up")
        assert (status["system"], status["kill_switch"]) == (True, True)
        assert await host.reaches(await inner_address(host, status["name"]))
        assert status["device"] in await host.run("ip", "route", "get", "198.51.100.1")
        examined = await host.run(*host.program("doctor", "--count", "1", "--json"), check=False)
        assert json.loads(examined)["healthy"] is True, examined
        await host.caravel("down")
        with trio.fail_after(PATIENCE):
            assert await process.wait() == 0
        assert await host.shape() == before


async def test_up_returns_when_it_is_up_and_what_was_killed_is_put_back_by_force(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        before = await host.shape()
        status = await host.caravel("up", "--no-lan")
        assert (status["phase"], status["kill_switch"]) == ("up", True)
        await host.run("pkill", "-KILL", "-f", "up --foreground --state " + str(host.state))
        assert not await host.reaches(HOSTS[NEIGHBOUR].address4)
        done = await host.caravel("down", "--force")
        assert done["ended"] is False
        assert done["restored"]
        assert await host.shape() == before
        assert await host.reaches(HOSTS[NEIGHBOUR].address4)


@pytest.mark.parametrize("options", [("--node", "atlantis"), ("--config", "/etc/hostname")])
async def test_a_first_try_that_fails_leaves_the_machine_as_it_was(tmp_path: Path, options: tuple[str, str]) -> None:
    async with open_host(tmp_path) as host:
        before = await host.shape()
        with pytest.raises(CommandError):
            await host.run(*host.program("up", "--foreground", *options))
        assert await host.shape() == before
        assert await host.reaches(HOSTS[NEIGHBOUR].address4)


async def test_a_failure_after_a_crash_leaves_the_machine_held(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        process = await host.up("--no-lan")
        await host.wait_phase("up")
        await process.kill()
        await host.run(*host.program("up", "--foreground", "--node", "atlantis"), check=False)
        assert not await host.reaches(HOSTS[NEIGHBOUR].address4)
        await host.caravel("down", "--force")
        assert await host.reaches(HOSTS[NEIGHBOUR].address4)


async def test_a_node_that_dies_is_left_and_nothing_leaks_meanwhile(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.up()
        first = (await host.wait_phase("up"))["name"]
        async with leaks_of(host) as leaks:
            await host.fleet.processes[first].kill()
            with trio.fail_after(FAIL_OVER):
                while (status := await host.wait_phase("up"))["name"] == first:
                    # Traffic is what shows that somebody is silent.
                    await host.reaches(await inner_address(host, first))
            assert await host.reaches(await inner_address(host, status["name"]))
        assert leaks.count == 0, leaks.found


async def test_it_comes_up_from_what_it_keeps_with_helm_and_every_relay_gone(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        for name in ("helm", "beacon"):
            await host.fleet.processes[name].kill()
        await host.up()
        with trio.fail_after(3 * 3):
            status = await host.wait_phase("up")
        assert await host.reaches(await inner_address(host, status["name"]))


async def test_switches_do_not_leak(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.up()
        await host.wait_phase("up")
        async with leaks_of(host) as leaks:
            for number in range(SWITCHES):
                await host.caravel("switch", NODES[number % 2])
        assert leaks.count == 0, leaks.found
        assert leaks.carried


async def test_network_that_lets_no_udp_through_is_passed_by_reality(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, buoys=(), timeout=180) as fleet, trio.open_nursery() as nursery:
        site = HOSTS[SITE].address4
        listener = await fleet.lab.namespace(SITE).listen(site, TLS_PORT)
        nursery.start_soon(trio.serve_listeners, Site(site_context(SITE_NAME)).serve, [listener])
        targets = {"value": [f"{site}:{TLS_PORT} {SITE_NAME}"]}
        await fleet.ask("PUT", "/api/v1/settings/reality.targets", targets, version=0)
        await fleet.add_buoy(NODES[0])
        await fleet.wait_settled(peers=0)
        await fleet.wait_reality(NODES[0])
        async with open_machine_host(fleet, tmp_path) as host:
            await fleet.lab.run(NODES[0], "nft", "-f", "-", stdin=NO_UDP)
            async with leaks_of(host) as leaks:
                await host.up()
                with trio.fail_after(3 * REALITY_WITHIN):
                    status = await host.wait_phase("up")
                assert status["protocol"] == VLESS_REALITY
            assert leaks.count == 0, leaks.found
        nursery.cancel_scope.cancel()

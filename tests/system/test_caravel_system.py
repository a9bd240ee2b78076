"""System-wide mode: a whole machine in the tunnel, looked at on its cable. Nothing goes beside, whatever happens."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pharos.caravel.system.nft import nft_document
from pharos.caravel.system.plan import SystemPlan
from tests.system.caravelhost import CLIENT, NEIGHBOUR, Stage, leaks_while_switching, open_stage
from tests.system.lab.commands import run_nft
from tests.system.lab.topology import HOSTS
from tests.system.nodes import BEYOND, DEVICE, OWN

pytestmark = pytest.mark.system

SWITCHES = 100
"""As many as take three seconds; the benchmark does five hundred (bench/caravel.py)."""
ENOUGH = 20
"""Packets that an innocent machine sends in less time than a test looks."""
LAN = {CLIENT: "192.168.77.2", NEIGHBOUR: "192.168.77.1"}


async def wait_that(holds: Callable[[], bool]) -> None:
    """Look until it is so."""
    while True:
        if holds():
            return
        await trio.sleep(0.01)


async def wait_until(stage: Stage, what: str, *command: str, there: bool = True) -> None:
    """Wait until a command of the machine says this, or no longer."""
    while True:
        if (what in await stage.lab.run(CLIENT, *command, check=False)) is there:
            return
        await trio.sleep(0.01)


@asynccontextmanager
async def home(stage: Stage) -> AsyncIterator[None]:
    """Have the machine and its neighbour in a private network, as at home, while the block lasts."""
    for host, address in LAN.items():
        await stage.lab.run(host, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
    yield


# -- what goes in, and that nothing goes beside


async def test_nothing_is_seen_beside_the_tunnel_while_nodes_change(tmp_path: Path) -> None:
    leaks = await leaks_while_switching(tmp_path, SWITCHES)
    assert leaks.carried > SWITCHES
    assert not leaks.found


async def test_the_whole_machine_is_in_the_tunnel_and_is_afterwards_as_it_was(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        before = await stage.state()
        machine = await stage.start()
        for address in (*OWN.values(), *BEYOND.values()):
            assert await stage.reaches(address), address
        assert [await machine.tell("switch") for _ in range(3)] == [1, 0, 1]
        for address in (*OWN.values(), *BEYOND.values()):
            assert await stage.reaches(address), address
        await machine.tell("end")
        assert await machine.wait_end() == 0
        assert await stage.state() == before


async def test_without_a_leg_everything_waits_and_nothing_leaves(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        machine = await stage.start()
        async with stage.leaks() as leaks, stage.restless():
            await machine.tell("drop")
            assert not await stage.reaches(BEYOND[4], "-W1")
            assert await machine.tell("switch") == 1
        assert not leaks.found
        assert await stage.reaches(BEYOND[4])


@pytest.mark.parametrize("kill_switch", [True, False], ids=["held", "weakened"])
async def test_a_killed_machine_is_held_even_if_its_rules_are_lost(tmp_path: Path, kill_switch: bool) -> None:
    async with open_stage(tmp_path) as stage:
        before = await stage.state()
        machine = await stage.start(kill_switch=kill_switch)
        async with stage.leaks() as leaks, stage.restless():
            await machine.process.kill()
            # As systemd-networkd does when it starts (networkd.conf(5), ManageForeignRoutingPolicyRules).
            for family in ("-4", "-6"):
                rules = (await stage.lab.run(CLIENT, "ip", family, "rule")).splitlines()
                for rule in rules:
                    if rule.startswith("20"):
                        await stage.lab.run(CLIENT, "ip", family, "rule", "del", "priority", rule.split(":")[0])
            if not kill_switch:
                # Without it, that is what it lets out: the proof that the test sees leaks.
                await wait_that(lambda: leaks.count >= ENOUGH)
                return
            assert not await stage.reaches(HOSTS[NEIGHBOUR].address4)
            again = await stage.start(kill_switch=True)
            assert await stage.reaches(BEYOND[4])
        assert not leaks.found
        await again.tell("end")
        assert await again.wait_end() == 0
        assert await stage.state() == before


async def test_what_was_left_by_a_killed_machine_is_put_back_exactly_when_asked(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        before = await stage.state()
        machine = await stage.start(lan=True, outside=("192.0.2.0/24",))
        await machine.process.kill()
        assert (await stage.state())["nft"] != before["nft"]
        assert sorted(await stage.restore()) == ["nft", "routing", "switch"]
        assert await stage.state() == before
        # Nothing is left to be done a second time.
        assert await stage.restore() == []
        assert await stage.state() == before


async def test_a_machine_that_fails_stays_held_and_one_that_is_asked_to_end_does_not(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        before = await stage.state()
        machine = await stage.start()
        with pytest.raises(ValueError, match="Expecting value"):
            await machine.tell("fail")
        assert await machine.wait_end() == 1
        async with stage.leaks() as leaks, stage.restless():
            assert not await stage.reaches(HOSTS[NEIGHBOUR].address4)
        assert not leaks.found
        # All but the kill switch is as it was.
        assert {**await stage.state(), "nft": ""} == {**before, "nft": ""}
        again = await stage.start()
        await again.tell("release")
        with pytest.raises(ValueError, match="Expecting value"):
            await again.tell("fail")
        assert await again.wait_end() == 1
        assert await stage.state() == before


async def test_a_kill_switch_that_shall_stay_stays_when_the_machine_ends(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        machine = await stage.start(hold=True)
        await machine.tell("end")
        assert await machine.wait_end() == 0
        assert not await stage.reaches(HOSTS[NEIGHBOUR].address4)
        assert await stage.restore() == ["nft"]
        assert await stage.reaches(HOSTS[NEIGHBOUR].address4)


async def test_somebody_who_flushes_the_firewall_or_the_rules_finds_them_up_again(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        await stage.start()
        await stage.lab.run(CLIENT, "nft", "flush", "ruleset")
        await wait_until(stage, "policy drop", "nft", "list", "ruleset")
        await stage.lab.run(CLIENT, "ip", "rule", "del", "priority", "20803")
        await wait_until(stage, "20803:", "ip", "rule")
        await stage.lab.run(CLIENT, "ip", "-6", "route", "flush", "table", "28776")
        await wait_until(stage, "dev pharos0", "ip", "-6", "route", "show", "table", "28776")
        assert await stage.reaches(BEYOND[6])


async def test_two_machines_are_not_in_charge_of_one_network(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        machine = await stage.start()
        second = await stage.start(ready=False)
        assert await second.wait_end() == 1
        said = (tmp_path / f"{CLIENT}-caravel.log").read_text()
        assert (
            f"in charge of this machine's network: {tmp_path / 'run'} is in use by process {machine.process.pid}"
            in said
        )
        assert await stage.reaches(BEYOND[4])


async def test_a_machine_whose_cable_is_pulled_goes_on_when_it_is_back(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        machine = await stage.start()
        async with stage.leaks() as leaks, stage.restless():
            async with stage.lab.cut(CLIENT):
                assert not await stage.reaches(BEYOND[4], "-W1")
            await machine.tell("switch")
            assert await stage.reaches(BEYOND[4])
            assert await stage.reaches(BEYOND[6])
        assert not leaks.found


async def test_a_machine_that_starts_is_held_before_it_has_a_tunnel(tmp_path: Path) -> None:
    # As caravel-boot.service does, with nothing of ours running.
    table = tmp_path / "boot.json"
    table.write_text(json.dumps(nft_document(SystemPlan(addresses=DEVICE))))
    async with open_stage(tmp_path) as stage:
        before = await stage.state()
        async with stage.leaks() as leaks, stage.restless():
            # Whatever was on its way before is out by then.
            await stage.lab.run(CLIENT, "nft", "-j", "-f", str(table))
            leaks.found.clear()
            assert not await stage.reaches(HOSTS[NEIGHBOUR].address4)
            assert not leaks.found
            machine = await stage.start()
            assert await stage.reaches(BEYOND[4])
            await machine.process.kill()
            assert await stage.restore() == ["nft", "routing", "switch"]
        assert await stage.state() == before
        # The boot's is put away by name, although nobody has noted it.
        await stage.lab.run(CLIENT, "nft", "-j", "-f", str(table))
        assert await stage.restore() == ["nft"]
        assert await stage.state() == before


# -- IPv6


async def test_a_node_without_ipv6_leaves_none_to_leak(tmp_path: Path) -> None:
    near = HOSTS[NEIGHBOUR].address6
    async with open_stage(tmp_path) as stage:
        assert await stage.reaches(near)
        await stage.start(addresses=DEVICE[:1])
        async with stage.leaks() as leaks, stage.restless():
            # Programs are told at once, and take IPv4.
            with pytest.raises(OSError, match=r"route to host|unreachable"):
                await stage.lab.namespace(CLIENT).connect(near, 443)
            assert await stage.reaches(BEYOND[4])
        assert not leaks.found


# -- the LAN


@pytest.mark.parametrize("lan", [False, True], ids=["closed", "open"])
async def test_the_lan_is_reached_if_that_is_allowed_but_never_for_names(tmp_path: Path, lan: bool) -> None:
    async with open_stage(tmp_path) as stage, home(stage):
        await stage.start(lan=lan)
        near = LAN[NEIGHBOUR]
        assert await stage.reaches(near) is lan
        # A public address is none of a LAN, even if it is on the same link; and names are asked of the tunnel.
        async with stage.leaks() as leaks, stage.restless(near):
            assert not await stage.reaches(HOSTS[NEIGHBOUR].address4)
            await trio.sleep(0.2)
        beside = [what for what in leaks.found if near not in what]
        assert not beside
        assert not [what for what in leaks.found if what.endswith(("port 53", "port 853"))]
        assert bool(leaks.found) is lan


async def test_a_lan_cannot_claim_the_internet_or_the_tunnels_own_addresses(tmp_path: Path) -> None:
    # CVE-2024-3661 and CVE-2023-36672: what a DHCP server may hand out.
    async with open_stage(tmp_path) as stage, home(stage):
        await stage.start(lan=True, resolvers=("10.9.9.9",))
        for network in ("0.0.0.0/1", "128.0.0.0/1", "198.51.100.0/24", "10.7.0.0/25", "10.9.9.9/32"):
            await stage.lab.run(CLIENT, "ip", "route", "add", network, "via", LAN[NEIGHBOUR], "dev", "eth0")
        async with stage.leaks() as leaks, stage.restless("10.9.9.9", OWN[4]):
            assert await stage.reaches(BEYOND[4])
            assert await stage.reaches(OWN[4])
        assert not leaks.found


async def test_nobody_on_the_lan_speaks_to_the_tunnels_address(tmp_path: Path) -> None:
    # CVE-2019-14899.
    async with open_stage(tmp_path) as stage, home(stage):
        await stage.start(lan=True)
        own = DEVICE[0].partition("/")[0]
        await stage.lab.run(NEIGHBOUR, "ip", "route", "add", own, "via", LAN[CLIENT])
        said = await stage.lab.run(NEIGHBOUR, "ping", "-n", "-c2", "-i0.2", "-W1", own, check=False)
        assert "100% packet loss" in said


# -- what is let through on purpose


async def test_named_networks_go_by_the_machines_own_way(tmp_path: Path) -> None:
    near = HOSTS[NEIGHBOUR]
    async with open_stage(tmp_path) as stage:
        machine = await stage.start(outside=(f"{near.address4}/32", f"{near.address6}/128"))
        for address in (near.address4, near.address6):
            assert await stage.reaches(address)
        assert await stage.reaches(BEYOND[4])
        async with stage.leaks() as leaks, stage.restless():
            await machine.tell("switch")
            assert not await stage.reaches(HOSTS["clientb"].address4)
        assert {what.split()[3] for what in leaks.found} == {near.address4, near.address6}


async def test_only_named_networks_go_in_if_others_shall_not(tmp_path: Path) -> None:
    near = HOSTS[NEIGHBOUR]
    async with open_stage(tmp_path) as stage:
        machine = await stage.start(routes=("198.51.100.0/24",), guard_dns=False)
        assert await stage.reaches(near.address4)
        assert await stage.reaches(BEYOND[4])
        await machine.process.kill()
        async with stage.leaks() as leaks, stage.restless():
            assert await stage.reaches(near.address4)
            assert not await stage.reaches(BEYOND[4])
        assert not [what for what in leaks.found if BEYOND[4] in what]


@pytest.mark.parametrize("served", [True, False])
async def test_a_served_port_is_reached_from_outside_and_answers_there(tmp_path: Path, served: bool) -> None:
    host = HOSTS[CLIENT]
    async with open_stage(tmp_path) as stage:
        space, stranger = stage.lab.namespace(CLIENT), stage.lab.namespace(NEIGHBOUR)
        for family in (4, 6):
            async with await space.listen(host.address(family), 22) as listener:
                if family == 4:
                    # Whatever a distribution has set: a strict filter must not lose what comes in.
                    await stage.lab.run(CLIENT, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
                    await stage.start(serve=(22,) if served else ())
                with trio.move_on_after(1.0 if not served else 10.0) as waiting:
                    async with await stranger.connect(host.address(family), 22) as stream:
                        async with await listener.accept() as inside:
                            await inside.send_all(b"SSH-2.0-")
                            assert await stream.receive_some() == b"SSH-2.0-"
                assert waiting.cancelled_caught is not served
        async with stage.leaks() as leaks:
            with await space.socket(socket.AF_INET) as sock:
                # To dial from such a port leads no further than others do.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                await sock.bind(("", 22))
                with trio.move_on_after(0.5):
                    await sock.connect((HOSTS[NEIGHBOUR].address4, 4444))
        assert not leaks.found


async def test_people_log_in_to_a_network_only_while_that_is_allowed(tmp_path: Path) -> None:
    near = HOSTS[NEIGHBOUR].address4
    fetch = f"import os,socket;os.setuid(%d);s=socket.socket();s.settimeout(1);s.connect(({near!r},80));s.recv(5)"

    async with open_stage(tmp_path) as stage:
        machine = await stage.start()

        async def fetches(user: int) -> bool:
            said = await stage.lab.run(CLIENT, sys.executable, "-c", fetch % user + ";print('in')", check=False)
            return "in" in said

        async with await stage.lab.namespace(NEIGHBOUR).listen(near, 80) as listener, trio.open_nursery() as nursery:

            async def greet() -> None:
                while True:
                    async with await listener.accept() as stream:
                        await stream.send_all(b"login")

            nursery.start_soon(greet)
            assert not await fetches(1000)
            await machine.tell("portal")
            await wait_until(stage, "skuid", "nft", "list", "ruleset")
            assert await fetches(1000)
            # Daemons have nothing to log in to.
            assert not await fetches(0)
            # Whoever is asked for a name, this network's own router says it, and is taken for whom was asked.
            with await stage.lab.namespace(NEIGHBOUR).socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
                await resolver.bind((near, 53))
                with await stage.lab.namespace(CLIENT).socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                    await asker.connect((OWN[4], 53))
                    await asker.send(b"where?")
                    with trio.fail_after(10):
                        said, source = await resolver.recvfrom(100)
                        await resolver.sendto(b"here", source)
                        assert (said, await asker.recv(100)) == (b"where?", b"here")
            await machine.tell("no portal")
            await wait_until(stage, "skuid", "nft", "list", "ruleset", there=False)
            assert not await fetches(1000)
            nursery.cancel_scope.cancel()


async def test_guests_of_the_machine_are_in_the_tunnel_too(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        run = stage.lab.run
        guest = await stage.lab.start(CLIENT, "unshare", "--net", "sleep", "60", name="guest")
        # Before it is a guest's, its process is in our own network, then in the machine's.
        await wait_that(lambda: Path(f"/proc/{guest.pid}/comm").read_text() == "sleep\n")
        inside = ("nsenter", f"--net=/proc/{guest.pid}/ns/net", "--")
        await run(
            CLIENT, "ip", "link", "add", "docker0", "type", "veth", "peer", "name", "eth0", "netns", str(guest.pid)
        )
        await run(CLIENT, "ip", "addr", "add", "172.17.0.1/16", "dev", "docker0")
        await run(CLIENT, "ip", "link", "set", "docker0", "up")
        await run(CLIENT, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for words in ("addr add 172.17.0.2/16 dev eth0", "link set eth0 up", "route add default via 172.17.0.1"):
            await run(CLIENT, *inside, "ip", *words.split())
        await run_nft(
            stage.lab.namespace(CLIENT).name,
            "table ip docker { chain post { type nat hook postrouting priority 100;"
            ' ip saddr 172.17.0.0/16 oifname != "docker0" masquerade; }; }',
        )
        # Without the LAN a guest is not even answered by the machine: it is one.
        machine = await stage.start(lan=True)
        assert " 1 received" in await run(CLIENT, *inside, "ping", "-n", "-c1", "-W2", BEYOND[4], check=False)
        await machine.process.kill()
        async with stage.leaks() as leaks:
            near = HOSTS[NEIGHBOUR].address4
            assert " 0 received" in await run(CLIENT, *inside, "ping", "-n", "-c2", "-i0.2", "-W1", near, check=False)
        assert not leaks.found


async def test_the_tunnel_fits_the_way_out(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        machine = await stage.start(padding=20)
        assert "mtu 1400" in await stage.lab.run(CLIENT, "ip", "link", "show", "pharos0")
        await stage.lab.run(CLIENT, "ip", "link", "set", "eth0", "mtu", "1400")
        await wait_until(stage, "mtu 1300", "ip", "link", "show", "pharos0")
        await machine.tell("switch")
        assert await stage.reaches(BEYOND[4], "-s", "1272", "-M", "do")


async def test_a_lease_is_renewed_beside_the_tunnel(tmp_path: Path) -> None:
    near = HOSTS[NEIGHBOUR].address4
    async with open_stage(tmp_path) as stage:
        await stage.start()
        with (
            await stage.lab.namespace(NEIGHBOUR).socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
            await stage.lab.namespace(CLIENT).socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            await server.bind((near, 67))
            await client.bind(("", 68))
            async with stage.leaks() as leaks:
                await client.sendto(b"request", (near, 67))
                with trio.fail_after(10):
                    said, source = await server.recvfrom(100)
                    await server.sendto(b"ack", source)
                    assert (said, await client.recv(100)) == (b"request", b"ack")
        assert source[0] == HOSTS[CLIENT].address4
        assert not leaks.found

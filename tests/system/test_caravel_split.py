"""Split tunnels on a real kernel: what is named goes to its side, everything else to the other, seen by who answers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.system.caravelhost import CLIENT, NEIGHBOUR
from tests.system.lab.commands import run_nft
from tests.system.lab.topology import HOSTS
from tests.system.nodes import BEYOND
from tests.system.splithost import PLACES, SplitStage, open_split_stage

pytestmark = pytest.mark.system

USER = 12345
"""Who is nobody's else."""
VIDEO = {"video.test": ("A 192.0.2.80", "AAAA 2001:db8:80::80")}
BY_ALIAS = {
    "www.video.test": ("CNAME edge.cdn.test.",),
    "edge.cdn.test": ("CNAME pop7.cdn.test.",),
    "pop7.cdn.test": VIDEO["video.test"],
}
BY_HINT = {"video.test": ("HTTPS 1 svc.cdn.test. ipv4hint=192.0.2.80",), "svc.cdn.test": VIDEO["video.test"]}


async def wait_side(stage: SplitStage, side: str, *, words: tuple[str, ...] = ()) -> None:
    """Wait until a program of the machine goes to this side."""
    while True:
        if await stage.side(PLACES[4], words=words) == side:
            return
        await trio.sleep(0.05)


def turned(mode: str) -> tuple[str, str]:
    """Return where what is named goes, and where everything else does."""
    return ("outside", "inside") if mode == "exclude" else ("inside", "outside")


# -- by user, control group and network


@pytest.mark.parametrize("mode", ["exclude", "include"])
async def test_a_named_user_goes_to_its_side_and_everybody_else_to_the_other(tmp_path: Path, mode: str) -> None:
    named, others = turned(mode)
    async with open_split_stage(tmp_path) as stage:
        before = await stage.stage.state()
        machine = await stage.start({"mode": mode, "users": [USER]})
        # As strict as a distribution may have it: what comes back is not lost.
        await stage.stage.lab.run(CLIENT, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
        for address in PLACES.values():
            assert await stage.side(address, uid=USER) == named
            assert await stage.side(address, uid=USER + 1) == others
        await machine.tell("end")
        assert await machine.wait_end() == 0
        assert await stage.stage.state() == before


@pytest.mark.parametrize("mode", ["exclude", "include"])
async def test_a_named_network_goes_to_its_side_and_everything_else_to_the_other(tmp_path: Path, mode: str) -> None:
    named, others = turned(mode)
    near = HOSTS[NEIGHBOUR].address4
    async with open_split_stage(tmp_path) as stage:
        await stage.start({"mode": mode, "routes": ["192.0.2.80/32", "2001:db8:80::/64"]})
        for address in PLACES.values():
            assert await stage.side(address) == named
        # The node does not know the neighbour; the internet beyond it is known to nobody else.
        assert await stage.stage.reaches(near) is (others == "outside")
        assert await stage.stage.reaches(BEYOND[4]) is (others == "inside")


async def test_networks_go_in_along_with_a_user(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path) as stage:
        await stage.start({"mode": "include", "users": [USER], "routes": ["2001:db8:80::/64"]})
        assert await stage.side(PLACES[4], uid=USER) == "inside"
        assert await stage.side(PLACES[4]) == "outside"
        assert await stage.side(PLACES[6]) == "inside"


@asynccontextmanager
async def control_group(stage: SplitStage, name: str) -> AsyncIterator[tuple[str, ...]]:
    """Have a control group while the block lasts; yield the words that run a command in it."""
    path = f"/sys/fs/cgroup/{name}"
    await stage.run("mkdir", path)
    try:
        yield "sh", "-c", f'echo $$ > {path}/cgroup.procs && exec "$@"', "sh"
    finally:
        with trio.CancelScope(shield=True):
            await stage.run("rmdir", path)


async def test_programs_of_a_control_group_go_outside_even_if_it_is_made_anew(tmp_path: Path) -> None:
    group = f"pharos-test-{os.getpid()}.slice"
    async with open_split_stage(tmp_path) as stage:
        # It is not there yet.
        await stage.start({"mode": "exclude", "cgroups": [f"/{group}", "nobody.slice"]})
        for _ in range(2):
            async with control_group(stage, group) as words:
                with trio.fail_after(10):
                    await wait_side(stage, "outside", words=words)
                assert await stage.side(PLACES[6], words=words) == "outside"
                assert await stage.side(PLACES[4]) == "inside"


async def test_somebody_who_removes_the_table_finds_it_up_again(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path) as stage:
        await stage.start({"mode": "exclude", "users": [0]})
        await stage.stage.lab.run(CLIENT, "nft", "delete", "table", "inet", "pharos-caravel-split")
        with trio.fail_after(10):
            await wait_side(stage, "outside")


# -- by name


@pytest.mark.parametrize(
    ("domain", "zone"), [("video.test", VIDEO), ("*.video.test", BY_ALIAS), ("video.test", BY_HINT)]
)
@pytest.mark.parametrize("mode", ["exclude", "include"])
async def test_a_named_domain_goes_to_its_side_from_the_first_packet_on(
    tmp_path: Path, mode: str, domain: str, zone: dict[str, tuple[str, ...]]
) -> None:
    named, others = turned(mode)
    own = {"own.test": ("A 192.0.2.80",)}
    async with open_split_stage(tmp_path, inside=zone, outside=own) as stage:
        await stage.start({"mode": mode, "domains": [domain]})
        # By its number alone nobody knows yet that it is meant.
        assert await stage.side(PLACES[4]) == others
        if zone is BY_HINT:
            assert "192.0.2.80" in await stage.ask("127.112.104.53", "video.test", "HTTPS")
            assert await stage.side("svc.cdn.test") == named
        else:
            assert await stage.side(next(iter(zone))) == named
        for address in PLACES.values():
            assert await stage.side(address) == named
        # Names that are meant are asked where an answer can be believed; of others each side knows its own.
        assert set(zone) & set(stage.inside)
        assert not set(zone) & set(stage.outside)
        assert bool(await stage.look_up("own.test")) is (mode == "include")


async def test_excluded_names_of_a_lan_are_asked_of_its_own_resolver_if_that_is_wanted(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, outside={"nas.lan": ("A 192.0.2.80",)}) as stage:
        await stage.start({"mode": "exclude", "domains": ["lan"], "own_resolvers": True})
        assert await stage.side("nas.lan") == "outside"
        assert "nas.lan" in stage.outside
        assert "nas.lan" not in stage.inside
        assert await stage.look_up("elsewhere.test") == ""
        assert "elsewhere.test" in stage.inside
        assert "elsewhere.test" not in stage.outside


async def test_long_answers_come_by_tcp(tmp_path: Path) -> None:
    zone = {"many.test": (*(f"A 192.0.2.{number}" for number in range(1, 60)), "A 192.0.2.80")}
    async with open_split_stage(tmp_path, inside=zone) as stage:
        await stage.start({"mode": "exclude", "domains": ["many.test"]})
        assert "192.0.2.59" in await stage.look_up("many.test")
        assert await stage.side(PLACES[4]) == "outside"


async def test_a_connection_stays_where_it_began(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, inside=VIDEO) as stage:
        await stage.start({"mode": "exclude", "domains": ["video.test"]})
        lab = stage.stage.lab
        async with await lab.namespace("buoya").listen(PLACES[4], 4000) as listener:
            near = await lab.namespace(CLIENT).connect(PLACES[4], 4000)
            async with near, await listener.accept() as far:
                assert await stage.side("video.test") == "outside"
                await near.send_all(b"still here")
                with trio.fail_after(10):
                    assert await far.receive_some() == b"still here"
        # A new one goes by what is known now.
        with pytest.raises(OSError):
            await lab.namespace(CLIENT).connect(PLACES[4], 4000)


async def guest_of(stage: SplitStage) -> tuple[str, ...]:
    """Have a guest on the machine, as a container is; return the words that run a command in it."""
    lab = stage.stage.lab
    holder = await lab.start(CLIENT, "unshare", "--net", "sleep", "600", name="guest")
    while (await trio.Path(f"/proc/{holder.pid}/comm").read_text()).strip() != "sleep":  # noqa: ASYNC110
        await trio.sleep(0.01)
    inside = ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--")
    pair = f"link add docker0 type veth peer name eth0 netns {holder.pid}"
    for words in (pair, "addr add 172.17.0.1/16 dev docker0", "link set docker0 up"):
        await lab.run(CLIENT, "ip", *words.split())
    for words in ("addr add 172.17.0.2/16 dev eth0", "link set eth0 up", "route add default via 172.17.0.1"):
        await lab.run(CLIENT, *inside, "ip", *words.split())
    await lab.run(CLIENT, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    chain = "type nat hook postrouting priority 100\n  ip saddr 172.17.0.0/16 oifname != docker0 masquerade"
    await run_nft(lab.namespace(CLIENT).name, f"table ip docker {{\n chain post {{\n  {chain}\n }}\n}}\n")
    return inside


async def test_guests_of_the_machine_go_where_its_names_go(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, inside=VIDEO) as stage:
        inside = await guest_of(stage)
        await stage.start({"mode": "exclude", "domains": ["video.test"]}, lan=True)
        assert await stage.side(PLACES[4], words=inside) == "inside"
        assert await stage.look_up("video.test")
        assert await stage.side(PLACES[4], words=inside) == "outside"


# -- when it ends


async def test_what_alone_goes_in_goes_nowhere_when_the_machine_is_killed(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, inside=VIDEO) as stage:
        before = await stage.stage.state()
        machine = await stage.start({"mode": "include", "domains": ["video.test"], "users": [USER]})
        assert await stage.side("video.test") == "inside"
        await machine.process.kill()
        assert await stage.side(PLACES[4]) == ""
        assert await stage.side(PLACES[6], uid=USER) == ""
        # The next one knows what the last one held.
        again = await stage.start({"mode": "include", "domains": ["video.test"], "users": [USER]})
        assert await stage.side(PLACES[4]) == "inside"
        await again.process.kill()
        assert sorted(await stage.restore()) == ["nft", "resolv.conf", "routing", "split", "switch"]
        assert await stage.stage.state() == before
        assert await stage.side(PLACES[4]) == "outside"


async def test_the_proof_sees_what_leaks_where_the_table_is_lost(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path) as stage:
        machine = await stage.start({"mode": "include", "users": [USER]})
        await machine.process.kill()
        assert await stage.side(PLACES[4], uid=USER) == ""
        await stage.stage.lab.run(CLIENT, "nft", "delete", "table", "inet", "pharos-caravel-split")
        assert await stage.side(PLACES[4], uid=USER) == "outside"


async def test_what_an_earlier_plan_excluded_goes_in_with_the_next(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, inside=VIDEO) as stage:
        lab = stage.stage.lab
        machine = await stage.start({"mode": "exclude", "domains": ["video.test"]})
        async with await lab.namespace(NEIGHBOUR).listen(PLACES[4], 4000) as listener:
            await stage.look_up("video.test")
            async with await lab.namespace(CLIENT).connect(PLACES[4], 4000) as near, await listener.accept() as far:
                await near.send_all(b"outside")
                assert await far.receive_some() == b"outside"
                await machine.process.kill()
                await stage.start({"mode": "exclude", "users": [USER]})
                async with stage.stage.leaks() as leaks:
                    await near.send_all(b"where?")
                    await trio.sleep(0.5)
        assert not leaks.found


async def test_the_rest_of_the_kill_switch_holds_beside_what_is_excluded(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, inside=VIDEO) as stage:
        machine = await stage.start({"mode": "exclude", "domains": ["video.test"], "users": [USER]})
        assert await stage.side("video.test") == "outside"
        async with stage.stage.leaks() as leaks, stage.stage.restless():
            await machine.tell("switch")
            await machine.tell("drop")
            assert not await stage.stage.reaches(BEYOND[4], "-W1")
        assert not leaks.found
        assert await stage.side(PLACES[4], uid=USER) == "outside"

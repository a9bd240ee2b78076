"""The machine's DNS while a tunnel is up: who is asked, that nobody else is, and that all is as it was afterwards."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import trio

from tests.system.caravelhost import CLIENT, NEIGHBOUR
from tests.system.lab.topology import HOSTS
from tests.system.nodes import OWN
from tests.system.splithost import SplitStage, open_split_stage

pytestmark = pytest.mark.system

NEAR = HOSTS[NEIGHBOUR].address4
BEFORE = f"# by hand\nsearch corp.test\nnameserver {NEAR}\noptions timeout:1 trust-ad\n"


async def ask_by_all_means(stage: SplitStage) -> None:
    """Have programs of the machine ask its own resolver, and others, in every way there is."""
    async with trio.open_nursery() as nursery:
        for server in (NEAR, "8.8.8.8", HOSTS[NEIGHBOUR].address6):
            own = HOSTS[CLIENT].address(6 if ":" in server else 4)
            for way in ({}, {"tcp": True}, {"source": own}, {"tcp": True, "port": 853}, {"uid": 12345}):
                nursery.start_soon(functools.partial(stage.ask, server, "leak.test", **way))


def names_of(leaks: dict[str, int]) -> list[str]:
    return [what for what in leaks if what.endswith((" port 53", " port 853"))]


@pytest.mark.parametrize("kill_switch", [True, False], ids=["held", "loose"])
async def test_no_question_leaves_beside_the_tunnel(tmp_path: Path, kill_switch: bool) -> None:
    async with open_split_stage(tmp_path, inside={"in.test": ("A 192.0.2.80",)}, resolv_conf=BEFORE) as stage:
        machine = await stage.start(kill_switch=kill_switch, lan=True)
        async with stage.stage.leaks() as leaks, stage.stage.restless():
            assert await stage.look_up("in.test") == "['192.0.2.80']"
            await ask_by_all_means(stage)
            await machine.tell("drop")
            await ask_by_all_means(stage)
        assert not names_of(leaks.found)
        assert stage.outside == []
        # The network's own domain is no part of what is asked.
        assert set(stage.inside) == {"in.test"}


async def test_the_proof_sees_questions_where_nothing_refuses_them(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, resolv_conf=BEFORE) as stage:
        machine = await stage.start(kill_switch=False, guard_dns=False)
        async with stage.stage.leaks() as leaks:
            # A route that a network hands out is enough.
            await stage.stage.lab.run(CLIENT, "ip", "rule", "add", "to", NEAR, "priority", "100", "lookup", "main")
            await stage.look_up("leak.test")
            await ask_by_all_means(stage)
        assert names_of(leaks.found)
        assert "leak.test" in stage.outside
        await machine.tell("end")


async def test_resolv_conf_is_ours_while_it_lasts_and_then_as_it_was(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, resolv_conf=BEFORE) as stage:
        file = tmp_path / "etc" / "resolv.conf"
        file.chmod(0o640)
        os.chown(file, 0, 12345)
        machine = await stage.start()
        text = await stage.cat("/etc/resolv.conf")
        assert f"nameserver {OWN[4]}\n" in text
        assert "options timeout:1\n" in text
        assert NEAR not in text
        assert "corp.test" not in text
        assert (file.stat().st_mode & 0o7777, file.stat().st_gid) == (0o644, 0)
        await machine.tell("end")
        assert await machine.wait_end() == 0
        assert file.read_text() == BEFORE
        assert (file.stat().st_mode & 0o7777, file.stat().st_gid) == (0o640, 12345)
        assert [one.name for one in (tmp_path / "etc").glob(".resolv*")] == []


async def test_a_link_is_put_back_as_a_link_after_a_kill(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path) as stage:
        link = tmp_path / "etc" / "resolv.conf"
        link.unlink()
        link.symlink_to("managed/resolv.conf")
        (tmp_path / "etc" / "managed").mkdir()
        (tmp_path / "etc" / "managed" / "resolv.conf").write_text(BEFORE)
        machine = await stage.start()
        assert not link.is_symlink()
        await machine.process.kill()
        assert f"nameserver {OWN[4]}\n" in link.read_text()
        assert "resolv.conf" in await stage.restore()
        assert os.readlink(link) == "managed/resolv.conf"  # noqa: PTH115
        assert (tmp_path / "etc" / "managed" / "resolv.conf").read_text() == BEFORE
        assert await stage.restore() == []


async def wait_text(stage: SplitStage, text: str) -> None:
    while True:
        if text in await stage.cat("/etc/resolv.conf"):
            return
        await trio.sleep(0.02)


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
async def test_what_a_dhcp_client_writes_meanwhile_is_what_is_put_back(tmp_path: Path, killed: bool) -> None:
    theirs = "# by a DHCP client\nnameserver 203.0.113.99\n"
    async with open_split_stage(tmp_path, inside={"in.test": ("A 192.0.2.80",)}, resolv_conf=BEFORE) as stage:
        machine = await stage.start()
        await stage.run("sh", "-c", 'printf "$1" > /etc/new && mv /etc/new /etc/resolv.conf', "sh", theirs)
        with trio.fail_after(10):
            await wait_text(stage, OWN[4])
        assert await stage.look_up("in.test")
        if killed:
            await machine.process.kill()
            await stage.restore()
        else:
            await machine.tell("end")
            assert await machine.wait_end() == 0
        assert await stage.cat("/etc/resolv.conf") == theirs


async def test_what_somebody_wrote_after_a_kill_is_left_as_it_is(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, resolv_conf=BEFORE) as stage:
        machine = await stage.start()
        await machine.process.kill()
        (tmp_path / "etc" / "resolv.conf").write_text("nameserver 203.0.113.99\n")
        await stage.restore()
        assert await stage.cat("/etc/resolv.conf") == "nameserver 203.0.113.99\n"


async def test_a_file_that_is_mounted_by_itself_is_written_in_its_place(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, resolv_conf=BEFORE) as stage:
        # As container engines do.
        await stage.run("sh", "-c", "cp /etc/resolv.conf /etc/own && mount --bind /etc/own /etc/resolv.conf")
        machine = await stage.start()
        assert OWN[4] in await stage.cat("/etc/resolv.conf")
        await machine.process.kill()
        await stage.restore()
        assert await stage.cat("/etc/resolv.conf") == BEFORE


async def test_names_are_found_by_ipv6_alone(tmp_path: Path) -> None:
    async with open_split_stage(tmp_path, resolv_conf=BEFORE) as stage:
        await stage.start(resolvers=[OWN[6], "203.0.113.1"], addresses=["fd07::2/64"])
        text = await stage.cat("/etc/resolv.conf")
        assert f"nameserver {OWN[6]}\n" in text
        # What the tunnel does not carry would be asked in vain.
        assert "203.0.113.1" not in text


async def test_questions_of_a_split_tunnel_do_not_leave_either(tmp_path: Path) -> None:
    zone = {"in.test": ("A 192.0.2.80",), "video.test": ("A 192.0.2.81",)}
    async with open_split_stage(tmp_path, inside=zone, resolv_conf=BEFORE) as stage:
        await stage.start({"mode": "exclude", "domains": ["video.test"], "users": [12345]})
        async with stage.stage.leaks() as leaks:
            assert await stage.look_up("in.test")
            assert await stage.look_up("video.test")
            # Who goes outside himself asks the machine's resolver as everybody does.
            assert await stage.ask("127.112.104.53", "video.test", uid=12345) == "192.0.2.81"
        assert not names_of(leaks.found)
        assert stage.outside == []

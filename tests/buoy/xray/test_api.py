from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio
import trio.testing

from pharos.buoy.dataplane.base import EngineError
from pharos.buoy.xray.api import MAX_IN_FLIGHT, TagUnknownError, Traffic, XrayApi, open_api
from pharos.buoy.xray.files import keep_config, write_candidate
from pharos.buoy.xray.model import spell_user_id
from pharos.buoy.xray.version import Abilities, Call
from tests.buoy.xray.double import FakeXray
from tests.buoy.xray.rig import ALICE, BOB, config, user, users

ONLINE = "/xray.app.stats.command.StatsService/GetStatsOnlineIpList"


@contextlib.asynccontextmanager
async def speaking(tmp_path: Path, abilities: Abilities | None = None) -> AsyncIterator[tuple[FakeXray, XrayApi, str]]:
    xray, wanted = FakeXray(tmp_path), config(tmp_path, users=users(ALICE))
    write_candidate(wanted)
    keep_config(wanted)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(xray.run)
            await xray.restart()
            await trio.testing.wait_all_tasks_blocked()
            async with open_api(wanted.api, abilities or Abilities((26, 3, 27))) as api:
                yield xray, api, wanted.tags()[0]
            nursery.cancel_scope.cancel()


async def test_users_are_listed_with_their_ids(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (_, api, tag):
        assert await api.list_users(tag) == {"alice": spell_user_id(ALICE.user_id)}


async def test_users_come_with_vision_and_go(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (xray, api, tag):
        await api.add_user(tag, BOB)
        assert xray.users[tag]["bob"].flow == "xtls-rprx-vision"
        assert xray.users[tag]["bob"].id == spell_user_id(BOB.user_id)
        await api.remove_user(tag, ALICE.device_id)
        assert list(xray.users[tag]) == ["bob"]


async def test_what_was_so_already_is_done(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (xray, api, tag):
        await api.add_user(tag, ALICE)
        await api.remove_user(tag, BOB.device_id)
        assert xray.asked == [("add", "alice"), ("remove", "bob")]


async def test_a_user_whose_id_changed_is_removed_before_he_is_added(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (xray, api, tag):
        await api.change_users(tag, remove=[ALICE.device_id], add=[user("alice", 7)])
        assert xray.asked == [("remove", "alice"), ("add", "alice")]
        assert xray.users[tag]["alice"].id == spell_user_id(user("alice", 7).user_id)


async def test_an_inbound_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (_, api, _):
        for verb in (
            lambda: api.list_users("reality-0-0"),
            lambda: api.remove_user("reality-0-0", BOB.device_id),
            lambda: api.change_users("reality-0-0", remove=[], add=[BOB]),
        ):
            with pytest.raises(TagUnknownError):
                await verb()


async def test_any_other_failure_is_told(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (xray, api, tag):
        xray.fails = "proxy is not a UserManager"
        with pytest.raises(EngineError, match="UserManager"):
            await api.change_users(tag, remove=[ALICE.device_id], add=[BOB])
        assert xray.asked == []


async def test_many_changes_are_made_a_few_at_a_time(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (xray, api, tag):
        many = [user(f"device-{number}", number) for number in range(10, 310)]
        await api.change_users(tag, remove=[], add=many)
        assert len(xray.users[tag]) == 301
        assert 1 < xray.most_in_flight <= MAX_IN_FLIGHT


async def test_traffic_is_read_and_never_reset(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (xray, api, _):
        xray.traffic = {
            "user>>>alice>>>traffic>>>uplink": 5,
            "user>>>alice>>>traffic>>>downlink": 7,
            "user>>>bob>>>traffic>>>downlink": 9,
            "user>>>bob>>>online": 1,
            "inbound>>>x>>>traffic>>>uplink": 1,
        }
        assert await api.read_traffic() == {"alice": Traffic(5, 7), "bob": Traffic(0, 9)}
        assert await api.read_traffic() == {"alice": Traffic(5, 7), "bob": Traffic(0, 9)}


async def test_where_users_are_is_asked_only_where_it_is_known(tmp_path: Path) -> None:
    async with speaking(tmp_path) as (xray, api, _):
        xray.addresses = {"alice": ["203.0.113.7", "2001:db8::1"]}
        assert await api.read_addresses(ALICE.device_id) == {ip_address("203.0.113.7"), ip_address("2001:db8::1")}
        assert await api.read_addresses(BOB.device_id) == set()
    async with speaking(tmp_path, Abilities((25, 2, 17))) as (xray, api, _):
        xray.addresses = {"alice": ["203.0.113.7"]}
        assert await api.read_addresses(ALICE.device_id) == set()


async def test_a_call_that_is_unknown_is_not_tried_twice(tmp_path: Path) -> None:
    abilities = Abilities((26, 3, 27))
    async with speaking(tmp_path, abilities) as (xray, _, _):
        xray.unknown = {ONLINE}
        async with open_api(tmp_path / "api.sock", abilities) as api:
            assert abilities.has(Call.ONLINE_ADDRESSES)
            assert await api.read_addresses(ALICE.device_id) == set()
            assert not abilities.has(Call.ONLINE_ADDRESSES)


async def test_an_xray_that_is_not_there_or_goes_is_an_engine_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no Xray"):
        async with open_api(tmp_path / "nothing.sock", Abilities((26, 3, 27))):
            pass
    async with speaking(tmp_path) as (xray, api, tag):
        await xray.stop()
        await api.wait_closed()
        assert api.closed
        with pytest.raises(EngineError, match="away"):
            await api.list_users(tag)

"""Devices in whatever order, and what their rows say."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import httpx
import pytest

from pharos.helm.accounts.devices import move_device
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import DeviceAct
from pharos.helm.model.users import QuotaAction, QuotaPeriod
from pharos.helm.profiles.quota import period_start
from pharos.helm.store.devices import DEVICES, get_device
from pharos.helm.store.leases import Share, put_share
from pharos.helm.store.outbox import last_sequence
from pharos.helm.store.records import change_record
from tests.support.helm import SampleHelm, adopt_sample_node, sample_act
from tests.support.nouns import API, operator
from tests.support.views import (
    DAY,
    SECOND,
    People,
    change_user,
    give_profile,
    handshake,
    order,
    reading,
    rows,
    settle,
    tell,
)


@asynccontextmanager
async def settled(folder: Path) -> AsyncIterator[tuple[SampleHelm, httpx.AsyncClient, People]]:
    async with operator(folder) as (helm, client):
        yield helm, client, await settle(helm)


async def named(client: httpx.AsyncClient, people: People, **query: str) -> list[str]:
    found = await order(client, "devices", **query)
    assert found["total"] == len(found["ids"])
    return [people.names[one] for one in found["ids"]]


async def test_order_is_by_name_unless_another_is_asked_for(tmp_path: Path) -> None:
    async with settled(tmp_path) as (_helm, client, people):
        assert await named(client, people) == ["laptop", "phone", "spare", "tablet"]
        assert await named(client, people, sort="-name") == ["tablet", "spare", "phone", "laptop"]
        # Those that were never here, or are nobody's, are last whichever way.
        assert await named(client, people, sort="handshake") == ["tablet", "phone", "laptop", "spare"]
        assert await named(client, people, sort="-handshake") == ["phone", "tablet", "laptop", "spare"]
        assert await named(client, people, sort="-user") == ["tablet", "laptop", "phone", "spare"]
        assert await named(client, people, sort="status") == ["phone", "laptop", "spare", "tablet"]
        assert await named(client, people, sort="-created") == ["spare", "tablet", "laptop", "phone"]


async def test_filters_narrow_and_facets_count_what_is_left(tmp_path: Path) -> None:
    async with settled(tmp_path) as (helm, client, people):
        assert await named(client, people, user="ad") == ["laptop", "phone"]
        assert await named(client, people, user=people.bob.id) == ["tablet"]
        assert await named(client, people, group="office") == ["laptop", "phone"]
        assert await named(client, people, group=people.office.id, status="online") == ["phone"]
        assert await named(client, people, group="nowhere") == []
        assert await named(client, people, node="AMSTERDAM") == ["phone", "tablet"]
        assert await named(client, people, node=people.node, status="offline") == ["tablet"]
        assert await named(client, people, protocol="amneziawg") == ["phone"]
        assert await named(client, people, exported="true") == []
        assert await named(client, people, q="LAP") == ["laptop"]
        phone = await helm.store.read(get_device, people.phone)
        assert await named(client, people, q=phone.address4) == ["phone"]
        found = await order(client, "devices", user="ada")
        assert found["facets"]["status"] == {"offline": 1, "online": 1}
        assert found["sequence"] == await helm.store.read(last_sequence)


async def test_status_says_who_may_not_come_in_before_who_is_here(tmp_path: Path) -> None:
    async with settled(tmp_path) as (helm, client, people):

        async def statuses() -> dict[str, str]:
            return {people.names[row["id"]]: row["status"] for row in await rows(client, "devices", *people.names)}

        assert await statuses() == {"phone": "online", "laptop": "offline", "tablet": "offline", "spare": "offline"}
        await helm.store.run(move_device, sample_act(), people.phone, 1, DeviceAct.REVOKE)
        await helm.store.run(move_device, sample_act(), people.spare, 1, DeviceAct.DISABLE)
        await helm.store.run(change_user, people.bob, expires_at=now_us() - SECOND)
        assert await statuses() == {"phone": "revoked", "laptop": "offline", "tablet": "expired", "spare": "disabled"}
        assert await named(client, people, status="revoked,expired") == ["phone", "tablet"]


async def test_session_that_was_cut_off_is_over_whenever_the_handshake_was(tmp_path: Path) -> None:
    async with settled(tmp_path) as (helm, client, people):
        cut = handshake(people.phone, people.node, ago=5)
        await tell(
            helm, type(cut)(at=cut.at, kind="disconnected", node_id=cut.node_id, device_id=cut.device_id, detail="")
        )
        (row,) = await rows(client, "devices", people.phone)
        assert (row["status"], row["down"], row["protocol"]) == ("offline", None, None)
        assert row["node"] == {"id": people.node, "name": "amsterdam"}


async def test_profile_is_sending_for_a_week_and_stale_then(tmp_path: Path) -> None:
    async with settled(tmp_path) as (helm, client, people):
        await helm.store.run(give_profile, people.laptop, sealed_ago=60, held=False)
        await helm.store.run(give_profile, people.tablet, sealed_ago=20 * 86_400, held=True)
        await helm.store.run(give_profile, people.tablet, sealed_ago=8 * 86_400, held=False, revision=2)
        await helm.store.run(give_profile, people.tablet, sealed_ago=3_600, held=False, revision=3)
        await helm.store.run(give_profile, people.spare, sealed_ago=60, held=True)
        found = {people.names[row["id"]]: row for row in await rows(client, "devices", *people.names)}
        assert found["phone"]["profile"] is None
        assert (found["laptop"]["status"], found["laptop"]["profile"]["state"]) == ("sending", "sending")
        assert found["laptop"]["profile"]["revision"] is None
        # It counts from the first that it missed, however often it was sealed anew since then.
        tablet = found["tablet"]["profile"]
        assert (found["tablet"]["status"], tablet["state"], tablet["revision"], tablet["wanted"]) == (
            "stale",
            "stale",
            1,
            3,
        )
        behind = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(tablet["since"])
        assert round(behind.total_seconds() / 86_400) == 8
        assert (found["spare"]["status"], found["spare"]["profile"]["state"]) == ("offline", "synced")
        assert await named(client, people, sort="profile") == ["tablet", "laptop", "spare", "phone"]
        assert await named(client, people, profile="stale,sending") == ["laptop", "tablet"]
        facets = (await order(client, "devices"))["facets"]
        assert facets["profile"] == {"none": 1, "sending": 1, "stale": 1, "synced": 1}


async def test_row_says_what_flows_now_and_what_was_used(tmp_path: Path) -> None:
    async with settled(tmp_path) as (helm, client, people):
        before = reading(people.node, ago=40, **{people.phone: (1_000, 2_000), people.tablet: (0, 0)})
        now = reading(people.node, ago=10, **{people.phone: (4_000, 32_000), people.tablet: (0, 0)})
        await tell(helm, before, now)
        phone, tablet = await rows(client, "devices", people.phone, people.tablet)
        # As the device sees it: what the node sent came down, 30,000 octets in half a minute.
        assert (phone["down"], phone["up"], phone["used_bytes"]) == (8_000, 800, 36_000)
        assert (tablet["down"], tablet["up"], tablet["used_bytes"]) == (None, None, 0)
        assert (phone["endpoint"], phone["protocol"], phone["stream"]) == ("198.51.100.7:4000", "amneziawg", False)
        assert await named(client, people, sort="-used") == ["phone", "laptop", "spare", "tablet"]


async def test_open_stream_is_told_from_handshakes(tmp_path: Path) -> None:
    async with settled(tmp_path) as (helm, client, people):
        await tell(helm, handshake(people.laptop, people.node, ago=1, protocol="reality"))
        (row,) = await rows(client, "devices", people.laptop)
        assert (row["protocol"], row["stream"], row["status"]) == ("reality", True, "online")
        assert (await order(client, "devices"))["facets"]["protocol"] == {"amneziawg": 1, "none": 2, "reality": 1}


async def test_used_goes_by_the_account_of_a_quota_in_its_period(tmp_path: Path) -> None:
    async with settled(tmp_path) as (helm, client, people):
        await tell(helm, reading(people.node, ago=5, **{people.phone: (10**9, 10**9)}))
        month = period_start(QuotaPeriod.MONTH, now_us())
        for device, period_at in ((people.phone, month), (people.tablet, month - DAY)):
            share = Share(
                device_id=device, node_id=people.node, lease=1, octets=100, used=30, spent=12, period_at=period_at
            )
            await helm.store.run(put_share, share)
        await helm.store.run(change_user, people.ada, quota_bytes=10**9, quota_action=QuotaAction.WARN)
        phone, laptop, tablet = await rows(client, "devices", people.phone, people.laptop, people.tablet)
        assert (phone["used_bytes"], tablet["used_bytes"]) == (42, 0)
        # A quota that warns has no account before its mark was made.
        assert laptop["used_bytes"] is None


async def test_exported_device_is_stale_as_soon_as_what_it_was_given_is_not_so(tmp_path: Path) -> None:
    async with settled(tmp_path) as (helm, client, people):
        await helm.store.run(change_record, DEVICES, people.spare, 1, {"exported": True}, sample_act())
        (row,) = await rows(client, "devices", people.spare)
        assert (row["exported"], row["status"], row["profile"]["state"]) == (True, "offline", "synced")
        await helm.store.run(change_record, DEVICES, people.spare, 2, {"outdated_at": now_us()}, sample_act())
        (row,) = await rows(client, "devices", people.spare)
        assert (row["status"], row["profile"]["state"], row["profile"]["wanted"]) == ("stale", "stale", None)
        assert await named(client, people, exported="true") == ["spare"]


async def test_rows_come_as_they_were_asked_for_without_strangers(tmp_path: Path) -> None:
    async with settled(tmp_path) as (_helm, client, people):
        found = await rows(client, "devices", people.spare, "nobody", people.phone, people.spare)
        assert [people.names[row["id"]] for row in found] == ["spare", "phone"]
        assert found[0]["user"] is None
        assert found[1]["user"] == {"id": people.ada.id, "name": "Ada"}


@pytest.mark.parametrize(
    "query",
    [
        "?sort=colour",
        "?status=happy",
        "?name=x",
        "?status=online&status=offline",
        "/rows",
        "/rows?ids=",
        f"/rows?ids={','.join(str(number) for number in range(101))}",
        f"/rows?ids={'x' * 65}",
        "/rows?ids=x&q=y",
    ],
)
async def test_what_no_list_knows_is_refused(tmp_path: Path, query: str) -> None:
    async with operator(tmp_path) as (_helm, client):
        answer = await client.get(f"{API}/views/devices{query}")
        assert (answer.status_code, answer.json()["title"]) == (400, "Bad Request")


async def test_hundred_rows_are_asked_for_at_once(tmp_path: Path) -> None:
    async with settled(tmp_path) as (_helm, client, people):
        ids = [people.phone, *(f"00000000-0000-7000-8000-9{number:011d}" for number in range(99))]
        assert len(await rows(client, "devices", *ids)) == 1


async def test_order_and_row_agree_on_a_device_that_went_from_its_newer_node(tmp_path: Path) -> None:
    async with settled(tmp_path) as (helm, client, people):
        other, _ = await helm.store.run(adopt_sample_node, helm.authority, "berlin")
        gone = handshake(people.phone, other.id, ago=3)
        await tell(helm, gone)
        assert await named(client, people, node="berlin") == ["phone"]
        await tell(helm, attrs.evolve(gone, at=gone.at + 1, kind="disconnected", detail="drained"))
        (row,) = await rows(client, "devices", people.phone)
        assert (row["status"], row["node"]["name"], row["endpoint"]) == ("online", "amsterdam", "198.51.100.7:4000")
        assert await named(client, people, node="berlin") == []
        assert await named(client, people, node="amsterdam", status="online") == ["phone"]

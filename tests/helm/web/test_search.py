"""Whatever goes by a name is found by a part of it, and each role finds what it may read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from pharos.helm.accounts.devices import move_device
from pharos.helm.model.admins import Role
from pharos.helm.model.devices import DeviceAct
from pharos.helm.store.views.devices import read_names
from pharos.helm.store.views.search import MOST
from pharos.helm.web.app import make_loopback_app
from tests.support.helm import adopt_sample_relay, enrol_sample_device, open_helm, sample_act
from tests.support.http import asking
from tests.support.nouns import API, operator
from tests.support.signin import sign_in
from tests.support.views import settle


async def hits(client: httpx.AsyncClient, headers: Any = None, **query: str) -> list[tuple[str, str, str]]:
    answer = await client.get(f"{API}/search", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return [(hit["kind"], hit["name"], hit["detail"]) for hit in answer.json()["hits"]]


async def test_each_kind_is_found_with_what_tells_it_from_others(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        people = await settle(helm)
        await helm.store.run(adopt_sample_relay, helm.authority, "adria")
        assert await hits(client, q="ad") == [("relay", "adria", "127.0.0.1"), ("user", "Ada", "ada@example.org")]
        assert await hits(client, q="AMST") == [("node", "amsterdam", "127.0.0.1")]
        assert await hits(client, q="phone") == [("device", "phone", "Ada")]
        assert await hits(client, q="off", kind="group") == [("group", "office", "")]
        assert await hits(client, q="off", kind="user") == []
        # By an address as well, and by nothing that LIKE would take for a sign of its own.
        assert [name for _, name, _ in await hits(client, q="127.0.0.1")] == ["amsterdam", "adria"]
        assert await hits(client, q="%") == await hits(client, q="_") == []
        found = await client.get(f"{API}/search", params={"q": "spare"})
        assert found.json()["hits"][0]["id"] == people.spare


async def test_names_that_begin_so_are_first_the_revoked_last_and_no_more_than_eight(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        for number, name in enumerate(["big fish", "Fishing boat", "fish", "fishbowl", "FISHER"]):
            await helm.store.run(enrol_sample_device, number, name)
        gone = next(key for key, name in (await helm.store.read(read_names)).items() if name == "fish")
        await helm.store.run(move_device, sample_act(), gone, 1, DeviceAct.REVOKE)
        assert [name for _, name, _ in await hits(client, q="fish")] == [
            *("fishbowl", "FISHER", "Fishing boat", "big fish", "fish"),
        ]
        for number in range(10, 20):
            await helm.store.run(enrol_sample_device, number, f"fish {number}")
        assert len(await hits(client, q="fish")) == MOST


async def test_role_finds_what_it_may_read(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        admin = await sign_in(helm.context, name="adam", role=Role.ADMIN)
        viewer = await sign_in(helm.context, name="adele", role=Role.VIEWER)
        await helm.store.run(enrol_sample_device, 1, "adapter")
        assert [kind for kind, _, _ in await hits(client, admin, q="ad")] == ["device", "admin", "admin"]
        assert [kind for kind, _, _ in await hits(client, viewer, q="ad")] == ["device"]
        assert await hits(client, viewer, q="ad", kind="admin") == []
        assert (await client.get(f"{API}/search?q=ad")).status_code == 401


@pytest.mark.parametrize("query", ["", "?q=", "?q=%20", f"?q={'x' * 65}", "?q=a&kind=ship", "?q=a&limit=3&x=1"])
async def test_what_is_no_search_is_refused(tmp_path: Path, query: str) -> None:
    async with operator(tmp_path) as (_helm, client):
        assert (await client.get(f"{API}/search{query}")).status_code == 400

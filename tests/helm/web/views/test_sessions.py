"""Sessions in whatever order, and what their rows say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from pharos.helm.store.views import sessions as module
from tests.support.nouns import API, operator
from tests.support.views import People, handshake, order, reading, rows, settle, tell


async def devices(client: httpx.AsyncClient, people: People, **query: str) -> list[str]:
    found = await order(client, "sessions", **query)
    shown = await rows(client, "sessions", *found["ids"]) if found["ids"] else []
    assert [row["id"] for row in shown] == found["ids"]
    return [people.names[row["device"]["id"]] for row in shown]


async def test_newest_is_first_and_filters_narrow(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        people = await settle(helm)
        await tell(helm, handshake(people.spare, people.node, ago=3_600, protocol="reality"))
        assert await devices(client, people) == ["phone", "spare", "tablet"]
        assert await devices(client, people, sort="seen") == ["tablet", "spare", "phone"]
        assert await devices(client, people, sort="-device") == ["tablet", "spare", "phone"]
        assert await devices(client, people, sort="node") == ["phone", "spare", "tablet"]
        assert await devices(client, people, live="true") == ["phone"]
        assert await devices(client, people, live="false", protocol="reality") == ["spare"]
        assert await devices(client, people, user="BOB") == ["tablet"]
        assert await devices(client, people, device="Phone") == ["phone"]
        assert await devices(client, people, device=people.phone, user="bob") == []
        assert await devices(client, people, node="amsterdam", q="pho") == ["phone"]
        assert await devices(client, people, node="elsewhere") == []
        assert await devices(client, people, q="198.51.100.") == ["phone", "spare", "tablet"]
        assert await devices(client, people, q="%") == []
        found = await order(client, "sessions")
        assert found["facets"] == {"live": {"false": 2, "true": 1}, "protocol": {"amneziawg": 2, "reality": 1}}


async def test_row_says_how_it_goes_and_how_it_went(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        people = await settle(helm)
        await tell(helm, reading(people.node, ago=40, **{people.phone: (0, 0)}))
        await tell(helm, reading(people.node, ago=5, **{people.phone: (3_000, 30_000)}))
        live, over = await rows(client, "sessions", *(await order(client, "sessions"))["ids"])
        assert (live["live"], live["ended_at"], live["reason"]) == (True, None, "")
        assert (live["down"], live["up"], live["bytes"]) == (8_000, 800, 33_000)
        assert (live["device"]["name"], live["user"]["name"], live["node"]["name"]) == ("phone", "Ada", "amsterdam")
        assert (over["live"], over["reason"], over["down"], over["bytes"]) == (False, "silent", None, 0)
        assert over["ended_at"] > over["seen_at"]


async def test_list_is_cut_where_nobody_scrolls_and_still_says_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_IDS", 2)
    async with operator(tmp_path) as (helm, client):
        people = await settle(helm)
        await tell(helm, *(handshake(people.spare, people.node, ago=1_000 * number) for number in (1, 2, 3)))
        found = await order(client, "sessions")
        assert (len(found["ids"]), found["total"], found["facets"]["live"]) == (2, 5, {"false": 4, "true": 1})
        # The newest, by whatever they are sorted then.
        assert await devices(client, people, sort="-device") == ["spare", "phone"]


async def test_more_devices_than_a_statement_takes_are_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_DEVICES", 2)
    async with operator(tmp_path) as (helm, client):
        await settle(helm)
        answer: Any = await client.get(f"{API}/views/sessions", params={"user": "a"})
        assert answer.status_code == 200
        answer = await client.get(f"{API}/views/sessions", params={"q": "a"})
        assert (answer.status_code, "say more" in answer.json()["detail"]) == (400, True)

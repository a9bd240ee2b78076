"""The history of what nodes told: newest first, page by page, and bounded in what it costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from pharos.helm.model.admins import Role
from pharos.helm.store.handshakes import add_events
from pharos.helm.store.history import EventQuery, search_events
from pharos.helm.web.app import make_loopback_app
from pharos.wire.ids import DeviceId
from tests.support.helm import SampleHelm, enrol_sample_device, open_helm, telemetry_in_memory
from tests.support.http import asking
from tests.support.nouns import API, operator
from tests.support.signin import sign_in
from tests.support.telemetry import BORN, LAPTOP, ONE, PHONE, TWO, event

HOSTS = {"localhost:8440"}


@attrs.frozen
class Scene:
    helm: SampleHelm
    client: httpx.AsyncClient
    phone: DeviceId

    async def page(self, **query: str) -> Any:
        answer = await self.client.get(f"{API}/events", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def texts(self, **query: str) -> list[str]:
        return [item["text"] for item in (await self.page(**query))["items"]]


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A phone at one node and a stranger at another, and a helm that lost something."""
    async with operator(tmp_path) as (helm, client):
        phone = await helm.store.run(enrol_sample_device, 1, "phone")
        told = [
            event(1, device=phone.id, detail="first", protocol="amneziawg"),
            event(2, "connected", device=phone.id, detail="second", protocol="amneziawg"),
            event(3, node=TWO, device=LAPTOP, detail="third"),
            event(4, "disconnected", device=phone.id, detail="fourth"),
            event(5, "dropped", device=None, detail="handshake=3"),
        ]
        await helm.store.record(add_events, told, received_at=BORN)
        yield Scene(helm, client, phone.id)


async def test_event_is_told_with_the_name_of_its_device(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        page = await at.page()
    first, stranger = page["items"][-1], page["items"][2]
    assert first == {
        "id": first["id"],
        "at": "2027-01-15T08:00:01Z",
        "kind": "handshake",
        "node": ONE,
        "device": at.phone,
        "name": "phone",
        "protocol": "amneziawg",
        "text": "first",
    }
    assert (stranger["device"], stranger["name"], stranger["protocol"]) == (LAPTOP, None, None)
    assert page["cursor"] is None


async def test_newest_comes_first_and_filters_select(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        assert await at.texts() == ["handshake=3", "fourth", "third", "second", "first"]
        assert await at.texts(node=ONE) == ["handshake=3", "fourth", "second", "first"]
        assert await at.texts(node=TWO) == ["third"]
        assert await at.texts(device=at.phone) == ["fourth", "second", "first"]
        assert await at.texts(device=at.phone, node=TWO) == []
        assert await at.texts(device=at.phone, kind="handshake") == ["first"]
        assert await at.texts(kind="dropped") == ["handshake=3"]
        assert await at.texts(node="nowhere") == await at.texts(device="nobody") == await at.texts(kind="no") == []


async def test_pages_meet_without_a_seam(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        for query in ({}, {"device": at.phone}, {"node": ONE}):
            found, cursor = [], None
            while True:
                page = await at.page(limit="2", **query, **({} if cursor is None else {"before": cursor}))
                found += [item["text"] for item in page["items"]]
                cursor = page["cursor"]
                if cursor is None:
                    break
            assert found == await at.texts(**query)


def test_rare_kind_is_looked_for_a_part_of_the_history_at_a_time() -> None:
    with telemetry_in_memory() as db:
        add_events(db, [event(0, "gap", device=None), *(event(n) for n in range(1, 30))])
        query, pages = EventQuery(kind="gap"), []
        while True:
            page = search_events(db, query, most_looked=10)
            pages.append(len(page.items))
            if page.before is None:
                break
            query = attrs.evolve(query, before=page.before)
        assert pages == [0, 0, 1]


def test_history_of_one_device_is_read_by_an_index() -> None:
    with telemetry_in_memory() as db:
        add_events(db, [event(n, device=PHONE) for n in range(5)])
        seen: list[str] = []
        db.set_trace_callback(seen.append)
        for query in (EventQuery(device_id=PHONE), EventQuery(device_id=PHONE, node_id=ONE), EventQuery(node_id=ONE)):
            assert len(search_events(db, query).items) == 5
        db.set_trace_callback(None)
        plans = [str([row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}")]) for text in seen if "detail" in text]
        assert ["events_once" in plan for plan in plans] == [True, True, False]
        assert "INTEGER PRIMARY KEY" in plans[2], "all of one node's events are in no index in their order"


def test_nothing_told_is_an_empty_page() -> None:
    with telemetry_in_memory() as db:
        page = search_events(db, EventQuery())
        assert (page.items, page.before) == ([], None)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "201"},
        {"limit": "0"},
        {"before": "-1"},
        {"before": "yesterday"},
        {"before": "9" * 19},
        {"colour": "red"},
        {"sort": "kind"},
        {"cursor": "5"},
    ],
)
async def test_what_cannot_be_asked_is_refused(tmp_path: Path, query: dict[str, str]) -> None:
    async with operator(tmp_path) as (_, client):
        assert (await client.get(f"{API}/events", params=query)).status_code == 400


async def test_history_takes_a_session_and_a_viewer_is_enough(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, HOSTS)) as client:
        assert (await client.get(f"{API}/events")).status_code == 401
        headers = await sign_in(helm.context, role=Role.VIEWER)
        assert (await client.get(f"{API}/events", headers=headers)).json() == {"items": [], "cursor": None}
        assert f"{API}/events" in (await client.get(f"{API}/openapi.json", headers=headers)).json()["paths"]

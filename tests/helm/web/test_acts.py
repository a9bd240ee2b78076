"""The operator's acts: each is checked, each is one transaction, each answers in JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pharos.helm.store.devices import list_devices
from pharos.helm.store.nodes import list_nodes
from pharos.helm.store.relays import list_relays
from pharos.helm.web.app import MAX_BODY, make_operator_app
from pharos.wire.agent import AgentGrant
from pharos.wire.seal.ticket import TicketLink
from tests.support.helm import (
    SampleHelm,
    adopt_sample_relay,
    enrol_sample_device,
    node_request,
    open_helm,
    relay_request,
)
from tests.support.http import asking


@asynccontextmanager
async def operator(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, httpx.AsyncClient]]:
    async with open_helm(tmp_path) as helm, asking(make_operator_app(helm.context)) as client:
        yield helm, client


def node_body(**changes: Any) -> dict[str, Any]:
    return {
        "request": node_request().render(),
        "name": "amsterdam",
        "address": "203.0.113.7",
        "control_port": 7443,
        "awg_port": 443,
        "tags": ["eu"],
    } | changes


def relay_body(**changes: Any) -> dict[str, Any]:
    return {
        "request": relay_request().render(),
        "name": "gate",
        "address": "gate.example",
        "ingress_port": 443,
        "tunnel_port": 7444,
    } | changes


async def test_node_is_added_and_its_grant_answered(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        answer = await client.post("/api/v1/nodes", json=node_body())
        assert answer.status_code == 200
        (node,) = await helm.store.run(list_nodes)
        assert (answer.json()["id"], answer.json()["name"]) == (node.id, "amsterdam")
        assert AgentGrant.parse(answer.json()["grant"]).device_ca is None


async def test_relay_is_added_and_its_grant_answered(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        answer = await client.post("/api/v1/relays", json=relay_body())
        assert answer.status_code == 200
        (relay,) = await helm.store.run(list_relays)
        assert relay.address == "gate.example"
        assert AgentGrant.parse(answer.json()["grant"]).device_ca is not None


async def test_ticket_is_made(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(adopt_sample_relay, helm.authority)
        answer = await client.post("/api/v1/tickets", json={"device_name": "Ada's phone", "seconds": 900})
        assert answer.status_code == 200
        assert TicketLink.parse(answer.json()["link"]).helm_key == helm.authority.noise.public


async def test_device_is_revoked_by_name_or_id(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        device = await helm.store.run(enrol_sample_device, 1, "phone")
        for name in ("phone", device.id):
            answer = await client.post("/api/v1/devices/revoke", json={"device": name})
            assert (answer.status_code, answer.json()["state"]) == (200, "revoked")


async def test_conflict_and_absence_have_their_own_status(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await client.post("/api/v1/nodes", json=node_body())
        assert (await client.post("/api/v1/nodes", json=node_body())).status_code == 409
        revoke = "/api/v1/devices/revoke"
        assert (await client.post(revoke, json={"device": "nobody"})).status_code == 404
        for number in (1, 2):
            await helm.store.run(enrol_sample_device, number, "twin")
        assert (await client.post(revoke, json={"device": "twin"})).status_code == 409
        assert len(await helm.store.run(list_nodes)) == 1
        assert {device.state.value for device in await helm.store.run(list_devices)} == {"active"}


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"name": 5},
        {"name": "a\nb"},
        {"address": "a]b"},
        {"control_port": "7443"},
        {"control_port": True},
        {"control_port": 7443.0},
        {"control_port": 0},
        {"awg_port": 65536},
        {"tags": "eu"},
        {"tags": [{}]},
        {"tags": [5, None]},
        {"request": "{}"},
        {"request": None},
        {"request": relay_request().render()},
    ],
)
async def test_bad_value_is_refused_and_adds_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    async with operator(tmp_path) as (helm, client):
        answer = await client.post("/api/v1/nodes", json=node_body(**change))
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert await helm.store.run(list_nodes) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'"text"', b"\xff", b"[" * 100_000, b'{"name": ' * 20_000])
async def test_body_that_is_no_object_is_refused(tmp_path: Path, body: bytes) -> None:
    async with operator(tmp_path) as (_, client):
        for path in ("/api/v1/nodes", "/api/v1/relays", "/api/v1/tickets", "/api/v1/devices/revoke"):
            answer = await client.post(path, content=body)
            assert answer.status_code == 400
            assert "not a JSON object" in answer.json()["detail"]


async def test_body_over_the_cap_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        answer = await client.post("/api/v1/nodes", content=json.dumps(node_body(name="x" * MAX_BODY)).encode())
        assert answer.status_code == 413
        assert await helm.store.run(list_nodes) == []


@pytest.mark.parametrize("seconds", [0, -1, 59, 8 * 86400, 10**30, 1.5, "900", None])
async def test_ticket_with_a_life_that_does_not_fit_is_refused(tmp_path: Path, seconds: object) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(adopt_sample_relay, helm.authority)
        answer = await client.post("/api/v1/tickets", json={"device_name": "phone", "seconds": seconds})
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "name", ["Ada's phone", "a/b", "50 % off?", "#1", "電話", "..", "a/../b", "revoke", "x/revoke"]
)
async def test_device_is_revoked_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(enrol_sample_device, 1, name)
        answer = await client.post("/api/v1/devices/revoke", json={"device": name})
        assert (answer.status_code, answer.json()["name"]) == (200, name)


async def test_state_never_changes_on_get(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(enrol_sample_device, 1, "phone")
        before = helm.store.commits
        for path in ("/api/v1/nodes", "/api/v1/relays", "/api/v1/tickets", "/api/v1/devices/revoke"):
            assert (await client.get(path)).status_code in (404, 405)
        assert helm.store.commits == before

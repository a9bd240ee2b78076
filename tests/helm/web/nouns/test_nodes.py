"""Nodes and relays by REST: added with a grant, moved through their states, filtered, removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pharos.helm.store.nodes import list_nodes
from pharos.helm.web.app import MAX_BODY
from pharos.wire.agent import AgentGrant
from tests.support.helm import relay_request
from tests.support.nouns import API, match, names, node_body, operator, relay_body

NODES, RELAYS = f"{API}/nodes", f"{API}/relays"
BODIES = {"nodes": node_body, "relays": relay_body}


async def test_node_is_added_and_its_grant_answered(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        answer = await client.post(NODES, json=node_body())
        assert answer.status_code == 201
        (node,) = await helm.store.run(list_nodes)
        shown = answer.json()
        assert (shown["id"], shown["name"], shown["state"], shown["link"]) == (
            node.id,
            "amsterdam",
            "active",
            "connecting",
        )
        assert answer.headers["location"] == f"{NODES}/{node.id}"
        assert AgentGrant.parse(shown["grant"]).device_ca is None
        later = (await client.get(f"{NODES}/{node.id}")).json()
        assert "grant" not in later
        assert {"certificate", "spki"}.isdisjoint(later)
        assert [certificate["state"] for certificate in later["certificates"]] == ["active"]


async def test_relay_is_added_and_its_grant_answered(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        answer = await client.post(RELAYS, json=relay_body())
        assert answer.status_code == 201
        assert answer.json()["address"] == "gate.example"
        assert AgentGrant.parse(answer.json()["grant"]).device_ca is not None


async def test_same_request_gets_the_same_grant(tmp_path: Path) -> None:
    """The first answer may have been lost."""
    async with operator(tmp_path) as (_helm, client):
        for path, body in ((NODES, node_body()), (RELAYS, relay_body())):
            first, again = await client.post(path, json=body), await client.post(path, json=body)
            assert (first.json()["id"], first.json()["grant"]) == (again.json()["id"], again.json()["grant"])


@pytest.mark.parametrize("noun", BODIES)
async def test_way_of_a_machine_through_its_states(tmp_path: Path, noun: str) -> None:
    async with operator(tmp_path) as (_helm, client):
        record = (await client.post(f"{API}/{noun}", json=BODIES[noun]())).json()
        path, version = f"{API}/{noun}/{record['id']}", 1
        for verb, state in (
            ("drain", "draining"),
            ("resume", "active"),
            ("disable", "disabled"),
            ("enable", "active"),
            ("revoke", "revoked"),
        ):
            assert (await client.post(f"{path}/{verb}")).status_code == 428
            moved = await client.post(f"{path}/{verb}", headers=match(version))
            version += 1
            assert (moved.status_code, moved.json()["state"], moved.json()["version"]) == (200, state, version)
            stale = await client.post(f"{path}/{verb}", headers=match(version - 1))
            assert (stale.status_code, stale.json()["current"]["state"]) == (409, state)
            again = await client.post(f"{path}/{verb}", headers=match(version))
            assert again.status_code == 409
            assert "current" not in again.json()
        assert (await client.post(f"{path}/join", headers=match(version))).status_code in (403, 404)
        assert [c["state"] for c in (await client.get(path)).json()["certificates"]] == ["revoked"]
        assert (await client.delete(path, headers=match(version))).status_code == 204
        assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("noun", BODIES)
async def test_machine_is_renamed_and_a_taken_name_is_a_conflict(tmp_path: Path, noun: str) -> None:
    async with operator(tmp_path) as (_helm, client):
        for name in ("a", "b"):
            record = (await client.post(f"{API}/{noun}", json=BODIES[noun](name=name))).json()
        path = f"{API}/{noun}/{record['id']}"
        assert (await client.patch(path, json={"name": "a"}, headers=match(1))).status_code == 409
        changed = await client.patch(path, json={"name": "c", "note": "by the window"}, headers=match(1))
        assert (changed.json()["name"], changed.json()["note"], changed.json()["version"]) == ("c", "by the window", 2)
        for body in ({"state": "revoked"}, {"id": "x"}, {"awg_key": "00"}, {"certificate": ""}, {"name": None}):
            assert (await client.patch(path, json=body, headers=match(2))).status_code == 400
        assert (await client.delete(path, headers=match(2))).status_code == 409, "it is not revoked"


async def test_lists_are_filtered_and_sorted(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        for name, tags in (("b", ["eu"]), ("a", ["eu", "fast"]), ("c", ["eu-west"])):
            node = (await client.post(NODES, json=node_body(name=name, tags=tags))).json()
        await client.post(f"{NODES}/{node['id']}/drain", headers=match(1))
        assert await names(client, "nodes") == ["b", "a", "c"]
        assert await names(client, "nodes", sort="name") == ["a", "b", "c"]
        assert await names(client, "nodes", tag="eu") == ["b", "a"]
        assert await names(client, "nodes", tag="%") == []
        assert await names(client, "nodes", state="draining") == ["c"]
        assert await names(client, "nodes", q="A") == ["a"]
        for name in ("y", "x"):
            await client.post(RELAYS, json=relay_body(name=name))
        assert await names(client, "relays", sort="-name") == ["y", "x"]
        assert await names(client, "relays", name="x", state="active") == ["x"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"name": 5},
        {"name": "a\nb"},
        {"address": "a]b"},
        {"control_port": "7443"},
        {"control_port": True},
        {"control_port": 7443.5},
        {"control_port": 0},
        {"awg_port": 65536},
        {"tags": "eu"},
        {"tags": [{}]},
        {"tags": [5, None]},
        {"tags": ["Eu"]},
        {"note": "\x00"},
        {"request": "{}"},
        {"request": None},
        {"request": relay_request().render()},
        {"state": "active"},
    ],
)
async def test_bad_value_is_refused_and_adds_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    async with operator(tmp_path) as (helm, client):
        answer = await client.post(NODES, json=node_body(**change))
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert await helm.store.run(list_nodes) == []


async def test_body_over_the_cap_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        content = json.dumps(node_body(name="x" * MAX_BODY)).encode()
        answer = await client.post(NODES, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert await helm.store.run(list_nodes) == []


async def test_reissue_is_of_both_protocols_or_of_those_that_are_named(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        first = (await client.post(NODES, json=node_body())).json()
        assert (first["reality"]["generation"], first["reality_key"], first["reality_port"]) == (1, None, None)
        path = f"{NODES}/{first['id']}"
        for body in ({"protocols": []}, {"protocols": ["telepathy"]}, {"protocols": "reality"}, {"x": 1}):
            assert (await client.post(f"{path}/reissue", json=body, headers=match(1))).status_code == 400
        one = (await client.post(f"{path}/reissue", json={"protocols": ["reality"]}, headers=match(1))).json()
        assert one["awg_parameters"] == first["awg_parameters"]
        assert one["reality"]["generation"] == 2
        assert [old["protocols"] for old in one["previous_parameters"]] == [["reality"]]
        assert first["parameters_since"] == dict.fromkeys(("amneziawg", "reality"), first["created_at"])
        since = one["parameters_since"]
        assert since["amneziawg"] == first["created_at"] < since["reality"] == one["updated_at"]
        again = await client.post(f"{path}/reissue", json={"protocols": ["reality"]}, headers=match(2))
        assert (again.status_code, "still serves" in again.json()["detail"]) == (409, True)
        other = (await client.post(NODES, json=node_body(name="berlin"))).json()
        # Whoever asks as before this could be said gets both.
        both = (await client.post(f"{NODES}/{other['id']}/reissue", headers=match(1))).json()
        assert both["awg_parameters"] != other["awg_parameters"]
        assert both["reality"]["generation"] == 2
        assert [old["protocols"] for old in both["previous_parameters"]] == [["amneziawg", "reality"]]


async def test_target_of_a_node_is_changed(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        node = (await client.post(NODES, json=node_body())).json()
        path = f"{NODES}/{node['id']}/target"
        for body in ({}, {"target": "own.example"}, {"target": "own.example:443", "server_names": ["*"]}):
            assert (await client.post(path, json=body, headers=match(1))).status_code == 400
        assert (await client.post(path, headers=match(1))).status_code == 400
        body = {"target": "203.0.113.9:443", "server_names": ["own.example"]}
        changed = (await client.post(path, json=body, headers=match(1))).json()
        assert (changed["reality"]["target"], changed["reality"]["server_names"]) == (
            *("203.0.113.9:443", ["own.example"]),
        )
        assert (changed["reality"]["generation"], changed["version"]) == (1, 2)


@pytest.mark.parametrize("noun", BODIES)
async def test_machine_stands_somewhere_and_moves_as_a_whole(tmp_path: Path, noun: str) -> None:
    where = {"place": "Frankfurt, DE", "latitude": 50.11, "longitude": 8.68}
    async with operator(tmp_path) as (_helm, client):
        record = (await client.post(f"{API}/{noun}", json=BODIES[noun](**where))).json()
        assert {name: record[name] for name in where} == where
        path = f"{API}/{noun}/{record['id']}"
        halved = await client.patch(path, json={"latitude": None}, headers=match(1))
        assert (halved.status_code, "or neither" in halved.json()["detail"]) == (400, True)
        moved = await client.patch(path, json={"place": "Sydney", "latitude": -34, "longitude": 151}, headers=match(1))
        assert [moved.json()[name] for name in where] == ["Sydney", -34.0, 151.0]
        (listed,) = (await client.get(f"{API}/{noun}")).json()["items"]
        assert [listed[name] for name in where] == ["Sydney", -34.0, 151.0]
        gone = await client.patch(path, json={"place": "", "latitude": None, "longitude": None}, headers=match(2))
        assert [gone.json()[name] for name in where] == ["", None, None]


@pytest.mark.parametrize("noun", BODIES)
async def test_machine_that_asks_again_says_where_it_stands_and_forgets_nothing(tmp_path: Path, noun: str) -> None:
    where = {"place": "Oslo", "latitude": 59.91, "longitude": 10.75}
    async with operator(tmp_path) as (_helm, client):
        body = BODIES[noun]()
        first = (await client.post(f"{API}/{noun}", json=body)).json()
        said = (await client.post(f"{API}/{noun}", json=body | where)).json()
        again = (await client.post(f"{API}/{noun}", json=body)).json()
        assert first["id"] == said["id"] == again["id"]
        assert [said[name] for name in where] == [again[name] for name in where] == ["Oslo", 59.91, 10.75]
        assert (first["version"], said["version"], again["version"]) == (1, 2, 2)


@pytest.mark.parametrize("change", [{"latitude": 91, "longitude": 0}, {"place": "x" * 81}, {"latitude": "north"}])
async def test_place_that_is_none_adds_no_machine(tmp_path: Path, change: dict[str, Any]) -> None:
    async with operator(tmp_path) as (_helm, client):
        for noun, body in BODIES.items():
            assert (await client.post(f"{API}/{noun}", json=body(**change))).status_code == 400
            assert await names(client, noun) == []

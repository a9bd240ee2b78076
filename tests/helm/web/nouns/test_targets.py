"""Looking at a site by REST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from pharos.helm.store.nodes import list_nodes
from tests.support.nouns import API, node_body, operator
from tests.support.sites import HOST, SITE_NAME, running_tcp, running_tls, site_context, trust_of_the_system

CHECK = f"{API}/nodes/check-target"


def body(port: int = 443, **changes: Any) -> dict[str, Any]:
    return {"target": f"{HOST}:{port}", "server_names": [SITE_NAME]} | changes


async def test_a_site_is_looked_at_and_the_audit_says_who_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_of_the_system(monkeypatch, tmp_path)
    async with operator(tmp_path) as (_, client), running_tls(site_context(SITE_NAME)) as port:
        answer = await client.post(CHECK, json=body(port))
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["usable"], found["node"], found["address"]) == (True, None, HOST)
        assert (found["target"], found["server_names"]) == (f"{HOST}:{port}", [SITE_NAME])
        assert found["round_trip_ms"] >= 0
        by_check = {one["check"]: one for one in found["findings"]}
        assert by_check["tls13"] == {"check": "tls13", "verdict": "good", "name": SITE_NAME, "text": "speaks TLS 1.3"}
        assert (by_check["address"]["verdict"], by_check["address"]["name"]) == ("warning", None)
        (row,) = (await client.get(f"{API}/audit", params={"verb": "target_checked"})).json()["items"]
        assert row["detail"] == f"{HOST}:{port} from here"


async def test_the_apis_description_has_it(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_, client):
        described = (await client.get(f"{API}/openapi.json")).json()["paths"][CHECK]["post"]
        assert described["summary"] == "Look whether a node can stand before a site"
        assert {"200", "400", "409", "503"} <= described["responses"].keys()


@pytest.mark.parametrize(
    "change", [{"target": "site.test"}, {"target": f"{HOST}:443", "server_names": []}, {"server_names": ["*.x"]}]
)
async def test_what_is_no_target_is_a_bad_request(tmp_path: Path, change: dict[str, Any]) -> None:
    async with operator(tmp_path) as (_, client):
        assert (await client.post(CHECK, json=body(**change))).status_code == 400


async def hold_on(stream: trio.SocketStream) -> None:
    while await stream.receive_some(1):
        pass


async def test_a_node_that_is_away_is_503_and_one_that_is_not_there_404(tmp_path: Path) -> None:
    async with running_tcp(hold_on) as port:
        pass
    async with operator(tmp_path) as (helm, client):
        there = node_body(address=HOST, control_port=port)
        assert (await client.post(f"{API}/nodes", json=there)).status_code == 201
        (node,) = await helm.store.run(list_nodes)
        away = await client.post(CHECK, json=body(node=node.id))
        assert (away.status_code, away.headers["retry-after"]) == (503, "5")
        assert "node amsterdam does not answer" in away.json()["detail"]
        assert (await client.post(CHECK, json=body(node="nobody"))).status_code == 404


async def test_helm_looks_at_one_site_at_a_time(tmp_path: Path) -> None:
    visited = trio.Event()

    async def hold(stream: trio.SocketStream) -> None:
        if await stream.receive_some(1):
            visited.set()
            await trio.sleep_forever()

    async with operator(tmp_path) as (_, client), running_tcp(hold) as port, trio.open_nursery() as nursery:

        async def look() -> None:
            await client.post(CHECK, json=body(port))

        nursery.start_soon(look)
        await visited.wait()
        assert (await client.post(CHECK, json=body(port))).status_code == 503
        nursery.cancel_scope.cancel()

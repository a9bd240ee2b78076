"""Address pools by REST."""

from __future__ import annotations

from pathlib import Path

from tests.support.helm import enrol_sample_device
from tests.support.nouns import API, match, names, operator

POOLS = f"{API}/pools"


async def test_pool_is_added_preferred_changed_and_removed(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        (first,) = (await client.get(POOLS)).json()["items"]
        assert (first["name"], first["network4"], first["preferred"]) == ("devices", "10.86.0.0/16", True)
        assert (first["taken"], first["free"]) == (0, 65533)
        made = await client.post(POOLS, json={"name": "branch", "network4": "192.168.1.0/24"})
        assert made.status_code == 201, made.text
        pool = made.json()
        assert "home routers" in pool["warnings"][0]
        path = f"{POOLS}/{pool['id']}"
        assert (await client.post(f"{path}/prefer", headers=match(1))).json()["preferred"]
        await helm.store.run(enrol_sample_device, 1)
        assert ((await client.get(path)).json()["taken"], await names(client, "pools", q="BRA")) == (1, ["branch"])
        assert (await client.delete(path, headers=match(2))).status_code == 409
        renamed = await client.patch(path, json={"name": "office"}, headers=match(2))
        assert (renamed.json()["name"], renamed.json()["version"]) == ("office", 3)
        assert (await client.patch(path, json={"name": "x"}, headers=match(2))).status_code == 409
        moved = await client.patch(path, json={"network4": "192.168.7.0/24"}, headers=match(3))
        assert moved.status_code == 409


async def test_overlap_is_a_conflict_and_nonsense_a_bad_request(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_helm, client):
        for body, status in (
            ({"name": "a", "network4": "10.86.9.0/24"}, 409),
            ({"name": "devices", "network4": "10.87.0.0/16"}, 409),
            ({"name": "a", "network4": "8.8.8.0/24"}, 400),
            ({"name": "a", "network4": "10.87.0.0/16", "network6": "2001:db8::/64"}, 400),
            ({"name": "", "network4": "10.87.0.0/16"}, 400),
            ({"name": "a", "network4": "10.87.0.0/16", "next_host": 2}, 400),
            ({"network4": "10.87.0.0/16"}, 400),
        ):
            answer = await client.post(POOLS, json=body)
            assert answer.status_code == status, (body, answer.text)
        assert (await client.get(POOLS)).json()["total"] == 1

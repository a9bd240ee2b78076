"""The fleet lock by REST: it is made once, and takes only what it signed itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from pharos.helm.store.bundles import profiles_revision
from pharos.wire.ids import FleetId, NodeId
from pharos.wire.seal.lock import LockKey
from tests.support.helm import SampleHelm, adopt_sample_node
from tests.support.nouns import API, operator

LOCK = f"{API}/lock"


async def lock_fleet(client: httpx.AsyncClient, key: LockKey, **signatures: str) -> int:
    body = {"key": key.public.hex(), "signatures": signatures}
    return (await client.put(LOCK, json=body)).status_code


async def sign(client: httpx.AsyncClient, signatures: dict[str, str]) -> httpx.Response:
    return await client.post(f"{LOCK}/signatures", json={"signatures": signatures})


def signature_of(key: LockKey, status: dict[str, Any], node: dict[str, Any]) -> str:
    return key.sign_node(
        FleetId(status["fleet"]),
        NodeId(node["id"]),
        awg_key=bytes.fromhex(node["awg_key"]),
        derive_key=bytes.fromhex(node["derive_key"]),
    ).hex()


async def show(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(LOCK)).json()
    return found


async def add_node(helm: SampleHelm, name: str = "amsterdam") -> None:
    await helm.store.run(adopt_sample_node, helm.authority, name)


async def test_lock_is_told_to_devices_and_replaced_by_no_other(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        key, before = LockKey.create(), await helm.store.read(profiles_revision)
        assert (await show(client))["key"] is None
        assert (await sign(client, {"x": "00"})).status_code == 409, "there is no lock to sign with"
        assert await lock_fleet(client, key) == 201
        assert (await show(client))["key"] == key.public.hex()
        assert await helm.store.read(profiles_revision) > before
        assert await lock_fleet(client, LockKey.create()) == 409
        assert (await show(client))["key"] == key.public.hex()


async def test_signature_counts_for_the_keys_that_it_is_about(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        key = LockKey.create()
        await add_node(helm)
        await add_node(helm, "berlin")
        assert await lock_fleet(client, key) == 201
        status = await show(client)
        one, two = status["nodes"]
        assert not one["signed"]
        right = signature_of(key, status, one)
        for wrong in (signature_of(LockKey.create(), status, one), signature_of(key, status, two), "", "zz", "00" * 64):
            assert (await sign(client, {one["id"]: wrong})).status_code == 400, wrong
        assert (await sign(client, {"stranger": right})).status_code == 404
        before = await helm.store.read(profiles_revision)
        assert (await sign(client, {one["id"]: right})).status_code == 200
        assert [node["signed"] for node in (await show(client))["nodes"]] == [True, False]
        assert await helm.store.read(profiles_revision) > before
        (row,) = (await client.get(f"{API}/audit", params={"verb": "lock_signed"})).json()["items"]
        assert (row["subject"], row["detail"]) == (one["id"], one["name"])


async def test_one_wrong_signature_keeps_none_of_its_company(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await add_node(helm)
        await add_node(helm, "berlin")
        key, status = LockKey.create(), await show(client)
        one, two = status["nodes"]
        assert await lock_fleet(client, key, **{one["id"]: signature_of(key, status, one), two["id"]: "00"}) == 400
        assert (await show(client))["key"] is None


async def test_key_of_another_length_is_refused(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_, client):
        for text in ("", "00" * 31, "not hexadecimal"):
            assert (await client.put(LOCK, json={"key": text})).status_code == 400

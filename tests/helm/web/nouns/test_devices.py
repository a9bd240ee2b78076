"""Devices by REST: changed, moved through their states, filtered; never removed, and added only as exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from pharos.helm.store.database import Database
from tests.support.helm import enrol_sample_device
from tests.support.nouns import API, match, names, operator

DEVICES = f"{API}/devices"


async def test_what_an_operator_says_of_a_device_is_changed(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        device = await helm.store.run(enrol_sample_device, 1, "phone")
        user = (await client.post(f"{API}/users", json={"name": "ada"})).json()
        path = f"{DEVICES}/{device.id}"
        values = {
            "name": "Ada's phone",
            "user_id": user["id"],
            "note": "blue",
            "expires_at": "2030-01-01T00:00:00Z",
            "quota_bytes": 10**12,
            "rate_limit": 50_000_000,
        }
        changed = await client.patch(path, json=values, headers=match(1))
        assert changed.status_code == 200, changed.text
        shown = changed.json()
        assert {name: shown[name] for name in values} == values
        assert shown["user"] == {"id": user["id"], "name": "ada", "state": "active"}
        assert shown["keys"]["awg"] == device.keys.awg.hex()
        assert (shown["address4"], shown["version"]) == ("10.86.0.2", 2)
        cleared = await client.patch(path, json={"user_id": None, "expires_at": None}, headers=match(2))
        assert (cleared.json()["user"], cleared.json()["expires_at"]) == (None, None)


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"state": "revoked"},
        {"awg_key": "00"},
        {"address4": "10.86.0.9"},
        {"quota_bytes": 0},
        {"rate_limit": 1.5},
        {"expires_at": "soon"},
        {"version": 5},
    ],
)
async def test_value_that_does_not_fit_is_refused(tmp_path: Path, body: dict[str, Any]) -> None:
    async with operator(tmp_path) as (helm, client):
        device = await helm.store.run(enrol_sample_device, 1)
        assert (await client.patch(f"{DEVICES}/{device.id}", json=body, headers=match(1))).status_code == 400
        assert (await client.get(f"{DEVICES}/{device.id}")).json()["version"] == 1


async def test_device_is_disabled_enabled_and_revoked_for_ever(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        device = await helm.store.run(enrol_sample_device, 1)
        path = f"{DEVICES}/{device.id}"

        async def move(verb: str, version: int) -> httpx.Response:
            return await client.post(f"{path}/{verb}", headers=match(version))

        assert (await move("enable", 1)).status_code == 409
        assert (await move("disable", 1)).json()["state"] == "disabled"
        assert (await move("disable", 2)).status_code == 409
        assert (await move("enable", 2)).json()["state"] == "active"
        assert (await move("revoke", 1)).json()["current"]["version"] == 3
        assert (await move("revoke", 3)).json()["state"] == "revoked"
        for verb in ("enable", "disable", "revoke"):
            assert (await move(verb, 4)).status_code == 409
        assert (await client.patch(path, json={"note": "x"}, headers=match(4))).status_code == 409
        # Its keys stay taken, so its row stays.
        assert (await client.delete(path, headers=match(4))).status_code == 405
        # By hand come only those whose keys were made in a browser.
        assert (await client.post(DEVICES, json={"name": "x"})).status_code == 400


async def test_devices_are_filtered_sorted_and_paged(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        user = (await client.post(f"{API}/users", json={"name": "ada"})).json()

        def enrol(db: Database) -> None:
            for number, name in enumerate(("phone", "Laptop", "tablet", "lap%top")):
                enrol_sample_device(db, number, name, user_id=user["id"] if number < 2 else None)

        await helm.store.run(enrol)
        device_id = "00000000-0000-7000-8000-000000000002"
        await client.post(f"{DEVICES}/{device_id}/disable", headers=match(1))
        assert await names(client, "devices") == ["phone", "Laptop", "tablet", "lap%top"]
        assert await names(client, "devices", sort="name") == ["Laptop", "lap%top", "phone", "tablet"]
        assert await names(client, "devices", user=user["id"], sort="-created_at") == ["Laptop", "phone"]
        assert await names(client, "devices", state="disabled") == ["tablet"]
        assert await names(client, "devices", q="LAP") == ["Laptop", "lap%top"]
        assert await names(client, "devices", q="p%t") == ["lap%top"]
        assert await names(client, "devices", name="phone", state="active") == ["phone"]
        assert await names(client, "devices", id=device_id) == ["tablet"]
        first = (await client.get(DEVICES, params={"limit": 3, "sort": "name"})).json()
        rest = (await client.get(DEVICES, params={"limit": 3, "sort": "name", "cursor": first["cursor"]})).json()
        assert [item["name"] for item in rest["items"]] == ["tablet"]
        assert (await client.get(DEVICES, params={"awg_key": "x"})).status_code == 400


async def test_lists_show_no_key(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(enrol_sample_device, 1)
        (item,) = (await client.get(DEVICES)).json()["items"]
        assert not [name for name in item if "key" in name]

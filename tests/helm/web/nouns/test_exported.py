"""Exported devices by REST: made with public keys, told what files are made of, and nothing that is a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pharos.helm.accounts.users import add_user
from pharos.helm.model.admins import Role
from pharos.helm.store.fleet import get_fleet
from pharos.helm.web.app import make_loopback_app
from tests.support.exported import BrowserKeys, conf_of, secrets_of
from tests.support.helm import adopt_sample_node, enrol_sample_device, open_helm, sample_act
from tests.support.http import asking
from tests.support.nouns import API, match, names, operator
from tests.support.signin import sign_in
from tests.support.webtls import HOST

DEVICES = f"{API}/devices"


def body(**values: Any) -> dict[str, Any]:
    return {"name": "Ada's tablet", "keys": BrowserKeys.generate().public} | values


async def test_device_is_made_with_public_keys_and_told_of_its_nodes(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        user = await helm.store.run(add_user, sample_act(), {"name": "ada"})
        keys = BrowserKeys.generate()
        made = await client.post(DEVICES, json=body(keys=keys.public, user_id=user.id, note="by mail"))
        assert made.status_code == 201, made.text
        device = made.json()
        assert made.headers["Location"] == f"{DEVICES}/{device['id']}"
        assert (device["exported"], device["outdated_at"], device["certificates"]) == (True, None, [])
        assert device["user"] == {"id": user.id, "name": "ada", "state": "active"}
        assert device["keys"] == keys.public
        told = await client.get(f"{DEVICES}/{device['id']}/configuration")
        assert told.status_code == 200, told.text
        configuration = told.json()
        fleet = await helm.store.read(get_fleet)
        assert configuration["allowed_ips"] == ["0.0.0.0/0", "::/0"]
        assert (configuration["fleet"], configuration["outdated_at"]) == (fleet.id, None)
        assert configuration["keys"] == {name: keys.public[name] for name in ("derive", "awg")}
        (shown,) = configuration["nodes"]
        secrets = secrets_of(configuration, shown, keys)
        assert "Endpoint = 127.0.0.1:443" in conf_of(configuration, shown, secrets)
        for secret in (keys.awg, keys.derive):
            assert secret.private_bytes().hex() not in told.text + made.text
        assert secrets.psk.hex() not in told.text
        assert shown["awg_key"] == node.awg_key.hex()


async def test_lists_tell_exported_devices_from_others(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(enrol_sample_device, 1, "phone")
        assert (await client.post(DEVICES, json=body(name="tablet"))).status_code == 201
        assert await names(client, "devices", exported="true") == ["tablet"]
        assert await names(client, "devices", exported="false") == ["phone"]
        assert [item["name"] for item in (await client.get(f"{API}/profiles")).json()["items"]] == []


async def test_only_an_exported_device_that_lives_has_a_configuration(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        enrolled = await helm.store.run(enrol_sample_device, 1)
        refused = await client.get(f"{DEVICES}/{enrolled.id}/configuration")
        assert (refused.status_code, "its profile from helm itself" in refused.text) == (409, True)
        assert (await client.get(f"{DEVICES}/nobody/configuration")).status_code == 404
        device = (await client.post(DEVICES, json=body())).json()
        await client.post(f"{DEVICES}/{device['id']}/revoke", headers=match(1))
        gone = await client.get(f"{DEVICES}/{device['id']}/configuration")
        assert (gone.status_code, "revoked" in gone.text) == (409, True)


KEYS = BrowserKeys.generate().public


@pytest.mark.parametrize(
    "values",
    [
        {"name": ""},
        {"keys": {name: key for name, key in KEYS.items() if name != "noise"}},
        {"keys": KEYS | {"awg": KEYS["noise"]}},
        {"keys": KEYS | {"awg": "00" * 32}},
        {"keys": KEYS | {"awg": KEYS["awg"].upper()}},
        {"keys": KEYS | {"awg": KEYS["awg"] + "\n"}},
        {"keys": KEYS | {"awg": KEYS["awg"][2:]}},
        {"keys": KEYS | {"psk": KEYS["awg"]}},
        {"private_key": KEYS["awg"]},
        {"note": "x" * 5000},
    ],
)
async def test_body_that_does_not_fit_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    async with operator(tmp_path) as (_, client):
        assert (await client.post(DEVICES, json=body() | values)).status_code == 400
        assert await names(client, "devices") == []


async def test_the_same_keys_are_taken_once(tmp_path: Path) -> None:
    async with operator(tmp_path) as (_, client):
        once = body()
        assert (await client.post(DEVICES, json=once, headers={"Idempotency-Key": "a"})).status_code == 201
        assert (await client.post(DEVICES, json=once, headers={"Idempotency-Key": "a"})).status_code == 201
        assert (await client.post(DEVICES, json=once)).status_code == 409
        assert len(await names(client, "devices")) == 1


@pytest.mark.parametrize(("role", "may"), [(Role.VIEWER, False), (Role.OPERATOR, True)])
async def test_operators_export_on_the_page_and_viewers_do_not(tmp_path: Path, role: Role, *, may: bool) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {HOST})) as client:
        me = dict(await sign_in(helm.context, role=role))
        made = await client.post(DEVICES, headers=me, json=body())
        assert made.status_code == (201 if may else 403)
        device = made.json()["id"] if may else "x"
        told = await client.get(f"{DEVICES}/{device}/configuration", headers=me)
        assert told.status_code == (200 if may else 403)
        assert (await client.post(DEVICES, json=body())).status_code == 401

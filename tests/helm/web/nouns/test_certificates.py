"""Certificates and profiles by REST: to be looked at only."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pharos.helm.live.board import now_us
from pharos.helm.profiles.seal import current_bundle
from pharos.helm.store.database import Database
from tests.support.helm import SampleHelm, adopt_sample_node, enrol_sample_device
from tests.support.nouns import API, match, operator

CERTIFICATES, PROFILES = f"{API}/certificates", f"{API}/profiles"


async def test_certificate_is_shown_whole_and_found_by_what_it_is_for(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        (item,) = (await client.get(CERTIFICATES, params={"subject": node.id})).json()["items"]
        shown = (await client.get(f"{CERTIFICATES}/{item['id']}")).json()
        certificate = x509.load_pem_x509_certificate(shown["pem"].encode())
        assert certificate.fingerprint(hashes.SHA256()).hex() == shown["id"]
        assert shown["not_after_at"] == certificate.not_valid_after_utc.isoformat().replace("+00:00", "Z")

        async def roles(**query: str) -> list[str]:
            page = (await client.get(CERTIFICATES, params=query)).json()
            assert page["total"] == len(page["items"])
            return [entry["role"] for entry in page["items"]]

        assert sorted(await roles(sort="-not_after_at")) == ["controller", "node"]
        assert await roles(role="node", state="active") == ["node"]
        assert await roles(expiring_before="2020-01-01T00:00:00Z") == []
        assert len(await roles(expiring_before="2999-01-01T00:00:00+00:00")) == 2
        for nonsense in ("soon", "2030-01-01T00:00:00", "9" * 400, ""):
            answer = await client.get(CERTIFICATES, params={"expiring_before": nonsense})
            assert answer.status_code == 400, nonsense


async def test_list_says_whose_each_is_and_when_it_is_renewed(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        node, _ = await helm.store.run(adopt_sample_node, helm.authority)
        items = (await client.get(CERTIFICATES)).json()["items"]
        assert sorted((one["role"], one["name"]) for one in items) == [("controller", "helm"), ("node", "amsterdam")]
        for one in items:
            assert one["not_before_at"] < one["renews_at"] < one["not_after_at"]
        await client.post(f"{API}/nodes/{node.id}/revoke", headers=match(1))
        (gone,) = (await client.get(CERTIFICATES, params={"subject": node.id})).json()["items"]
        assert (gone["state"], gone["renews_at"], gone["name"]) == ("revoked", None, "amsterdam")


def seal(db: Database, helm: SampleHelm) -> None:
    for number, name in enumerate(("phone", "laptop")):
        current_bundle(db, helm.authority, enrol_sample_device(db, number, name), at=now_us())


async def test_profile_shows_all_but_what_is_in_it(tmp_path: Path) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(seal, helm)
        page = (await client.get(PROFILES, params={"sort": "name"})).json()
        assert [item["name"] for item in page["items"]] == ["laptop", "phone"]
        phone = (await client.get(f"{PROFILES}/{page['items'][1]['id']}")).json()
        assert (phone["state"], phone["revision"], phone["synced_at"]) == ("stale", 1, None)
        assert phone["size"] > 4096
        assert len(phone["hash"]) == 64
        assert "sealed" not in phone
        assert (await client.get(PROFILES, params={"state": "synced"})).json()["total"] == 0
        assert (await client.get(PROFILES, params={"device": phone["id"], "state": "stale"})).json()["total"] == 1


@pytest.mark.parametrize("path", [CERTIFICATES, PROFILES])
async def test_nobody_writes_them(tmp_path: Path, path: str) -> None:
    async with operator(tmp_path) as (helm, client):
        await helm.store.run(seal, helm)
        (item, *_) = (await client.get(path)).json()["items"]
        assert (await client.post(path, json={})).status_code == 405
        for send in (client.patch, client.delete):
            assert (await send(f"{path}/{item['id']}", headers=match(1))).status_code == 405

"""Browser certificates by REST: for owners who have just shown who they are."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from pharos.helm.accounts import signin
from pharos.helm.model.admins import Role
from pharos.helm.web.app import make_loopback_app
from tests.support.helm import open_helm
from tests.support.http import asking
from tests.support.signin import sign_in
from tests.support.webtls import HOST, new_admin, opened


async def test_owner_makes_lists_and_revokes(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {HOST})) as client:
        me = dict(await sign_in(helm.context))
        bob = await new_admin(helm, "bob", Role.VIEWER)
        path = f"/api/v1/admins/{bob}/certificates"
        again = me | {"Idempotency-Key": "one"}
        made = await client.post(path, headers=again, json={})
        assert made.status_code == 201
        body = made.json()
        opened(base64.b64decode(body["pkcs12"]), body["password"])
        assert body["web_certificate"].startswith("-----BEGIN CERTIFICATE-----")
        # The answer got lost, and the same was asked again.
        assert (await client.post(path, headers=again, json={})).json() == body
        listed = (await client.get(path, headers=me)).json()["items"]
        assert [one["id"] for one in listed] == [body["id"]]
        assert (await client.delete(f"{path}/{body['id']}", headers=me)).status_code == 204
        assert (await client.get(path, headers=me)).json()["items"] == []
        audit = (await client.get("/api/v1/audit", headers=me)).json()["items"]
        done = {(row["noun"], row["verb"], row["actor"]) for row in audit}
        assert {("certificate", "certificate_issued", "ada"), ("certificate", "certificate_revoked", "ada")} <= done


async def test_session_whose_proof_is_old_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {HOST})) as client:
        me = dict(await sign_in(helm.context))
        path = f"/api/v1/admins/{await new_admin(helm, 'bob')}/certificates"
        monkeypatch.setattr(signin, "FRESH", -1)
        refused = await client.post(path, headers=me, json={})
        assert (refused.status_code, "fresh proof" in refused.text) == (401, True)
        assert (await client.get(path, headers=me)).json()["items"] == []


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR, Role.VIEWER])
async def test_nobody_below_an_owner_makes_or_revokes_one(tmp_path: Path, role: Role) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {HOST})) as client:
        me = dict(await sign_in(helm.context, role=role))
        path = f"/api/v1/admins/{await new_admin(helm, 'bob')}/certificates"
        assert (await client.post(path, headers=me, json={})).status_code == 403
        assert (await client.delete(f"{path}/00", headers=me)).status_code == 403


async def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {HOST})) as client:
        me = dict(await sign_in(helm.context))
        path = f"/api/v1/admins/{await new_admin(helm, 'bob')}/certificates"
        for body in ({"password": "short"}, {"password": 1}, {"old": "yes"}, {"role": "owner"}):
            assert (await client.post(path, headers=me, json=body)).status_code == 400, body
        assert (await client.post("/api/v1/admins/nobody/certificates", headers=me, json={})).status_code == 404
        assert (await client.delete(f"{path}/nothing", headers=me)).status_code == 404
        assert (await client.get("/api/v1/admins/nobody/certificates", headers=me)).status_code == 404

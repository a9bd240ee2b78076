"""The authority by REST: looked at by all, exchanged by owners who have the kit and have just shown who they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.helm.accounts import signin
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.database import Database
from pharos.helm.trust.overview import authority_view
from pharos.helm.trust.rotation import advance
from pharos.helm.web.app import make_loopback_app
from tests.support.helm import SampleHelm, adopt_sample_node, adopt_sample_relay, open_helm
from tests.support.http import asking
from tests.support.signin import sign_in
from tests.support.webtls import HOST

CA = "/api/v1/ca"
ALL = ["device_ca", "fleet_ca", "noise_key", "signing_key"]


async def with_members(helm: SampleHelm) -> None:
    def write(db: Database) -> None:
        for number in range(3):
            adopt_sample_node(db, helm.authority, f"node-{number}")
        adopt_sample_relay(db, helm.authority)

    await helm.store.run(write)


async def test_owner_begins_an_exchange_with_the_kit_and_sees_who_it_waits_for(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {HOST})) as client:
        me = dict(await sign_in(helm.context))
        await with_members(helm)
        assert (await client.get(f"{CA}/rotation", headers=me)).json() == {"rotation": None, "earlier": []}
        begun = await client.post(f"{CA}/rotate", headers=me, json={"kit": helm.kit.printed(), "subjects": ALL})
        assert begun.status_code == 201, begun.text
        told = (await client.get(f"{CA}/rotation", headers=me)).json()["rotation"]
        assert (told["subjects"], told["phase"], told["asked"]) == (ALL, "distributing", "believes both")
        assert told["next"] == "helm uses the new keys once everybody believes them beside the old ones"
        assert (told["members"], told["waiting"]) == (5, 5)
        nodes = told["roles"]["node"]
        assert (nodes["acknowledged"], nodes["waiting"]["count"]) == ({"count": 0, "items": []}, 3)
        assert sorted(one["name"] for one in nodes["waiting"]["items"]) == ["node-0", "node-1", "node-2"]
        assert told["roles"]["relay"]["waiting"]["items"][0]["name"] == "gate"
        assert told["roles"]["device"] == {"acknowledged": {"count": 0, "items": []}} | {
            "waiting": {"count": 0, "items": []}
        }
        # helm itself has heard of it: it is the record.
        await helm.store.run(advance, helm.vault, at=now_us())
        told = (await client.get(f"{CA}/rotation", headers=me)).json()["rotation"]
        assert told["roles"]["controller"]["acknowledged"]["items"][0]["name"] == "helm"
        assert (told["phase"], told["waiting"]) == ("distributing", 4)
        again = await client.post(f"{CA}/rotate", headers=me, json={"kit": helm.kit.printed(), "subjects": ALL})
        assert (again.status_code, "under way" in again.text) == (409, True)


async def test_exchange_that_is_done_is_told_of(tmp_path: Path) -> None:
    """In a fleet of helm alone nobody is waited for but helm."""
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {HOST})) as client:
        me = dict(await sign_in(helm.context))
        body = {"kit": helm.kit.printed(), "subjects": ["device_ca"]}
        assert (await client.post(f"{CA}/rotate", headers=me, json=body)).status_code == 201
        for _ in range(4):
            await helm.store.run(advance, helm.vault, at=now_us())
        told = (await client.get(f"{CA}/rotation", headers=me)).json()
        assert told["rotation"] is None
        assert [(one["subjects"], one["phase"]) for one in told["earlier"]] == [(["device_ca"], "done")]


async def test_exchange_takes_a_fresh_proof_and_the_right_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {HOST})) as client:
        me = dict(await sign_in(helm.context))
        for kit, subjects in (("XXXX", ALL), (helm.kit.printed(), []), (helm.kit.printed(), ["root"])):
            refused = await client.post(f"{CA}/rotate", headers=me, json={"kit": kit, "subjects": subjects})
            assert refused.status_code == 400, refused.text
            assert helm.kit.printed() not in refused.text
        monkeypatch.setattr(signin, "FRESH", -1)
        body = {"kit": helm.kit.printed(), "subjects": ALL}
        refused = await client.post(f"{CA}/rotate", headers=me, json=body)
        assert (refused.status_code, "fresh proof" in refused.text) == (401, True)
        assert (await client.get(f"{CA}/rotation", headers=me)).json()["rotation"] is None


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR, Role.VIEWER])
async def test_nobody_below_an_owner_exchanges_keys_and_all_may_look(tmp_path: Path, role: Role) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {HOST})) as client:
        me = dict(await sign_in(helm.context, role=role))
        body = {"kit": helm.kit.printed(), "subjects": ALL}
        assert (await client.post(f"{CA}/rotate", headers=me, json=body)).status_code == 403
        assert (await client.get(f"{CA}/rotation", headers=me)).status_code == 200
        shown = (await client.get(CA, headers=me)).json()
        wanted = await helm.store.read(authority_view, helm.authority, at=now_us())
        assert shown == wanted
        assert shown["fleet_ca"]["begins_at"] < shown["fleet_ca"]["ends_at"]

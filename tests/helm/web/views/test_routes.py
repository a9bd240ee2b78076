"""Who reads long lists: whoever may read the noun, and a token that is for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.helm.accounts.admins import add_token
from pharos.helm.model.admins import Role
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.database import Database
from pharos.helm.store.pages import Query, list_page
from pharos.helm.web.app import make_loopback_app
from tests.support.helm import open_helm, sample_act
from tests.support.http import asking
from tests.support.nouns import API
from tests.support.signin import sign_in

KINDS = ("devices", "users", "sessions", "profiles")


def token_for(db: Database, scopes: tuple[str, ...]) -> str:
    owner = list_page(db, ADMINS, Query()).items[0]
    _, secret = add_token(db, sample_act(), owner.id, name="robot", role=Role.VIEWER, scopes=scopes)
    return secret


@pytest.mark.parametrize("kind", KINDS)
async def test_viewer_reads_every_kind_and_nobody_reads_none(tmp_path: Path, kind: str) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        viewer = await sign_in(helm.context, role=Role.VIEWER)
        for path in (kind, f"{kind}/rows?ids=x"):
            assert (await client.get(f"{API}/views/{path}")).status_code == 401
            assert (await client.get(f"{API}/views/{path}", headers=viewer)).status_code == 200


async def test_token_for_one_kind_reads_that_alone(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, {"localhost:8440"})) as client:
        await sign_in(helm.context)
        secret = await helm.store.run(token_for, ("devices",))
        bearer = {"Authorization": f"Bearer {secret}"}
        for kind in KINDS:
            for path in (kind, f"{kind}/rows?ids=x"):
                answer = await client.get(f"{API}/views/{path}", headers=bearer)
                assert answer.status_code == (200 if kind == "devices" else 403), path
